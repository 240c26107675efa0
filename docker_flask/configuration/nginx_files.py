"""The user's own files for nginx: snippets for each level, or a whole configuration.

They are made part of what the image runs (or take its place), and what they say is respected: a
directive of theirs replaces the image's, and they may name the socket where other images have it.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from docker_flask.configuration import nginx_syntax
from docker_flask.configuration.nginx_syntax import Directive
from docker_flask.configuration.settings import Said, SettingError
from docker_flask.paths import NGINX_SOCKET
from docker_flask.runtime_folder import point

# Relative paths in a configuration start here, as everywhere.
FOLDER = Path("/etc/nginx")
# A whole configuration, where the images of others have it.
WHOLE = Path("/app/nginx.conf")
# Where such a configuration expects the application.
USUAL_SOCKET = Path("/tmp/uwsgi.sock")
# Directives of nginx.conf that may stand several times at one level: a snippet's come beside them.
_SEVERAL = {
    *("add_header", "include", "limit_conn", "limit_conn_zone", "log_format", "set_real_ip_from"),
    *("uwsgi_param", "uwsgi_pass_header", "proxy_set_header", "proxy_pass_header"),
}
# How requests get to the application.
_PASS = ("uwsgi_pass", "proxy_pass")
_APPLICATION = re.compile(rf"(http://)?(application|unix:/*{USUAL_SOCKET}).*")
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Overrides(NamedTuple):
    """A snippet at http level and the directives that it sets there in place of the image's."""

    file: Path
    names: list[str]


def overrides() -> list[Overrides]:
    """What the snippets at http level set, file by file."""
    found = []
    for file in sorted(FOLDER.glob("conf.d/*.conf")):
        names = [
            directive.name
            for directive in _read(file)
            if not (directive.blocks or directive.is_block or directive.name in _SEVERAL)
        ]
        found.append(Overrides(file, list(dict.fromkeys(names))))
    return found


def without(text: str, found: list[Overrides]) -> tuple[str, list[Overrides]]:
    """A rendered nginx.conf without what snippets set at http level, and what that was."""
    by_name = {name: file for file, names in found for name in names}
    out = [
        directive
        for directive in nginx_syntax.directives(text)
        if directive.blocks == ("http",) and directive.name in by_name and not directive.is_block
    ]
    gone = {directive.name for directive in out}
    return nginx_syntax.replace(
        text, [(directive, f"# {directive.name}: {by_name[directive.name]}") for directive in out]
    ), [Overrides(file, sorted(gone & set(names))) for file, names in found if gone & set(names)]


def adopt(file: Path, runtime: Path) -> str:
    """The text of a whole nginx.conf of the user's, fit for a process that is not root.

    The supervisor watches the process, and asks it for `docker-flask health`. All that is added
    stands on a line that is there, because nginx names lines in its complaints.

    Raises SettingError.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SettingError(f"{file} can't be read: {error.strerror}") from None
    found = list(nginx_syntax.directives(text))
    given = {directive.name for directive in found if directive.blocks == ("http",)}
    temporary = [f"{name}_temp_path" for name in _TEMPORARY]
    added = "".join(f" {name} {runtime}/{name};" for name in temporary if name not in given)
    health = f" server {{ listen unix:{runtime}/{NGINX_SOCKET}; access_log off; return 204; }}"
    changes = []
    for directive in found:
        if directive.blocks:
            continue
        if directive.name in ("daemon", "pid", "user"):
            changes.append((directive, ""))
        elif directive.name == "http":
            changes.append((directive, f"http {{{added}{health}"))
    return f"daemon off; pid {runtime}/nginx.pid; {nginx_syntax.replace(text, changes)}"


def addresses() -> list[tuple[str, int]] | None:
    """The hosts and ports that a whole configuration of the user's listens on, None without one.

    Only those that the supervisor can bind for it: any host's, and not each worker's own.
    """
    if not WHOLE.is_file():
        return None
    found: dict[tuple[str, int], None] = {}
    for directive in _read(WHOLE):
        if directive.name != "listen" or not directive.arguments:
            continue
        where, *options = directive.arguments
        match = re.fullmatch(r"(?:(\*|0\.0\.0\.0|\[::\]):)?(\d{1,5})", where)
        own = {"quic", "udp", "reuseport", "ipv6only=off"} & set(options)
        if match and not own and int(match[2]) < 1 << 16:
            found["::" if match[1] == "[::]" else "0.0.0.0", int(match[2])] = None
    return list(found)


def headers_in_server() -> bool:
    """True if a snippet adds headers at server level, where they hide those of the level above."""
    return any(
        directive.name == "add_header" and not directive.blocks
        for file in FOLDER.glob("server.d/*.conf")
        for directive in _read(file)
    )


def pass_requests() -> bool:
    """True if a server of the user's passes requests to the application, which then may not count
    on what the image's own does for it."""
    return WHOLE.is_file() or any(
        _passes(directive) for file in FOLDER.glob("conf.d/*.conf") for directive in _read(file)
    )


def own_cache() -> bool:
    """True if a snippet of the user's says what nginx keeps."""
    return any(
        re.match("(uwsgi|proxy)_(no_)?cache", directive.name)
        for file in FOLDER.glob("*.d/*.conf")
        for directive in _read(file)
    )


def opens_files() -> bool:
    """True if a snippet says how files are sent, where requests are passed to the application."""
    return any(
        directive.name in ("open_file_cache", "open_file_cache_valid", "sendfile")
        for file in FOLDER.glob("location.d/*.conf")
        for directive in _read(file)
    )


def check_passing(via: str) -> None:
    """Raises SettingError where the user's pass requests in the other of nginx's ways: via is
    `uwsgi` or `proxy`."""
    for file in (WHOLE, *sorted(FOLDER.glob("*.d/*.conf"))):
        for directive in _read(file):
            if _passes(directive) and directive.name != f"{via}_pass":
                raise SettingError(
                    f"{directive.name} in {file} does not reach the application server that "
                    f"APP_SERVER names: allowed is {via}_pass"
                )


def _passes(directive: Directive) -> bool:
    return directive.name in _PASS and any(map(_APPLICATION.fullmatch, directive.arguments[:1]))


def said(via: str) -> dict[str, Said]:
    """Settings that follow from what the files say: a request may take as long as they wait.

    via: how nginx reaches the application, `uwsgi` or `proxy`.
    """
    waits = [
        (_seconds(directive.arguments[0]), f"{directive.name} {directive.arguments[0]}", file)
        for file in (WHOLE, *sorted(FOLDER.glob("*.d/*.conf")))
        for directive in _read(file)
        if directive.name == f"{via}_read_timeout" and directive.arguments
    ]
    if not waits:
        return {}
    seconds, text, file = max(waits)
    return {"request_timeout": Said(text, f"{seconds:g}", str(file))}


def link_folder(runtime: Path) -> None:
    """Make relative paths, which nginx looks for beside its configuration, mean what they say."""
    for entry in FOLDER.iterdir():
        if entry.name != "nginx.conf":
            with contextlib.suppress(FileExistsError):  # from the last time
                (runtime / entry.name).symlink_to(entry)


def link_socket(target: Path) -> None:
    """Let the application be found where other images have its socket; raises SettingError."""
    try:
        point(USUAL_SOCKET, str(target))
    except OSError as error:
        raise SettingError(
            f"{USUAL_SOCKET}, where your nginx configuration expects the application, can't be "
            f"made: {error.strerror}; give the container a /tmp to write to (--tmpfs /tmp)"
        ) from None


def _read(file: Path, above: tuple[Path, ...] = ()) -> Iterator[Directive]:
    """Every directive of a file and of those that it includes; above: the files that include it.

    One that can't be read has none; nginx will say so better.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for directive in nginx_syntax.directives(text):
        yield directive
        if directive.name == "include" and directive.arguments and file not in above:
            for name in sorted(glob.glob(str(FOLDER / directive.arguments[0]))):
                for included in _read(Path(name), (*above, file)):
                    yield replace(included, blocks=directive.blocks + included.blocks)


def _seconds(text: str) -> float:
    """A time as nginx writes it: 90, 90s, 1m30s."""
    return sum(int(n) * _SECONDS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhd]?)", text))
