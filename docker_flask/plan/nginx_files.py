"""The user's own files for nginx: snippets for each level, or a whole configuration.

nginx includes the snippets itself. What the image decides by them is read once for each generation.
"""

import contextlib
import dataclasses
import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docker_flask.plan import nginx_syntax
from docker_flask.plan.nginx_syntax import Directive
from docker_flask.shared.paths import NGINX_SOCKET
from docker_flask.shared.runtime_folder import replace_symlink
from docker_flask.shared.setting_error import SettingError

# Relative paths in the user's files start here, as in any nginx of the distribution.
FOLDER = Path("/etc/nginx")
# A whole configuration; tiangolo/uwsgi-nginx-flask reads this file.
WHOLE = Path("/app/nginx.conf")
# The socket of the application in such a configuration.
USUAL_SOCKET = Path("/tmp/uwsgi.sock")  # noqa: S108 (the name is in the user's file)
# nginx allows several of these at one level: those of a snippet are added to the image's.
_SEVERAL = {
    "add_header",
    "include",
    "limit_conn",
    "limit_conn_zone",
    "log_format",
    "set_real_ip_from",
    "uwsgi_param",
    "uwsgi_pass_header",
    "proxy_set_header",
    "proxy_pass_header",
}
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class NginxFiles:
    """What the user's files for nginx decide.

    whole: the text of /app/nginx.conf, None if the user has none. overrides: the directives of
    snippets that replace the image's, and the file of each. passes_requests: a server of the
    user's passes requests to the application, without what the image's server adds. has_own_cache:
    a snippet configures what nginx caches. adds_headers: a snippet adds headers at the level of the
    server, where they hide those of the level above. internal: a snippet with internal locations.
    """

    whole: str | None = None
    overrides: Mapping[str, Path] = field(default_factory=dict)
    passes_requests: bool = False
    has_own_cache: bool = False
    adds_headers: bool = False
    internal: Path | None = None


def read() -> NginxFiles:
    """The files as they are on the disk now; raises SettingError."""
    http, server, location = (
        [(file, found) for file in _glob(f"{folder}/*.conf") for found in _directives(file)]
        for folder in ("conf.d", "server.d", "location.d")
    )
    whole = _text(WHOLE) if WHOLE.is_file() else None
    return NginxFiles(
        whole=whole,
        overrides={
            found.name: file
            for file, found in http
            if not (found.blocks or found.is_block or found.name in _SEVERAL)
        },
        passes_requests=whole is not None or any(found.name == "uwsgi_pass" for _, found in http),
        has_own_cache=any(
            re.match("(uwsgi|proxy)_(no_)?cache", found.name)
            for _, found in (*http, *server, *location)
        ),
        adds_headers=any(found.name == "add_header" and not found.blocks for _, found in server),
        internal=next((file for file, found in server if found.name == "internal"), None),
    )


def addresses() -> list[tuple[str, int]] | None:
    """The hosts and ports on which a whole configuration listens, None without one.

    The supervisor binds these for nginx. It can't bind an address of one host, nor a socket that
    each worker has for itself.
    """
    if not WHOLE.is_file():
        return None
    found: dict[tuple[str, int], None] = {}
    for directive in _directives(WHOLE):
        if directive.name != "listen" or not directive.arguments:
            continue
        where, *options = directive.arguments
        match = re.fullmatch(r"(?:(\*|0\.0\.0\.0|\[::\]):)?(\d{1,5})", where)
        own = {"quic", "udp", "reuseport", "ipv6only=off"} & set(options)
        if match and not own and int(match[2]) < 1 << 16:
            address = "::" if match[1] == "[::]" else "0.0.0.0"  # noqa: S104 (the user's words)
            found[address, int(match[2])] = None
    return list(found)


def adopt(text: str, runtime: Path) -> str:
    """A whole configuration, fit for a process that is not root.

    The supervisor watches the process, and `docker-flask health` connects to it. The lines keep
    their numbers, because nginx names lines in its error messages.
    """
    found = list(nginx_syntax.directives(text))
    given = {directive.name for directive in found if directive.blocks == ("http",)}
    temporary = [f"{name}_temp_path" for name in _TEMPORARY]
    added = "".join(f" {name} {runtime}/{name};" for name in temporary if name not in given)
    health = f" server {{ listen unix:{runtime}/{NGINX_SOCKET}; access_log off; return 204; }}"
    ours = {"daemon": "", "pid": "", "user": "", "http": f"http {{{added}{health}"}
    ours["master_process"] = ""  # process 1 looks at the master's workers
    changes = [
        (directive, ours[directive.name])
        for directive in found
        if directive.name in ours and not directive.blocks
    ]
    return f"daemon off; pid {runtime}/nginx.pid; {nginx_syntax.replace(text, changes)}"


def without(text: str, overrides: Mapping[str, Path]) -> tuple[str, list[str]]:
    """A rendered nginx.conf without what snippets override, and a sentence for each override."""
    out = [
        directive
        for directive in nginx_syntax.directives(text)
        if directive.blocks == ("http",) and directive.name in overrides and not directive.is_block
    ]
    names = sorted({directive.name for directive in out})
    return nginx_syntax.replace(
        text, [(directive, f"# {directive.name}: {overrides[directive.name]}") for directive in out]
    ), [f"{overrides[name]} overrides the image's {name}" for name in names]


def link_folder(runtime: Path) -> None:
    """Make relative paths lead to /etc/nginx: nginx starts them at the folder of its nginx.conf."""
    for entry in FOLDER.iterdir():
        if entry.name != "nginx.conf":
            with contextlib.suppress(FileExistsError):  # an earlier call made it, or it is ours
                (runtime / entry.name).symlink_to(entry)


def link_socket(target: Path) -> None:
    """Let /tmp/uwsgi.sock lead to the application; raises SettingError."""
    try:
        replace_symlink(USUAL_SOCKET, str(target))
    except OSError as error:
        raise SettingError(
            f"can't create {USUAL_SOCKET}, which your nginx configuration uses: {error.strerror}; "
            "make /tmp writable (--tmpfs /tmp)"
        ) from None


def _directives(path: Path, above: tuple[Path, ...] = ()) -> Iterator[Directive]:
    """The directives of a file and of the files that it includes; above: the files around it.

    nginx reports a file that can't be read.
    """
    try:
        text = _text(path)
    except SettingError:
        return
    for directive in nginx_syntax.directives(text):
        yield directive
        if directive.name == "include" and path not in above:
            for file in _glob("".join(directive.arguments)):
                for inner in _directives(file, (*above, path)):
                    yield dataclasses.replace(inner, blocks=directive.blocks + inner.blocks)


def _glob(pattern: str) -> list[Path]:
    """The files that nginx finds for an include, in its order; the pattern may be a path."""
    return [Path(name) for name in sorted(glob.glob(str(FOLDER / pattern)))]


def _text(path: Path) -> str:
    """The text of a file, with any bytes; raises SettingError."""
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise SettingError(f"{path} can't be read: {error.strerror}") from None
