"""The user's own files for nginx: snippets for each level, or a whole configuration.

Snippets become part of the image's configuration; a whole configuration replaces it. A directive in
a snippet replaces the image's directive, and the user's files may name the socket that other images
use. One generation reads the files once: whatever it decides, it decides by the same text.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from docker_flask.configuration import nginx_syntax
from docker_flask.configuration.nginx_syntax import Directive
from docker_flask.configuration.validators import SettingError
from docker_flask.paths import NGINX_SOCKET
from docker_flask.runtime_folder import answers, replace_symlink

# Relative paths in the user's files start here, as in any nginx of the distribution.
FOLDER = Path("/etc/nginx")
# A whole configuration; tiangolo/uwsgi-nginx-flask reads this file.
WHOLE = Path("/app/nginx.conf")
# The socket of the application in such a configuration.
USUAL_SOCKET = Path("/tmp/uwsgi.sock")  # noqa: S108 (the name is in the user's file)
# nginx allows several of these at one level: those of a snippet are added to the image's.
_SEVERAL = {
    *("add_header", "include", "limit_conn", "limit_conn_zone", "log_format", "set_real_ip_from"),
    *("uwsgi_param", "uwsgi_pass_header", "proxy_set_header", "proxy_pass_header"),
}
# What the application learns about a request. nginx drops all of these that stand in an outer block
# if a block has one of its own.
_REQUEST = "uwsgi_param"
# The directives that pass requests to an application.
_PASS = ("uwsgi_pass", "proxy_pass")
_APPLICATION = re.compile(rf"(http://)?(application|unix:/*{USUAL_SOCKET}).*")
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# Bytes that are not UTF-8 stay what they are.
_ENCODING = ("utf-8", "surrogateescape")


class Overrides(NamedTuple):
    """A snippet at http level, and the image's directives that the snippet replaces."""

    file: Path
    names: list[str]


class Part(NamedTuple):
    """Lines of a written configuration that are those of a file of the user's.

    first: the number of the first of these lines; lines: how many they are; begin: the number that
    the first has in the file.
    """

    first: int
    lines: int
    file: Path
    begin: int = 1


class Piece(NamedTuple):
    """Text between two includes of a file; begin: the number of its first line."""

    file: Path
    begin: int
    text: str


@dataclass(frozen=True)
class File:
    """One file of the user's.

    directives: those of the file and of the files that it includes; unreadable: the reason if the
    file can't be read. Such a file has no directives, and nginx reports it. pieces: the text with
    the texts of the files that it includes.
    """

    path: Path
    text: str
    directives: tuple[Directive, ...]
    unreadable: str = ""
    pieces: tuple[Piece, ...] = ()

    @classmethod
    def read(cls, path: Path) -> File:
        """The file as it is on the disk now."""
        try:
            text = _read(path)
        except OSError as error:
            return cls(path, "", (), error.strerror or str(error))
        pieces = tuple(_pieces(path, text))
        whole = "\n".join(piece.text for piece in pieces)
        return cls(path, text, tuple(nginx_syntax.directives(whole)), pieces=pieces)


@dataclass(frozen=True)
class NginxFiles:
    """The user's files for nginx as they were at one moment.

    whole: /app/nginx.conf, if the user has one; http, server, location: the snippets for these
    levels of the image's nginx.conf, in the order in which nginx includes them.
    """

    whole: File | None = None
    http: tuple[File, ...] = ()
    server: tuple[File, ...] = ()
    location: tuple[File, ...] = ()

    @classmethod
    def read(cls) -> NginxFiles:
        """The files as they are on the disk now."""
        levels = [
            tuple(map(File.read, _glob(f"{folder}/*.conf")))
            for folder in ("conf.d", "server.d", "location.d")
        ]
        return cls(File.read(WHOLE) if WHOLE.is_file() else None, *levels)

    def addresses(self) -> list[tuple[str, int]] | None:
        """The hosts and ports on which a whole configuration listens, None without one.

        The supervisor binds these for nginx. It can't bind an address of one host, nor a socket
        that each worker has for itself.
        """
        if not self.whole:
            return None
        found: dict[tuple[str, int], None] = {}
        for directive in self.whole.directives:
            if directive.name != "listen" or not directive.arguments:
                continue
            where, *options = directive.arguments
            match = re.fullmatch(r"(?:(\*|0\.0\.0\.0|\[::\]):)?(\d{1,5})", where)
            own = {"quic", "udp", "reuseport", "ipv6only=off"} & set(options)
            if match and not own and int(match[2]) < 1 << 16:
                address = "::" if match[1] == "[::]" else "0.0.0.0"  # noqa: S104 (the user's words)
                found[address, int(match[2])] = None
        return list(found)

    def check_passing(self) -> None:
        """Raises SettingError if a file passes requests to the application by another protocol."""
        for file, directive in self._all():
            if _passes(directive) and directive.name != "uwsgi_pass":
                raise SettingError(
                    f"{directive.name} in {file} does not reach the application server: allowed "
                    "is uwsgi_pass"
                )

    @property
    def has_headers_in_server(self) -> bool:
        """True if a snippet adds headers at server level, where they hide those of http level."""
        return any(
            directive.name == "add_header" and not directive.blocks
            for file in self.server
            for directive in file.directives
        )

    @property
    def passes_requests(self) -> bool:
        """True if a server of the user's passes requests to the application: these requests do not
        get what the image's own server adds."""
        return bool(self.whole) or any(
            _passes(directive) for file in self.http for directive in file.directives
        )

    @property
    def has_own_cache(self) -> bool:
        """True if a snippet configures what nginx caches."""
        return any(
            re.match("(uwsgi|proxy)_(no_)?cache", directive.name)
            for file in (*self.http, *self.server, *self.location)
            for directive in file.directives
        )

    @property
    def opens_files(self) -> bool:
        """True if a snippet configures how nginx sends files, where it passes requests."""
        return any(
            directive.name in ("open_file_cache", "open_file_cache_valid", "sendfile")
            for file in self.location
            for directive in file.directives
        )

    def overrides(self) -> list[Overrides]:
        """What the snippets at http level set, file by file."""
        return [
            Overrides(
                file.path,
                list(
                    dict.fromkeys(
                        directive.name
                        for directive in file.directives
                        if not (
                            directive.blocks or directive.is_block or directive.name in _SEVERAL
                        )
                    )
                ),
            )
            for file in self.http
        ]

    def inline(self, text: str) -> tuple[str, list[Part]]:
        """A rendered nginx.conf with the texts of the snippets in the place of its includes.

        So nginx can start again with what it ran with, whatever the files are then. Returns where
        the snippets stand in the text, too. nginx itself includes a file that can't be read, or
        that ends in the middle of a directive or block: its error message names the file.
        """
        levels = {
            f"{FOLDER}/conf.d/*.conf": self.http,
            f"{FOLDER}/server.d/*.conf": self.server,
            f"{FOLDER}/location.d/*.conf": self.location,
        }
        text, ours = self._without_replaced(text)
        parts, written, position = list[Part](), "", 0
        for directive in nginx_syntax.directives(text):
            if directive.name != "include" or directive.arguments[0] not in levels:
                continue
            written += text[position : directive.begin]
            position = directive.end
            for file in levels[directive.arguments[0]]:
                if file.unreadable or not nginx_syntax.is_complete(file.text):
                    written += f'include "{file.path}";\n'
                    continue
                written += f"# {file.path}\n"
                for piece in file.pieces:
                    first, lines = written.count("\n") + 1, piece.text.count("\n") + 1
                    parts.append(Part(first, lines, piece.file, piece.begin))
                    written += f"{piece.text}\n"
        return _repeat(written + text[position:], ours), parts

    def _without_replaced(self, text: str) -> tuple[str, dict[str, str]]:
        """A rendered nginx.conf without the parameters of requests that a snippet at http level
        sets, too; and the others, by their names."""
        found = [
            directive
            for directive in nginx_syntax.directives(text)
            if directive.name == _REQUEST and directive.blocks == ("http",)
        ]
        replaced = {
            directive.arguments[0].lower()
            for file in self.http
            for directive in file.directives
            if directive.name == _REQUEST and directive.arguments and not directive.blocks
        }
        out = [directive for directive in found if directive.arguments[0].lower() in replaced]
        ours = {
            directive.arguments[0].lower(): text[directive.begin : directive.end]
            for directive in found
            if directive not in out
        }
        return nginx_syntax.replace(text, [(directive, "") for directive in out]), ours

    def adopt(self, runtime: Path) -> str:
        """The text of the whole configuration, fit for a process that is not root.

        The supervisor watches the process, and `docker-flask health` connects to it. The lines keep
        their numbers, because nginx names lines in its error messages. Raises SettingError.
        """
        assert self.whole  # noqa: S101 (for mypy: the caller has checked this)
        if self.whole.unreadable:
            raise SettingError(f"{self.whole.path} can't be read: {self.whole.unreadable}")
        text = self.whole.text
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

    def _all(self) -> Iterator[tuple[Path, Directive]]:
        """Every directive of every file, with the file through which nginx reads it."""
        whole = (self.whole,) if self.whole else ()
        for file in (*whole, *self.http, *self.location, *self.server):
            for directive in file.directives:
                yield file.path, directive


def without(text: str, found: list[Overrides]) -> tuple[str, list[Overrides]]:
    """A rendered nginx.conf without the directives that snippets replace, and which these are."""
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


def _passes(directive: Directive) -> bool:
    return directive.name in _PASS and any(map(_APPLICATION.fullmatch, directive.arguments[:1]))


def link_folder(runtime: Path) -> None:
    """Make relative paths lead to /etc/nginx: nginx starts them at the folder of its nginx.conf."""
    for entry in FOLDER.iterdir():
        if entry.name != "nginx.conf":
            with contextlib.suppress(FileExistsError):  # an earlier call made it
                (runtime / entry.name).symlink_to(entry)


def link_socket(target: Path) -> None:
    """Let /tmp/uwsgi.sock lead to the application; raises SettingError."""
    if USUAL_SOCKET.is_symlink():
        other = USUAL_SOCKET.readlink().parent
        if other != target.parent and answers(str(other)):
            raise SettingError(
                f"{USUAL_SOCKET}, which your nginx configuration uses, leads to the application of "
                "another container that shares /tmp: give each container a /tmp of its own"
            )
    try:
        replace_symlink(USUAL_SOCKET, str(target))
    except OSError as error:
        raise SettingError(
            f"can't create {USUAL_SOCKET}, which your nginx configuration uses: {error.strerror}; "
            "make /tmp writable (--tmpfs /tmp)"
        ) from None


def _repeat(text: str, ours: dict[str, str]) -> str:
    """A configuration with the image's parameters of requests repeated where the user's hide them.

    ours: the image's directives, by the lower-case names that they set. A block that passes
    requests to the application gets the parameters of the innermost block around it that has any.
    A parameter that the user sets in this block is the user's. No line break is added.
    """
    if not ours:
        return text
    found = list(nginx_syntax.directives(text))
    heads = {directive.begin: directive for directive in found if directive.is_block}
    users: dict[int, list[Directive]] = {}
    for directive in found:
        if directive.name == _REQUEST and directive.arguments:
            users.setdefault(directive.block, []).append(directive)
    hiding = set[int]()
    for directive in found:
        if _passes(directive) or (directive.name in _PASS and "$" in directive.arguments[0]):
            block = directive.block
            while block in heads and block not in users:
                block = heads[block].block
            hiding.add(block)
    changes = []
    for given in (users[block] for block in hiding & users.keys()):
        own = {directive.arguments[0].lower() for directive in given}
        again = " ".join(line for name, line in ours.items() if name not in own)
        if given[0].blocks != ("http",):
            changes.append((given[0].begin, again))
    for begin, again in sorted(changes, reverse=True):
        text = f"{text[:begin]}{again} {text[begin:]}"
    return text


def _pieces(file: Path, text: str, above: tuple[Path, ...] = ()) -> Iterator[Piece]:
    """The text of a file with those of the files that it includes; above: the files around it.

    nginx itself includes a file that can't be read or is not complete, and reports it.
    """
    position = 0
    for directive in nginx_syntax.directives(text):
        if directive.name != "include" or not directive.arguments or file in above:
            continue
        found = _glob(directive.arguments[0])
        try:
            included = [(path, _read(path)) for path in found]
        except OSError:
            continue
        if not all(nginx_syntax.is_complete(inner) for _, inner in included) or not (
            found or glob.has_magic(directive.arguments[0])
        ):
            continue
        yield Piece(file, text.count("\n", 0, position) + 1, text[position : directive.begin])
        for path, inner in included:
            yield from _pieces(path, inner, (*above, file))
        position = directive.end
    yield Piece(file, text.count("\n", 0, position) + 1, text[position:])


def _glob(pattern: str) -> list[Path]:
    """The files that nginx finds for an include, in its order; the pattern may be a path."""
    return [Path(name) for name in sorted(glob.glob(str(FOLDER / pattern)))]


def _read(path: Path) -> str:
    """The text of a file, which `encode` turns back into the same bytes; raises OSError."""
    return path.read_bytes().decode(*_ENCODING)


def encode(text: str) -> bytes:
    """The bytes of a configuration with text of the user's in it."""
    return text.encode(*_ENCODING)
