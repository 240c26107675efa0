"""nginx: its configuration, how it starts on the sockets that the supervisor holds."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import NamedTuple

import jinja2

from docker_flask.configuration import nginx_files, sizing, timeouts
from docker_flask.configuration.kinds import SettingError
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.nginx_files import NginxFiles, Part
from docker_flask.configuration.settings import Settings
from docker_flask.runtime_folder import point
from docker_flask.sendfile_headers import PUT_BACK
from docker_flask.static_files import StaticFiles

NGINX = "/usr/sbin/nginx"
# Templates, by their paths from the folder of nginx.conf: while the application loads, and parts.
STARTING = Path("docker_flask/nginx/starting.conf")
# A part of a template, named by its path from the folder of nginx.conf.
_PART = re.compile(r"^( *)include (docker_flask/nginx/parts/\w+\.conf);\n", re.MULTILINE)
PRELOAD_LIBRARY = "/opt/docker-flask/nginx_preload.so"
TEMPLATE = Path("/opt/docker-flask/nginx.conf")
# Bytes of freed memory that an nginx worker keeps: the parts of large answers would be asked of the
# kernel anew for each of them.
KEPT_MEMORY = 4 << 20


class Configuration(NamedTuple):
    """A configuration that nginx has tested.

    file: where it was written; text: of the file; read: the text with all files that it includes;
    notes: what the user should know about it; is_whole: it is the user's own.
    """

    file: Path
    text: str
    read: str
    notes: list[str]
    is_whole: bool


def configure(
    settings: Settings,
    limits: Limits,
    files: NginxFiles,
    runtime: Path,
    addresses: list[str],
    static: StaticFiles | None,
    files_location: str,
    over_http: str,
    listeners: list[int],
    cache: int = 0,
    kept: int = 0,
    tested: Configuration | None = None,
) -> Configuration:
    """What nginx is to run with: the user's own nginx.conf, or the image's and the user's snippets.

    files: the user's files; listeners: the descriptors of inherited sockets; tested: what was
    returned for the same files before, and is returned again if the text is still the same. The
    others are those of `render`. Raises SettingError.
    """
    whole = files.whole.path if files.whole else None
    if whole:
        text = files.adopt(runtime)
        parts = [Part(1, text.count("\n") + 1, whole)]
        notes = [f"nginx runs with {whole}; settings that are nginx's do nothing"]
    else:
        rendered = render(
            settings,
            limits,
            runtime,
            addresses,
            static,
            files_location=files_location,
            over_http=over_http,
            headers_in_server=files.has_headers_in_server,
            opens_files=files.opens_files,
            cache=cache,
            kept=kept,
        )
        rendered, overrides = nginx_files.without(rendered, files.overrides())
        text, parts = files.inline(rendered)
        notes = _less_than_wanted(settings, limits)
        notes += [
            f"{file} sets {', '.join(names)} in the image's place" for file, names in overrides
        ]
    if tested and tested.text == text:
        return tested
    file = runtime / "nginx.next.conf"
    file.write_bytes(nginx_files.encode(text))
    read, warnings = _test(file, listeners, parts)
    files.check_passing(settings.app_server)
    if str(nginx_files.USUAL_SOCKET) in read:
        nginx_files.link_socket(runtime / "app.sock")
    return Configuration(file, text, read, notes + warnings, bool(whole))


def render(
    settings: Settings,
    limits: Limits,
    runtime: Path,
    addresses: list[str],
    static: StaticFiles | None = None,
    starting: bool = False,
    files_location: str = "",
    over_http: str = "",
    headers_in_server: bool = False,
    template: Path = TEMPLATE,
    cache: int = 0,
    kept: int = 0,
    opens_files: bool = False,
) -> str:
    """The text of the image's configuration for nginx.

    runtime: the folder for sockets and temporary files; addresses: what the inherited sockets
    are bound to, as nginx writes it; static: the files that it serves itself, from where
    `link_static` put them; starting: answer 503 to everything; files_location: for files that the
    application answers with, empty if workers are to send them; over_http: the header by which the
    application server learns what else it has no way to know (over_http.py), empty for uWSGI;
    headers_in_server, opens_files: what the user's snippets do; cache: bytes to keep of pages that
    everybody may share; kept: the number of the generation to which connections are kept, 0 for
    none.
    """
    sizes, limit = sizing.compute(settings, limits), timeouts.compute(settings)
    text = _template(template.parent, STARTING if starting else Path(template.name))
    return text.render(
        runtime=runtime,
        via="proxy" if over_http else "uwsgi",
        # After the rewrite nginx sends the path as it decoded it, and not as the client wrote it,
        # with `..` or with bytes that some servers refuse. Locations would see an internal request
        # after a rewrite, so it is the last step before the application.
        pass_to="rewrite ^ $uri break; proxy_pass http://" if over_http else "uwsgi_pass ",
        upstream="$application" if kept else "application",
        over_http=over_http,
        socket=runtime / "app.sock",
        listen=addresses,
        backlog=limits.backlog,
        descriptors=sizes.nginx_descriptors,
        nginx_workers=sizes.nginx_workers,
        connections=sizes.nginx_connections,
        requests=sizes.admitted_requests,
        shutdown_timeout=limit.whole_release,
        request_timeout=limit.whole_request,
        max_upload=settings.max_upload,
        trusted_proxies=settings.trusted_proxies,
        files=files_location,
        put_back=PUT_BACK,
        access_log=settings.access_log,
        static=static,
        static_index=settings.static_index,
        cache_control=_cache_control(static.max_age if static else None),
        headers_in_server=headers_in_server,
        cache=cache,
        kept=kept,
        kept_connections=sizes.kept_connections,
        open_pages=0 if opens_files else sizes.open_files,
        open_static=0 if static and static.may_change() else sizes.open_files,
    )


@functools.cache
def _template(folder: Path, name: Path) -> jinja2.Template:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(_with_parts(folder, name))


def _with_parts(folder: Path, name: Path) -> str:
    """A template with the texts of its parts in it, indented as their includes are."""
    return _PART.sub(
        lambda match: textwrap.indent(_with_parts(folder, Path(match[2])), match[1]),
        (folder / name).read_text(),
    )


def link_static(runtime: Path, static: StaticFiles | None, number: int) -> None:
    """Let nginx find these static files, under their addresses below `static`, and no others.

    number: that of the generation; all of its links take effect in one step.
    """
    current = runtime / "static"
    before = current.resolve() if current.is_symlink() else None
    folder = runtime / f"static{number}"
    folder.mkdir()
    if static:
        link = folder / static.url.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(static.folder)
    point(current, folder.name)
    if before:
        shutil.rmtree(before)


def forget_pages(runtime: Path) -> None:
    """Have nginx serve none of the pages that it keeps.

    Files that were removed under it would be complaints in its log; those whose first bytes, the
    version of their form, it does not know are written anew.
    """
    for page in (runtime / "cache").glob("*"):
        with contextlib.suppress(OSError), page.open("r+b") as file:
            file.write(bytes(8))


def _less_than_wanted(settings: Settings, limits: Limits) -> list[str]:
    """What nginx is given less of than the settings say, in words."""
    sizes = sizing.compute(settings, limits)
    files, connections = settings.nginx_worker_open_files, settings.nginx_worker_connections or 0
    wanted = [
        ("NGINX_WORKER_OPEN_FILES", files, sizes.nginx_descriptors),
        ("NGINX_WORKER_CONNECTIONS", connections, sizes.nginx_connections),
    ]
    return [
        f"{name}={value} is more than this container's open files allow (ulimit -n): it is {bound}"
        for name, value, bound in wanted
        if value > bound
    ]


def command(configuration: Path) -> list[str]:
    """The command line that runs nginx in the foreground."""
    return [NGINX, "-e", "stderr", "-p", str(configuration.parent), "-c", str(configuration)]


def environment(descriptors: list[int]) -> dict[str, str]:
    """The variables by which nginx takes over listening sockets instead of binding its own, lets
    nobody end it but the supervisor, and tries to become no other user (preload.c says why).

    The first is what nginx itself uses when its program is replaced under way:
    https://nginx.org/en/docs/control.html#upgrade. The last is glibc's: mallopt(3).
    """
    return {
        "NGINX": "".join(f"{descriptor};" for descriptor in descriptors),
        "LD_PRELOAD": PRELOAD_LIBRARY,
        "MALLOC_TRIM_THRESHOLD_": str(KEPT_MEMORY),
    }


def _test(configuration: Path, listeners: list[int], parts: list[Part]) -> tuple[str, list[str]]:
    """Let nginx test a configuration; returns all text that it read, and its warnings.

    parts: the lines of the configuration that are the user's; nginx's messages name their files.
    Raises SettingError.
    """
    result = subprocess.run(
        [*command(configuration), "-T", "-q"],
        env=environment(listeners),
        pass_fds=listeners,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    output = _with_places(result.stderr, configuration, parts)
    if result.returncode:
        reason = re.search(r"\[emerg\] (?:\d+#\d+: )?(.*)", output)
        words = reason[1] if reason else " ".join(output.split())
        raise SettingError(f"nginx can't run so: {words}")
    warnings = re.findall(r"\[warn\] (?:\d+#\d+: )?(.*)", output)
    return result.stdout, [f"nginx warns: {warning}" for warning in warnings]


def _with_places(output: str, configuration: Path, parts: list[Part]) -> str:
    """nginx's messages, with the files of the user's in them."""

    def place(match: re.Match[str]) -> str:
        line = int(match[1])
        for part in parts:
            if part.first <= line < part.first + part.lines:
                return f"{part.file}:{line - part.first + 1}"
        return f"{configuration.with_name('nginx.conf')}:{line}"

    printable = output.encode(errors="surrogateescape").decode(errors="replace")
    return re.sub(rf"{re.escape(str(configuration))}:(\d+)", place, printable)


def _cache_control(max_age: int | None) -> str:
    """As Flask says it."""
    if max_age is None:
        return "no-cache"
    return f"public, max-age={max_age}" if max_age else "no-cache, max-age=0"
