"""The text of the image's nginx configuration, rendered from nginx.conf and its parts."""

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from docker_flask.plan import nginx_files
from docker_flask.plan.plan import Plan
from docker_flask.plan.settings import Settings
from docker_flask.plan.sizing import large_bodies, response_file
from docker_flask.plan.validators import PRIVATE, in_bytes
from docker_flask.shared.paths import CHALLENGES
from docker_flask.shared.sendfile_headers import PUT_BACK
from docker_flask.shared.static_files import DEFAULT_URL, NOWHERE, StaticFiles

if TYPE_CHECKING:
    import jinja2

# Templates. PARAMETERS: what the application learns about a request, also for the user's files.
MAIN, PARAMETERS = "nginx.conf", "uwsgi_params.conf"
# The folders of the first and of its parts.
_FOLDERS = (Path(__file__).parents[2], Path(__file__).parents[1] / "nginx")
# Tells the requests of this container, and of this start, from those of others.
_START_ID = os.urandom(6).hex()
# Headers of a request that nginx removes if it uses the cache, and that an application may handle.
CONDITIONS = (
    "if_modified_since",
    "if_none_match",
    "if_range",
    "range",
)
# Bytes from which a body is a large one (client_limits.conf).
SMALL_BODY = 1_000_000
# The settings that have no effect with a whole configuration of the user's.
_IGNORED = (
    "ACCESS_LOG, HEALTH_PATH, HSTS, LISTEN_PORT, MAX_UPLOAD, NGINX_WORKER_*, RESPONSE_CACHE, "
    "SCRIPT_NAME, SENDFILE, STATIC_*, TLS_*"
)
# The comment at the end of a line.
_COMMENT = re.compile(r"(^| )#.*")


class Listen(NamedTuple):
    """The addresses of the inherited sockets in nginx's form, for HTTP and for HTTPS.

    certificate: the folder of the certificate; None while there is none. has_http2_directive: of
    nginx 1.25.1 and later, where the word `http2` in `listen` leads to a warning.
    """

    plain: list[str]
    tls: Sequence[str] = ()
    certificate: Path | None = None
    has_http2_directive: bool = True


def listen_on(addresses: Sequence[str], tls_port: int, certificate: Path | None) -> Listen:
    """Listen on these addresses; tls_port: the port for HTTPS, 0 for none."""
    tls = [each for each in addresses if each.endswith(f":{tls_port}")]
    plain = [each for each in addresses if each not in tls]
    return Listen(plain, tls, certificate, not tls or _version() >= (1, 25, 1))


@functools.cache
def _version() -> tuple[int, ...]:
    import subprocess  # slow to import, and only HTTPS needs it

    words = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=True)
    return tuple(map(int, re.findall(r"\d+", words.stderr)[:3]))


def sendfile_location(plan: Plan, secret: str) -> str:
    """nginx's location for files of the application; empty if the workers send these themselves.

    secret: its name, which no client can guess.
    """
    sends_files = plan.settings.sendfile and not plan.nginx_files.passes_requests
    return f"/{secret}" if sends_files else ""


def usual_static(settings: Settings) -> StaticFiles | None:
    """The static files of most applications, while nobody knows those of this one.

    A location for files that do not exist does no harm.
    """
    if settings.static_url == "":
        return None
    return StaticFiles(settings.static_url or DEFAULT_URL, NOWHERE, settings.static_max_age)


def configuration(
    plan: Plan,
    runtime: Path,
    listen: Listen,
    disk: int,
    sendfile: str,
    static: StaticFiles | None,
) -> tuple[str, list[str]]:
    """The text of nginx.conf, and notes for the user; the parameters are those of `render`."""
    files = plan.nginx_files
    if files.whole is not None:
        note = f"using {nginx_files.WHOLE}; these settings are ignored: {_IGNORED}"
        return nginx_files.adopt(files.whole, runtime), [note]
    text = render(plan, runtime, listen, disk, sendfile, static)
    return nginx_files.without(text, files.overrides)


def render(
    plan: Plan,
    runtime: Path,
    listen: Listen,
    disk: int,
    sendfile: str,
    static: StaticFiles | None = None,
    name: str = MAIN,
    starting: bool = False,
) -> str:
    """The text of a file for nginx.

    runtime: the folder for sockets and temporary files. disk: free bytes for temporary files and
    cached pages. sendfile: what `sendfile_location` returns. static: the files that nginx serves.
    starting: respond with 503 to every request.
    """
    settings, sizing = plan.settings, plan.sizing
    redirects = bool(listen.certificate and settings.tls_redirect)
    template = _templates().get_template(name)
    text = template.render(
        settings=settings,
        sizing=sizing,
        runtime=runtime,
        runs_as_root=os.geteuid() == 0,
        start_id=_START_ID,
        starting=starting,
        listen=listen,
        redirects=redirects,
        plain=[] if redirects else listen.plain,
        challenges=CHALLENGES,
        backlog=plan.limits.backlog,
        large_bodies=large_bodies(settings, disk),
        unannounced_body=min(in_bytes(settings.max_upload) or SMALL_BODY, SMALL_BODY),
        response_file=response_file(disk),
        private=PRIVATE,
        request_timeout=round(settings.request_timeout),
        shutdown_timeout=plan.release + round(settings.websocket_reload_timeout),
        # What nginx sends itself: cached pages, static files, files of the application.
        cache=plan.cache_size(disk),
        conditions=CONDITIONS,
        static=static,
        cache_control=_cache_control(static.max_age if static else None),
        open_static=0 if static and static.may_change else sizing.open_files,
        links="if_not_owner" if static and static.follows_links else "on",
        files=sendfile,
        put_back=PUT_BACK,
        headers_in_server=plan.nginx_files.adds_headers,
    )
    return _indented(text)


@functools.cache
def _templates() -> "jinja2.Environment":
    import jinja2  # slow to import, and the application server loads meanwhile

    return jinja2.Environment(  # noqa: S701 (the result is not HTML)
        loader=jinja2.FileSystemLoader(_FOLDERS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def _indented(text: str) -> str:
    """The text, for people: Jinja does not indent the lines of a part as their include."""
    lines, depth, is_open = [], 0, False
    for line in filter(None, map(str.strip, text.splitlines())):
        depth -= line.startswith("}")
        lines.append(f"{'    ' * (depth + is_open)}{line}\n")
        end = _COMMENT.sub("", line)[-1:]
        depth += end == "{"
        is_open = end not in "{};" if end else is_open
    return "".join(lines)


def _cache_control(max_age: int | None) -> str:
    """The value of the header, as Flask sends it."""
    if max_age is None:
        return "no-cache"
    return f"public, max-age={max_age}" if max_age else "no-cache, max-age=0"
