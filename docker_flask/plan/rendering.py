"""The text of the image's nginx configuration, rendered from nginx.conf and its parts."""

import functools
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from docker_flask.plan.plan import Plan
from docker_flask.plan.sizing import large_bodies, response_file
from docker_flask.plan.validators import PRIVATE, in_bytes
from docker_flask.shared.paths import CHALLENGES
from docker_flask.shared.sendfile_headers import PUT_BACK
from docker_flask.shared.static_files import StaticFiles

# The folder of the templates and their paths in it. PARAMETERS: what the application learns about a
# request, which the user's files include, too.
TEMPLATES = Path(__file__).parents[2]
MAIN, PARAMETERS = "nginx.conf", "docker_flask/nginx/uwsgi_params.conf"
# Headers of a request that nginx removes if it uses the cache, and that an application may handle.
CONDITIONS = (
    "if_modified_since",
    "if_none_match",
    "if_range",
    "range",
)
# Bytes from which a body is a large one (client_limits.conf).
SMALL_BODY = 1_000_000
# The include of a part in a template.
_PART = re.compile(r"^( *)include (docker_flask/nginx/\w+\.conf);\n", re.MULTILINE)


class Listen(NamedTuple):
    """The addresses of the inherited sockets in nginx's form, for HTTP and for HTTPS.

    certificate: the folder of the certificate; None while there is none. has_http2_directive: of
    nginx 1.25.1 and later, where the word `http2` in `listen` leads to a warning.
    """

    plain: list[str]
    tls: Sequence[str] = ()
    certificate: Path | None = None
    has_http2_directive: bool = True


@dataclass(frozen=True)
class Frontend:
    """What an application server needs to know of nginx.

    sendfile_location: for files that nginx sends for the application; empty if the workers send
    them.
    """

    sendfile_location: str = ""


def render(
    plan: Plan,
    runtime: Path,
    listen: Listen,
    disk: int,
    frontend: Frontend,
    static: StaticFiles | None = None,
    name: str = MAIN,
    starting: bool = False,
) -> str:
    """The text of a file for nginx.

    runtime: the folder for sockets and temporary files. disk: free bytes for temporary files and
    cached pages. static: the files that nginx serves. starting: respond with 503 to every request.
    """
    settings, sizing = plan.settings, plan.sizing
    redirects = bool(listen.certificate and settings.tls_redirect)
    return _renderer(TEMPLATES, name)(
        settings=settings,
        sizing=sizing,
        runtime=runtime,
        runs_as_root=os.geteuid() == 0,
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
        errors=_errors(settings.max_upload, starting),
        request_timeout=round(settings.request_timeout),
        shutdown_timeout=plan.release + round(settings.websocket_reload_timeout),
        # What nginx sends itself: cached pages, static files, files of the application.
        cache=plan.cache_size(disk),
        conditions=CONDITIONS,
        static=static,
        cache_control=_cache_control(static.max_age if static else None),
        open_static=0 if static and static.may_change else sizing.open_files,
        links="if_not_owner" if static and static.follows_links else "on",
        files=frontend.sendfile_location,
        put_back=PUT_BACK,
        headers_in_server=plan.nginx_files.adds_headers,
    )


@functools.cache
def _renderer(folder: Path, name: str) -> Callable[..., str]:
    import jinja2  # slow to import, and the application server loads meanwhile

    environment = jinja2.Environment(  # noqa: S701 (the result is not HTML)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(_with_parts(folder, name)).render


def _with_parts(folder: Path, name: str) -> str:
    """A template with the texts of its parts in it, indented as their includes are."""
    return _PART.sub(
        lambda match: textwrap.indent(_with_parts(folder, match[2]), match[1]),
        (folder / name).read_text(),
    )


def _cache_control(max_age: int | None) -> str:
    """The value of the header, as Flask sends it."""
    if max_age is None:
        return "no-cache"
    return f"public, max-age={max_age}" if max_age else "no-cache, max-age=0"


def _errors(max_upload: str, starting: bool) -> list[tuple[str, str, str]]:
    """The status with its kind, the name and the reason of each of nginx's own errors."""
    unavailable = ("503", "Service Unavailable", "The server is not available. Try again later.")
    if starting:
        unavailable = ("503", "Starting", "The application is starting.")
    large = f"The body of the request is larger than {max_upload} (setting MAX_UPLOAD)."
    no_room = "The server has no room for the body of the request. Try again later."
    return [
        ("400", "Bad Request", "The server can not understand the request."),
        ("400headers", "Bad Request", "Request Header Or Cookie Too Large: 64 KB are allowed."),
        ("403", "Forbidden", "The server does not allow this request."),
        ("404", "Not Found", "There is nothing at this address."),
        ("405", "Method Not Allowed", "The server does not allow this method."),
        ("413", "Request Entity Too Large", large),
        ("429", "Too Many Requests", "The client sends too many requests. Try again later."),
        ("501", "Not Implemented", "WebSockets are turned off, or the server has none."),
        ("502", "Bad Gateway", "The application failed before it responded."),
        unavailable,
        ("503busy", "Service Unavailable", "The server is too busy. Try again in a few seconds."),
        ("504", "Gateway Timeout", "The application takes too long to respond."),
        ("507", "Insufficient Storage", no_room),
    ]
