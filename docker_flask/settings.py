"""Every setting, once: its name, its aliases, its default, its meaning and what is allowed.

A setting is an environment variable. Its value is parsed here and nowhere else, so that no text
from outside ever reaches a configuration file: what comes out is a number, a known word, or a
path or name of safe characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from docker_flask.limits import Limits

EXIT_BAD_SETTING = 78  # EX_CONFIG in sysexits.h

# What a small Flask application takes per worker, rounded up: used only to keep the number of
# workers from filling a container whose memory is limited.
WORKER_MEMORY = 64 << 20


class SettingError(ValueError):
    """A setting that can't be used; the message says which, why and what is allowed."""


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


def _seconds(low: float, high: float) -> Kind:
    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or not low <= float(text) <= high:
            raise ValueError(text)
        return float(text)

    return Kind(parse, f"seconds from {low:g} to {high:g}")


def _switch() -> Kind:
    words = {"1": True, "on": True, "true": True, "yes": True}
    words |= {"0": False, "off": False, "false": False, "no": False}

    def parse(text: str) -> bool:
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]

    return Kind(parse, "1 or 0 (also on/off, true/false, yes/no)")


def _size() -> Kind:
    def parse(text: str) -> str:
        if not re.fullmatch(r"[0-9]{1,9}[kKmMgG]?", text):
            raise ValueError(text)
        return text.lower()

    return Kind(parse, "0 for no limit, or a number of bytes with k, m or g behind it, as in 50m")


def _callable() -> Kind:
    def parse(text: str) -> str:
        module = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
        if not re.fullmatch(rf"{module}(:[A-Za-z_][\w.]*(\([^\r\n]*\))?)?", text):
            raise ValueError(text)
        return text

    return Kind(parse, "package.module:callable, or package.module:factory()")


def setting(
    kind: Kind,
    default: str | Callable[[Limits], tuple[Any, str]] | None,
    meaning: str,
    aliases: tuple[str, ...] = (),
) -> Any:
    """Declare one setting as a field of `Settings`.

    default: the text that stands when nothing is set, None for "not set", or a function that
    decides from the limits and returns the value and the reason.
    """
    return field(
        metadata={"kind": kind, "default": default, "meaning": meaning, "aliases": aliases}
    )


def _workers(limits: Limits) -> tuple[int, str]:
    """Two workers a CPU, so that one that waits for a database leaves its CPU to another."""
    choices = [
        (2 * limits.whole_cpus, limits.cpus_source),
        ((limits.memory // 2) // WORKER_MEMORY, limits.memory_source),
    ]
    if limits.processes:
        # A worker is two, with its guard's thread, and there are twice as many in a reload.
        choices.append(((limits.processes - 6) // 4, f"limit of {limits.processes} processes"))
    count, reason = min(choices, key=lambda choice: choice[0])
    return max(1, count), reason


@dataclass(frozen=True)
class Settings:
    """All settings, read and checked. Field names are the variables' names in lower case."""

    listen_port: int = setting(
        _whole(1, 65535), "80", "Port that nginx listens on in production.", ("PORT",)
    )
    app_module: str | None = setting(
        _callable(),
        None,
        "The WSGI callable; unset, it is found by the usual names (`app`, `application`, "
        "`create_app`, `make_app` in `app.py`, `wsgi.py`, `main.py` or a package).",
    )
    web_concurrency: int = setting(
        _whole(1, 1024),
        _workers,
        "Worker processes; unset, two a CPU that the container may use, as its memory allows.",
        ("UWSGI_PROCESSES",),
    )
    threads: int = setting(_whole(1, 256), "1", "Threads in each worker.")
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
    access_log: bool = setting(_switch(), "1", "Write a line for each request to the log.")
    install_on_start: bool = setting(
        _switch(),
        "0",
        "Install `requirements_os.txt` and `requirements.txt` before the first start.",
    )


def load(environ: Mapping[str, str], limits: Limits) -> Settings:
    """Read the settings from the environment; raises SettingError at the first bad one."""
    return Settings(**{spec.name: _read(spec, environ, limits)[0] for spec in fields(Settings)})


def explain(environ: Mapping[str, str], limits: Limits) -> list[tuple[str, str, str]]:
    """Rows of (name, value, where it came from), for a person to read."""
    rows = []
    for spec in fields(Settings):
        value, source = _read(spec, environ, limits)
        rows.append((spec.name.upper(), _show(value), source))
    return rows


def _read(spec: Field[Any], environ: Mapping[str, str], limits: Limits) -> tuple[Any, str]:
    """One setting's value and its source. A variable that is set but empty counts as unset,
    because that is what Compose makes of `NAME=${NAME}`."""
    kind: Kind = spec.metadata["kind"]
    for name in (spec.name.upper(), *spec.metadata["aliases"]):
        text = environ.get(name, "").strip()
        if text:
            try:
                return kind.parse(text), name
            except ValueError:
                raise SettingError(f"{name}={text!r} is not allowed: {kind.allowed}") from None
    default = spec.metadata["default"]
    if callable(default):
        value, reason = default(limits)
        return value, f"decided from the {reason}"
    return (None if default is None else kind.parse(default)), "default"


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:g}" if isinstance(value, float) else str(value)
