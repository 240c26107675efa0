"""Every setting, once: its name, its aliases, its default, its meaning and what is allowed.

A setting is an environment variable. Its value is parsed here and nowhere else, so that no text
from outside ever reaches a configuration file: what comes out is a number, a known word, or a
path or name of safe characters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from docker_flask import static_files
from docker_flask.configuration.limits import Limits

EXIT_BAD_SETTING = 78  # EX_CONFIG in sysexits.h
ZONES = Path("/usr/share/zoneinfo")
DECIDED = "decided from the "

# What a Flask application takes per worker, rounded up: for as long as none was measured.
WORKER_MEMORY = 64 << 20
# Workers a CPU: those of a server that keeps its workers, and the most of one that gets more while
# requests wait for something else than a CPU, the same where they get more threads before that
# (docs/sizing.md).
FIXED, MOST, MOST_OF_THREADS = 2, 16, 4
# Addresses that no packet from the internet has: private (RFC 1918), loopback, link-local (RFC
# 3927, as of several clouds' front ends), and the same of IPv6. Not 100.64.0.0/10 (RFC 6598): there
# the other customers of a provider are.
PRIVATE = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)


class SettingError(ValueError):
    """A setting that can't be used; the message says which, why and what is allowed."""

    code = EXIT_BAD_SETTING


@dataclass(frozen=True)
class Said:
    """What a file of the user's says of a setting: by which name, in which words, and where."""

    name: str
    text: str
    place: str


@dataclass(frozen=True)
class Kind:
    """How a value is read: `parse` raises ValueError for what `allowed` does not describe."""

    parse: Callable[[str], Any]
    allowed: str


def _whole(low: int, high: int) -> Kind:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Kind(parse, f"a whole number from {low} to {high}")


def _whole_or_auto(low: int, high: int) -> Kind:
    whole = _whole(low, high)
    return Kind(
        lambda text: text if text == "auto" else whole.parse(text), f"{whole.allowed}, or auto"
    )


def _seconds(low: float, high: float) -> Kind:
    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or not low <= float(text) <= high:
            raise ValueError(text)
        return float(text)

    return Kind(parse, f"seconds from {low:g} to {high:g}")


def _switch(*others: str) -> Kind:
    words: dict[str, bool | str] = {"1": True, "on": True, "true": True, "yes": True}
    words |= {"0": False, "off": False, "false": False, "no": False}
    words |= {word: word for word in others}

    def parse(text: str) -> bool | str:
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]

    return Kind(parse, ", or ".join(["1 or 0 (also on/off, true/false, yes/no)", *others]))


def _word(*words: str) -> Kind:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    return Kind(parse, f"{', '.join(words[:-1])} or {words[-1]}")


def _size(least: str = "0") -> Kind:
    def parse(text: str) -> str:
        if not re.fullmatch(r"[0-9]{1,9}[kKmMgG]?", text):
            raise ValueError(text)
        if 0 < in_bytes(text) < in_bytes(least):
            raise ValueError(text)
        return text.lower()

    at_least = f" (at least {least})" if least != "0" else ""
    return Kind(
        parse, f"0 for no limit, or a number of bytes{at_least} with k, m or g behind it, as in 50m"
    )


def _size_or_off(least: str, usual: str) -> Kind:
    """A size; a switch means none or the usual one."""
    switch, size = _switch(), _size(least)

    def parse(text: str) -> str:
        try:
            return usual if switch.parse(text) else "0"
        except ValueError:
            return str(size.parse(text))

    return Kind(
        parse, f"off, or a number of bytes (at least {least}) with k, m or g behind it, as in 50m"
    )


def in_bytes(size: str) -> int:
    """What a size such as `50m` means."""
    shift = {"k": 10, "m": 20, "g": 30}.get(size[-1].lower())
    return int(size[:-1]) << shift if shift else int(size)


def _callable() -> Kind:
    def parse(text: str) -> str:
        module = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
        if not re.fullmatch(rf"{module}(:[A-Za-z_][\w.]*(\([^\r\n]*\))?)?", text):
            raise ValueError(text)
        return text

    return Kind(parse, "package.module:callable, or package.module:factory()")


def _flask_app() -> Kind:
    def parse(text: str) -> str:
        if not re.fullmatch(r"[\w./+-]+(:\s*[A-Za-z_][\w.]*\s*(\([^\r\n]*\))?)?", text):
            raise ValueError(text)
        return text

    return Kind(parse, "a module, or its file as path/to/hello.py, with or without :callable")


def _file() -> Kind:
    def parse(text: str) -> str:
        if not re.fullmatch(r"[\w./+-]+", text) or not Path(text).is_file():
            raise ValueError(text)
        return text

    return Kind(parse, "the path of a file that exists")


def _networks() -> Kind:
    def parse(text: str) -> tuple[str, ...]:
        import ipaddress  # only here: the port is not bound yet

        networks: list[str] = []
        for word in text.replace(",", " ").split():
            if word == "private":
                networks += PRIVATE
            elif not re.fullmatch("[0-9A-Fa-f:./]+", word):
                raise ValueError(text)
            else:
                network = ipaddress.ip_network(word)
                if not network.prefixlen:
                    raise ValueError(text)
                networks.append(str(network))
        return tuple(dict.fromkeys(networks))

    return Kind(
        parse,
        "addresses, networks as 10.0.0.0/8 (no bits behind those that count) and the word private, "
        "with commas or spaces between them; not everybody (0.0.0.0/0), who could claim anything",
    )


def _hosts() -> Kind:
    def parse(text: str) -> tuple[str, ...]:
        hosts = tuple(host.strip().lower() for host in text.split(","))
        if not all(re.fullmatch(r"\.?[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
            raise ValueError(text)
        return hosts

    return Kind(
        parse, "host names, without ports, divided by commas; with a dot before it, all below one"
    )


def _pin() -> Kind:
    def parse(text: str) -> str:
        if text != "off" and not re.fullmatch(r"[0-9]+(-[0-9]+)*", text):
            raise ValueError(text)
        return text

    return Kind(parse, "digits, with dashes between them or not, as in 123-456-789; or off")


def _prefix() -> Kind:
    def parse(text: str) -> str:
        prefix = text.removesuffix("/")
        if not static_files.URL.fullmatch(prefix):
            raise ValueError(text)
        return prefix

    return Kind(parse, "a path as /static or /a/b, of letters, digits and . _ -; empty for none")


def _static_folder() -> Kind:
    def parse(text: str) -> str:
        folder = Path(text).resolve()
        if not folder.is_dir() or Path.cwd().resolve().is_relative_to(folder):
            raise ValueError(text)
        return os.path.abspath(text)

    return Kind(parse, "a folder that exists and in which the application is not")


def setting(
    kind: Kind,
    default: str | Callable[[Limits], tuple[Any, str]] | None,
    meaning: str,
    aliases: tuple[str, ...] = (),
    empty: str | None = None,
) -> Any:
    """Declare one setting as a field of `Settings`.

    default: the text that stands when nothing is set, None for "not set", or a function that
    decides from the limits and returns the value and the reason; empty: the value of one that is
    set but empty, None if that counts as not set.
    """
    return field(
        metadata={
            "kind": kind,
            "default": default,
            "meaning": meaning,
            "aliases": aliases,
            "empty": empty,
        }
    )


def _first_workers(limits: Limits) -> tuple[int, str]:
    """One worker a CPU, because more would only take turns; and never one alone, which one request
    could keep from the others until there are more."""
    return _workers(max(2, limits.whole_cpus), limits)


def _fixed_workers(limits: Limits) -> tuple[int, str]:
    """Two workers a CPU, so that one that waits for a database leaves its CPU to another."""
    return _workers(FIXED * limits.whole_cpus, limits)


def _workers(count: int, limits: Limits) -> tuple[int, str]:
    memory = limits.memory // 2 // WORKER_MEMORY, limits.memory_source
    return _least((count, limits.cpus_source), memory, _most_workers(limits))


def _most_workers(limits: Limits) -> tuple[int, str]:
    """As many as that becomes; supervisor/worker_pool.py measures how many memory has room for."""
    # uWSGI's first process holds two open files for each that there may be.
    files = limits.descriptors // 8, f"limit of {limits.descriptors} open files"
    choices = [(min(1024, MOST * limits.whole_cpus), limits.cpus_source), files]
    if limits.processes:
        # A worker is two, with its guard's thread, and there are twice as many in a reload; ten are
        # nginx, the servers' first ones, the supervisor and a command.
        choices.append(((limits.processes - 10) // 4, f"limit of {limits.processes} processes"))
    return _least(*choices)


def _least(*choices: tuple[int, str]) -> tuple[int, str]:
    count, reason = min(choices, key=lambda choice: choice[0])
    return max(1, count), reason


def _nginx_workers(limits: Limits) -> tuple[int, str]:
    """One serves more than a handful of application workers can produce, and a second one only
    adds wake-ups between the two."""
    return max(1, limits.whole_cpus // 4), limits.cpus_source


@dataclass(frozen=True)
class Settings:
    """All settings, read and checked. Field names are the variables' names in lower case."""

    listen_port: int = setting(
        _whole(1, 65535), "80", "Port that nginx listens on in production.", ("PORT",)
    )
    app_module: str | None = setting(
        _callable(),
        None,
        "The WSGI callable; unset, it is found by `FLASK_APP`, `uwsgi.ini` or the usual names "
        "(`app`, `application`, `create_app`, `make_app` in `app.py`, `wsgi.py`, `main.py` or a "
        "package).",
    )
    flask_app: str | None = setting(
        _flask_app(), None, "The same as Flask writes it: `hello`, `path/to/hello.py:create_app()`."
    )
    uwsgi_ini: str | None = setting(
        _file(),
        None,
        "A file of uWSGI's in which `module` or `wsgi-file` names the WSGI callable; unset, "
        "`uwsgi.ini` beside the application.",
    )
    app_server: str = setting(
        _word("uwsgi", "gunicorn", "granian"),
        "uwsgi",
        "The application server behind nginx. `gunicorn` and `granian` have to stand in "
        "`requirements.txt`.",
    )
    worker_class: str | None = setting(
        _word("sync", "gthread", "gevent"),
        None,
        "How a worker takes requests: `sync` one at a time, `gthread` in `THREADS` threads, "
        "`gevent` (has to stand in `requirements.txt`) in up to 1,000 greenlets; unset, as "
        "`THREADS` says.",
    )
    web_concurrency: int = setting(
        _whole(1, 1024),
        _most_workers,
        "Most worker processes, as the memory allows; unset, 4 a CPU that the container may use, "
        "or 16 if `THREADS` says how many threads they have.",
        ("UWSGI_PROCESSES",),
    )
    uwsgi_cheaper: int = setting(
        _whole(0, 1023),
        _first_workers,
        "Fewest workers, kept while no request waits for one; 0 keeps all. Unset, one a CPU, but "
        "two at least, or all of `WEB_CONCURRENCY` if that is set.",
    )
    threads: int | None = setting(
        _whole(1, 256),
        None,
        "Threads in each worker; unset, one, and up to 128 while requests wait and CPUs do not, "
        "where nothing is set that says how many workers there are, or which.",
    )
    preload: bool = setting(
        _switch(),
        "0",
        "Load the application once and fork the workers from it: they share its memory, but also "
        "the connections it opens at import; threads that it starts there run in no worker.",
    )
    max_requests: int = setting(
        _whole(0, 100_000_000),
        "0",
        "Requests after which a worker is replaced, against leaks; by chance up to half as many "
        "earlier, so that not all workers go at once. 0 for never.",
    )
    max_worker_memory: str = setting(
        _size(least="32m"),
        "0",
        "Resident memory, as `200m`, above which a worker is replaced once it has answered. 0 for "
        "no limit.",
    )
    request_timeout: float = setting(
        _seconds(1, 86400),
        "60",
        "Seconds that a request may take before its client gets 504 and its worker is replaced.",
    )
    start_timeout: float = setting(
        _seconds(1, 3600), "120", "Seconds that the application may take to load."
    )
    drain_delay: float = setting(
        _seconds(0, 300),
        "1",
        "Seconds that a stopping container with open connections still takes requests, while it "
        "tells its clients to connect anew.",
    )
    graceful_timeout: float = setting(
        _seconds(0, 3600),
        "8",
        "Seconds from the stop signal until requests still running are cut. Docker kills at 10: "
        "raise `docker stop -t` with it.",
    )
    max_upload: str = setting(
        _size(),
        "0",
        "Largest request body, as `50m`; 0 for no limit. More is answered with 413.",
        ("NGINX_MAX_UPLOAD",),
    )
    sendfile: bool = setting(
        _switch(),
        "1",
        "Files that the application answers with (`send_file`) are sent by nginx, not by a worker.",
    )
    response_cache: str = setting(
        _size_or_off(least="1m", usual="64m"),
        "64m",
        "Most that nginx keeps of the pages that the application lets everybody share, at most a "
        "quarter of what is free on that disk; `off` for nothing.",
    )
    trusted_proxies: tuple[str, ...] | None = setting(
        _networks(),
        None,
        "Addresses and networks of the proxies in front, whose `X-Forwarded-*` headers count, as "
        "`203.0.113.7, 10.0.0.0/8`; `private` stands for all private, loopback and link-local "
        "ones.",
    )
    static_url: str | None = setting(
        _prefix(),
        None,
        "Prefix of the static files that nginx serves; unset, that of the Flask application. Set "
        "but empty, the application serves its files itself.",
        empty="",
    )
    static_path: str | None = setting(
        _static_folder(),
        None,
        "Their folder; unset, that of the Flask application, or `static` beside any other.",
    )
    static_index: bool = setting(_switch(), "0", "Answer `/` with `index.html` of that folder.")
    static_max_age: int | None = setting(
        _whole(0, static_files.LONGEST_AGE),
        None,
        "Seconds for which a browser need not ask for a static file again; unset, what "
        "`SEND_FILE_MAX_AGE_DEFAULT` of the Flask application says.",
    )
    nginx_worker_processes: int | str = setting(
        _whole_or_auto(1, 1024),
        _nginx_workers,
        "Processes of nginx; `auto` for one a CPU that the container may use, unset, one for four.",
    )
    nginx_worker_connections: int | None = setting(
        _whole(64, 1_000_000),
        None,
        "Connections of each nginx process, as its open files allow: two a request, one an idle "
        "client; unset, 4,096 beside those of the requests that may wait.",
    )
    nginx_worker_open_files: int = setting(
        _whole(128, 1_000_000),
        lambda limits: (limits.descriptors, f"limit of {limits.descriptors} open files"),
        "Open files of each nginx process, as the container allows.",
    )
    access_log: bool | str = setting(
        _switch("json"),
        "1",
        "Write a line for each request to the log; `json` for one that is a JSON object.",
    )
    install_on_start: bool = setting(
        _switch(),
        "0",
        "Install `requirements_os.txt` and `requirements.txt` before the first start.",
    )
    debug_hosts: tuple[str, ...] | None = setting(
        _hosts(),
        None,
        "Host names, divided by commas, by which the debugger's consoles may be used, beside "
        "`localhost` and `127.0.0.1`; `.lan` allows all names below it.",
    )
    werkzeug_debug_pin: str | None = setting(
        _pin(), None, "PIN of the debugger; unset, a new one at each start; `off` for none."
    )

    @property
    def first_workers(self) -> int:
        """Workers that a server starts with."""
        return self.uwsgi_cheaper or self.web_concurrency


def load(
    environ: Mapping[str, str], limits: Limits, files: Mapping[str, Said] | None = None
) -> Settings:
    """Read the settings; raises SettingError at the first bad one.

    files: what the user's files say of a setting, by the name of its field, for where the
    environment says nothing.
    """
    found = _read_all(environ, limits, files)
    return Settings(**{name: value for name, (value, _) in found.items()})


def explain(
    environ: Mapping[str, str], limits: Limits, files: Mapping[str, Said] | None = None
) -> list[tuple[str, str, str]]:
    """Rows of (name, value, where it came from), for a person to read."""
    found = _read_all(environ, limits, files)
    return [(name.upper(), _show(value), source) for name, (value, source) in found.items()]


def ignored(environ: Mapping[str, str], production: bool = True) -> list[str]:
    """What other variables say without effect, one sentence each."""
    found = []
    zone = environ.get("TZ", "")
    if not _is_time_zone(zone):
        found.append(
            f"TZ={zone!r} names no time zone, so times are in UTC; allowed is one as Europe/Berlin"
        )
    debug = environ.get("FLASK_DEBUG", "")
    if production and debug.lower() not in ("", "0", "false", "no"):
        found.append(f"FLASK_DEBUG={debug!r} is ignored in production: use -d debug")
    return found


def _is_time_zone(text: str) -> bool:
    """True for what the C library understands: a file of tzdata, or a rule as in `CET-1CEST`."""
    rule = r"([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?[0-9]{1,3}(:[0-9:]+)?([A-Za-z<].*)?"
    try:
        data = (ZONES / text.removeprefix(":")).read_bytes()
    except OSError:
        data = b""
    return not text or data.startswith(b"TZif") or bool(re.fullmatch(rule, text))


def _read_all(
    environ: Mapping[str, str], limits: Limits, files: Mapping[str, Said] | None
) -> dict[str, tuple[Any, str]]:
    """Every setting's value and its source, by the name of its field."""
    found = {
        spec.name: _read(spec, environ, limits, (files or {}).get(spec.name))
        for spec in fields(Settings)
    }
    fewest, by = found["uwsgi_cheaper"]
    workers, source = found["web_concurrency"]
    if source.startswith(DECIDED):
        # Greenlets are enough for what waits; other servers keep the workers that they have.
        greenlets = found["worker_class"][0] == "gevent" and by.startswith(DECIDED)
        if fewest == 0 or greenlets or found["app_server"][0] != "uwsgi":
            workers, reason = _fixed_workers(limits)
            found["web_concurrency"] = workers, f"{DECIDED}{reason}"
            found["uwsgi_cheaper"] = 0, by
        # Somebody who wants at least so many has also said how many it may be at least.
        elif fewest >= workers:
            found["web_concurrency"] = fewest, by
            found["uwsgi_cheaper"] = 0, by
    elif by.startswith(DECIDED):
        found["uwsgi_cheaper"] = 0, source
    elif fewest >= workers:
        raise SettingError(f"{by}={fewest} is not allowed: a whole number below {source}={workers}")
    images_choice = source.startswith(DECIDED) and by.startswith(DECIDED) and fewest
    threads, said_by = found["threads"]
    if found["app_server"][0] != "uwsgi" or found["worker_class"][0] or not images_choice:
        found["threads"] = threads or 1, said_by
    elif not threads:
        most = max(fewest, min(workers, MOST_OF_THREADS * limits.whole_cpus))
        found["web_concurrency"] = most, source
    return found


def _read(
    spec: Field[Any], environ: Mapping[str, str], limits: Limits, said: Said | None
) -> tuple[Any, str]:
    """One setting's value and its source. A variable that is set but empty counts as unset,
    because that is what Compose makes of `NAME=${NAME}`; the exception is declared with `empty`."""
    kind: Kind = spec.metadata["kind"]
    for name in (spec.name.upper(), *spec.metadata["aliases"]):
        text = environ.get(name, "").strip()
        if text:
            return _parse(kind, name, text, ""), name
        elif name in environ and spec.metadata["empty"] is not None:
            return spec.metadata["empty"], name
    if said:
        place = f" in {said.place}" if said.place else ""
        return _parse(kind, said.name, said.text, place), said.name + place
    default = spec.metadata["default"]
    if callable(default):
        value, reason = default(limits)
        return value, f"{DECIDED}{reason}"
    return (None if default is None else kind.parse(default)), "default"


def _parse(kind: Kind, name: str, text: str, place: str) -> Any:
    try:
        return kind.parse(text)
    except ValueError:
        raise SettingError(f"{name}={text!r}{place} is not allowed: {kind.allowed}") from None


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return " ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
