"""nginx's configuration: rendered from the image's nginx.conf and the user's files, then tested."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2

from docker_flask.configuration import nginx_files
from docker_flask.configuration.nginx_files import Part
from docker_flask.configuration.plan import Plan
from docker_flask.configuration.sizing import large_bodies, response_file
from docker_flask.configuration.validators import PRIVATE, SettingError
from docker_flask.nginx.errors import errors
from docker_flask.nginx.invocation import command, environment
from docker_flask.paths import HOME
from docker_flask.sendfile_headers import PUT_BACK
from docker_flask.static_files import StaticFiles

# The folder of the templates and their paths in it. STARTING: while the application loads.
TEMPLATES = Path(HOME)
SERVING, STARTING = Path("nginx.conf"), Path("docker_flask/nginx/starting.conf")
# The include of a part in a template.
_PART = re.compile(r"^( *)include (docker_flask/nginx/parts/\w+\.conf);\n", re.MULTILINE)
# The settings that have no effect with a whole configuration of the user's.
_IGNORED = (
    "ACCESS_LOG, HEALTH_PATH, LISTEN_PORT, MAX_UPLOAD, NGINX_WORKER_CONNECTIONS, "
    "NGINX_WORKER_OPEN_FILES, NGINX_WORKER_PROCESSES, RESPONSE_CACHE, SENDFILE, STATIC_*"
)


@dataclass(frozen=True)
class Site:
    """What the configuration depends on beside the plan.

    runtime: the folder for sockets and temporary files. listen: the addresses of the inherited
    sockets, in nginx's form. static: the static files that nginx serves (see runtime_links.py).
    sendfile_location: for files that the application responds with; empty if the workers send them.
    cache_size: bytes for cached pages. disk: free bytes for temporary files.
    """

    runtime: Path
    listen: list[str]
    static: StaticFiles | None = None
    sendfile_location: str = ""
    cache_size: int = 0
    disk: int = 0


class Configuration(NamedTuple):
    """A configuration that nginx has tested.

    file: where it was written. text: of the file. read: the text with all files that it includes.
    notes: what the user should know about it. is_whole: it is the user's own.
    """

    file: Path
    text: str
    read: str
    notes: list[str]
    is_whole: bool


def configure(
    plan: Plan, site: Site, listeners: list[int], tested: Configuration | None = None
) -> Configuration:
    """The configuration for a plan: the user's own nginx.conf, or the image's with snippets.

    listeners: the descriptors of the inherited sockets. tested: an earlier configuration for the
    same plan, which is returned if the text is still the same. Raises SettingError.
    """
    files = plan.nginx_files
    if files.whole:
        text = files.adopt(site.runtime)
        parts = [Part(1, text.count("\n") + 1, files.whole.path)]
        notes = [f"using {files.whole.path}; these settings are ignored: {_IGNORED}"]
    else:
        rendered, overrides = nginx_files.without(render(plan, site), files.overrides())
        text, parts = files.inline(rendered)
        notes = _reduced(plan)
        notes += [f"{file} overrides the image's {', '.join(names)}" for file, names in overrides]
    if tested and tested.text == text:
        return tested
    file = site.runtime / "nginx.next.conf"
    file.write_bytes(nginx_files.encode(text))
    read, warnings = _test(file, listeners, parts)
    files.check_passing()
    if str(nginx_files.USUAL_SOCKET) in read:
        nginx_files.link_socket(site.runtime / "app.sock")
    return Configuration(file, text, read, notes + warnings, bool(files.whole))


def render(plan: Plan, site: Site, starting: bool = False, templates: Path | None = None) -> str:
    """The text of the image's configuration.

    starting: respond with 503 to every request. templates: their folder, if not the image's.
    """
    settings, sizing, static = plan.settings, plan.sizing, site.static
    return _template(templates or TEMPLATES, STARTING if starting else SERVING).render(
        runtime=site.runtime,
        runs_as_root=os.geteuid() == 0,
        starting=starting,
        listen=site.listen,
        backlog=plan.limits.backlog,
        nginx_workers=sizing.nginx_workers,
        descriptors=sizing.nginx_descriptors,
        connections=sizing.nginx_connections,
        requests=sizing.admitted_requests,
        bodies=sizing.admitted_bodies,
        bodies_by_address=sizing.bodies_by_address,
        large_bodies=large_bodies(settings, site.disk),
        response_file=response_file(site.disk),
        web_sockets=sizing.web_sockets,
        web_sockets_by_address=sizing.web_sockets_by_address,
        private=PRIVATE,
        health_path=settings.health_path,
        max_upload=settings.max_upload,
        errors=errors(settings.max_upload),
        trusted_proxies=settings.trusted_proxies,
        access_log=settings.access_log,
        socket=site.runtime / "app.sock",
        request_timeout=plan.timeouts.whole_request,
        shutdown_timeout=plan.timeouts.whole_release + _stay_of_web_sockets(plan),
        verbose=settings.is_verbose,
        # What nginx sends itself: cached pages, static files, files of the application.
        cache=site.cache_size,
        open_pages=0 if plan.nginx_files.opens_files else sizing.open_files,
        static=static,
        static_index=settings.static_index,
        cache_control=_cache_control(static.max_age if static else None),
        open_static=0 if static and static.may_change() else sizing.open_files,
        files=site.sendfile_location,
        put_back=PUT_BACK,
        headers_in_server=plan.nginx_files.has_headers_in_server,
    )


@functools.cache
def _template(folder: Path, name: Path) -> jinja2.Template:
    loader = jinja2.Environment(  # noqa: S701 (the result is not HTML)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return loader.from_string(_with_parts(folder, name))


def _with_parts(folder: Path, name: Path) -> str:
    """A template with the texts of its parts in it, indented as their includes are."""
    return _PART.sub(
        lambda match: textwrap.indent(_with_parts(folder, Path(match[2])), match[1]),
        (folder / name).read_text(),
    )


def _reduced(plan: Plan) -> list[str]:
    """In words, the settings of which nginx gets less than the user wants."""
    settings, sizing = plan.settings, plan.sizing
    files, connections = settings.nginx_worker_open_files, settings.nginx_worker_connections or 0
    values = [
        ("NGINX_WORKER_OPEN_FILES", files, sizing.nginx_descriptors),
        ("NGINX_WORKER_CONNECTIONS", connections, sizing.nginx_connections),
    ]
    return [
        f"{name}={wanted} exceeds this container's limit of open files (ulimit -n); using {given}"
        for name, wanted, given in values
        if wanted > given
    ]


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
        raise SettingError(f"nginx rejects its configuration: {words}")
    warnings = re.findall(r"\[warn\] (?:\d+#\d+: )?(.*)", output)
    return result.stdout, [f"nginx warning: {warning}" for warning in warnings]


def _with_places(output: str, configuration: Path, parts: list[Part]) -> str:
    """nginx's messages, with the files of the user's in them."""

    def place(match: re.Match[str]) -> str:
        line = int(match[1])
        for part in parts:
            if part.first <= line < part.first + part.lines:
                return f"{part.file}:{line - part.first + part.begin}"
        return f"{configuration.with_name('nginx.conf')}:{line}"

    printable = output.encode(errors="surrogateescape").decode(errors="replace")
    return re.sub(rf"{re.escape(str(configuration))}:(\d+)", place, printable)


def _stay_of_web_sockets(plan: Plan) -> int:
    """Seconds that WebSockets of an old generation stay."""
    return round(plan.settings.websocket_reload_timeout) if plan.sizing.web_sockets else 0


def _cache_control(max_age: int | None) -> str:
    """The value of the header, as Flask sends it."""
    if max_age is None:
        return "no-cache"
    return f"public, max-age={max_age}" if max_age else "no-cache, max-age=0"
