"""All settings: names, aliases, defaults, meanings and allowed values.

A setting is an environment variable. One of the user's files can set its value, too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from docker_flask import static_files
from docker_flask.configuration import defaults, did_you_mean, validators
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.origin import DEFAULT, FileValue, Found, Origin, Source
from docker_flask.configuration.validators import SettingError, Validator

ZONES = Path("/usr/share/zoneinfo")
# Longer values are errors: a list of networks has hundreds of characters.
MAX_LENGTH = 10_000
DEFAULT_APP_SERVER = "uwsgi"
# Settings that are read before prestart.sh runs: the ports are bound, and root is left, before.
EARLY = ("listen_port", "bind_when_ready", "status_port", "run_as_root", "install_on_start")


def setting(
    kind: Validator,
    default: str | Callable[[Limits], Found] | None,
    meaning: str,
    aliases: tuple[str, ...] = (),
    empty: str | None = None,
) -> Any:
    """Declare one setting as a field of `Settings`.

    default: the text of the default, None for "not set", or a function that computes the value from
    the limits; empty: the value of a variable that is set but empty, None for "not set".
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


@dataclass(frozen=True)
class Settings:
    """All settings, checked. A field has the name of its variable in lower case."""

    listen_port: int = setting(
        validators.whole_number(1, 65535),
        "80",
        "Port that nginx listens on in production.",
        ("PORT",),
    )
    bind_when_ready: bool = setting(
        validators.switch(),
        "0",
        "Accept connections only after the application has loaded, for platforms that take an open "
        "port for readiness. Otherwise early clients wait, or get 503.",
    )
    health_path: str | None = setting(
        validators.health_path(),
        None,
        "Path, as `/up`, at which nginx itself answers 200 while the container is ready, and 503 "
        "while it starts or stops, for platforms that probe the application's port.",
    )
    status_port: int = setting(
        validators.port_or_off(),
        "9180",
        "Port that answers `/healthy` and `/ready` to orchestrators in production; `off` for none.",
    )
    app_module: str | None = setting(
        validators.wsgi_callable(),
        None,
        "The WSGI callable; unset: found by `FLASK_APP`, `uwsgi.ini` or the usual names (`app`,"
        " `application`, `create_app`, `make_app` in `app.py`, `wsgi.py`, `main.py` or a "
        "package).",
    )
    flask_app: str | None = setting(
        validators.flask_app(),
        None,
        "The same in Flask's notation: `hello`, `path/to/hello.py:create_app()`.",
    )
    uwsgi_ini: str | None = setting(
        validators.existing_file(),
        None,
        "A file for uWSGI whose `module` or `wsgi-file` names the WSGI callable; unset: "
        "`uwsgi.ini` beside the application.",
    )
    app_server: str = setting(
        validators.word("uwsgi", "gunicorn"),
        DEFAULT_APP_SERVER,
        "The application server behind nginx. `gunicorn` must be in `requirements.txt`.",
    )
    worker_class: str | None = setting(
        validators.word("sync", "gthread", "gevent"),
        None,
        "How a worker handles requests: `sync` one at a time, `gthread` in `THREADS` threads, "
        "`gevent` (must be in `requirements.txt`) in up to 1,000 greenlets; unset: as `THREADS`"
        " says.",
    )
    web_concurrency: int = setting(
        validators.whole_number(1, 1024),
        defaults.workers,
        "Maximum of worker processes, if the memory allows; unset: 16 a CPU that the container "
        "may use.",
        ("UWSGI_PROCESSES",),
    )
    uwsgi_cheaper: int = setting(
        validators.whole_number(0, 1023),
        defaults.workers,
        "Minimum of worker processes, which also run without load; 0 always runs all. Unset: "
        "one a CPU, at least two, or all of `WEB_CONCURRENCY` if that is set.",
    )
    threads: int = setting(
        validators.whole_number(1, 256),
        None,
        "Threads in each worker; unset: 4, or 1 if a setting or a file of yours decides the number "
        "or the class of the workers.",
    )
    preload: bool = setting(
        validators.switch(),
        "0",
        "Load the application once and fork the workers from it. They share its memory, but "
        "also the connections that it opens at import; threads that it starts at import run in "
        "no worker.",
    )
    max_requests: int = setting(
        validators.whole_number(0, 100_000_000),
        "0",
        "Requests after which a worker is replaced, against leaks; at random up to half as many"
        " earlier, so that not all workers are replaced together. 0 for never.",
    )
    max_worker_memory: str = setting(
        validators.size(minimum="32m"),
        "0",
        "Resident memory, as `200m`, above which a worker is replaced after its current "
        "response. 0 for no limit.",
    )
    request_timeout: float = setting(
        validators.seconds(1, 86400),
        "60",
        "Maximum seconds of a request; then its client gets 504, and its worker is replaced.",
    )
    start_timeout: float = setting(
        validators.seconds(1, 3600), "120", "Maximum seconds for the application to load."
    )
    drain_delay: float = setting(
        validators.seconds(0, 300),
        "1",
        "Seconds in which a stopping container still accepts requests, and asks its clients to "
        "connect elsewhere. Unset: only while a client is connected.",
    )
    graceful_timeout: float = setting(
        validators.seconds(0, 3600),
        "8",
        "Seconds from the stop signal until running requests are cut. Docker kills at 10: raise "
        "`docker stop -t` with it.",
    )
    websockets: int | None = setting(
        validators.whole_number(0, 100_000),
        None,
        "Maximum of open WebSockets; further handshakes get 503. Unset: as many as fit into a "
        "quarter of the memory; 0 for none.",
    )
    websocket_max_message: str = setting(
        validators.size(minimum="1k"),
        "1m",
        "Largest message of a WebSocket that the application receives; a larger one closes the "
        "connection with code 1009.",
    )
    websocket_reload_timeout: float = setting(
        validators.seconds(0, 86400),
        "60",
        "Seconds that WebSockets stay with the old code after a reload, until they are closed with "
        "code 1001.",
    )
    max_upload: str = setting(
        validators.size(),
        "100m",
        "Largest request body, as `50m`; 0 for no limit. A larger one gets 413.",
        ("NGINX_MAX_UPLOAD",),
    )
    sendfile: bool = setting(
        validators.switch(),
        "1",
        "nginx, not a worker, sends the files that the application answers with (`send_file`).",
    )
    response_cache: str = setting(
        validators.size_or_off(minimum="1m", default="64m"),
        "64m",
        "Maximum size of nginx's cache of responses that the application marks as public, at "
        "most a quarter of the free disk space; `off` for no cache.",
    )
    trusted_proxies: tuple[str, ...] | None = setting(
        validators.networks(),
        None,
        "Addresses and networks of the proxies in front whose `X-Forwarded-*` headers are "
        "trusted, as `203.0.113.7, 10.0.0.0/8`; `private` means all private, loopback and link-"
        "local addresses.",
    )
    static_url: str | None = setting(
        validators.url_prefix(),
        None,
        "Prefix of the static files that nginx serves; unset: the prefix of the Flask "
        "application. Set but empty: the application serves its static files itself.",
        empty="",
    )
    static_path: str | None = setting(
        validators.static_folder(),
        None,
        "Folder of the static files; unset: the folder of the Flask application, or `static` "
        "beside another WSGI application.",
    )
    static_index: bool = setting(
        validators.switch(),
        "0",
        "Respond to `/` with `index.html` in the folder of the static files.",
    )
    static_max_age: int | None = setting(
        validators.whole_number(0, static_files.MAX_AGE_LIMIT),
        None,
        "Seconds for which a browser may use a static file without asking again; unset: "
        "`SEND_FILE_MAX_AGE_DEFAULT` of the Flask application.",
    )
    nginx_worker_processes: int | str = setting(
        validators.whole_number_or_auto(1, 1024),
        defaults.nginx_workers,
        "Processes of nginx; `auto` for one a CPU that the container may use; unset: one for "
        "four CPUs.",
    )
    nginx_worker_connections: int | None = setting(
        validators.whole_number(64, 1_000_000),
        None,
        "Connections of each nginx process, if its open files allow: two a request, one an idle"
        " client; unset: 10,240 and those of the requests that may wait.",
    )
    nginx_worker_open_files: int = setting(
        validators.whole_number(128, 1_000_000),
        defaults.open_files,
        "Open files of each nginx process, if the container allows.",
    )
    access_log: bool | str = setting(
        validators.switch("json"),
        "1",
        "Write a line for each request to the log; `json` for JSON objects.",
    )
    log_level: str = setting(
        validators.log_level(),
        "info",
        "`debug` also shows what uWSGI, nginx and Gunicorn say about themselves. Other values "
        "mean `info`: many applications have a variable of this name.",
    )
    run_as_root: bool = setting(
        validators.switch(),
        "0",
        "Run everything as root if the container is started as root. Without it, root is left "
        "for `www-data`, or the container ends with exit code 77.",
    )
    install_on_start: bool = setting(
        validators.switch(),
        "0",
        "Install `requirements_os.txt` and `requirements.txt` before the first start.",
    )
    debug_hosts: tuple[str, ...] | None = setting(
        validators.host_names(),
        None,
        "Host names, separated by commas, under which the debugger's consoles may be used, "
        "beside `localhost` and `127.0.0.1`; `.lan` allows all names below it.",
    )
    werkzeug_debug_pin: str | None = setting(
        validators.debugger_pin(),
        None,
        "PIN of the debugger; unset: a new one at each start; `off` for none.",
    )
    live_reload: bool = setting(
        validators.switch(),
        "1",
        "In debug mode, pages in a browser load themselves again after an edit.",
    )
    debugpy: int | None = setting(
        validators.whole_number(1, 65535),
        None,
        "Port on which an editor attaches its debugger in debug mode. `debugpy` must be in "
        "`requirements.txt`.",
    )

    @property
    def is_verbose(self) -> bool:
        """True if the log shows what the servers say about themselves."""
        return self.log_level == "debug"

    @property
    def first_workers(self) -> int:
        """Number of workers at the start of a server."""
        return self.uwsgi_cheaper or self.web_concurrency


class Resolved(NamedTuple):
    """All settings, and the origin of each, by the name of its field."""

    settings: Settings
    origins: Mapping[str, Origin]


def read(environ: Mapping[str, str], early: Mapping[str, Found] | None = None) -> dict[str, Found]:
    """The settings in the environment, by the names of their fields.

    early: the result of `read_early`; None if no prestart.sh has changed this environment. Raises
    SettingError at the first bad value.
    """
    if early is None:
        early = read_early(environ)
    specs = [spec for spec in fields(Settings) if spec.name not in EARLY]
    found = {spec.name: _read(spec, environ) for spec in specs}
    return {name: value for name, value in found.items() if value} | dict(early)


def read_early(environ: Mapping[str, str]) -> dict[str, Found]:
    """The settings that count before prestart.sh runs; raises SettingError."""
    found = {spec.name: _read(spec, environ) for spec in fields(Settings) if spec.name in EARLY}
    return {name: value for name, value in found.items() if value}


def too_late(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """One sentence for each early setting that prestart.sh has exported without effect."""
    return [
        f"{name}={validators.shown(after[name])} in prestart.sh is ignored, because this setting "
        f"is read before prestart.sh runs: set {name} in the environment of the container"
        for spec in fields(Settings)
        if spec.name in EARLY
        for name in (spec.name.upper(), *spec.metadata["aliases"])
        if name in after and after[name] != before.get(name)
    ]


def resolve(
    of_environment: Mapping[str, Found],
    limits: Limits,
    of_files: Mapping[str, FileValue] | None = None,
) -> Resolved:
    """All settings; raises SettingError for a bad value in a file, and for settings that conflict.

    of_environment: the result of `read`; of_files: the values in the user's files, by the names of
    the settings' fields. The environment overrides the files, and the files override the defaults.
    """
    found = {}
    for spec in fields(Settings):
        value, of_file = of_environment.get(spec.name), (of_files or {}).get(spec.name)
        found[spec.name] = value or (_of_file(spec, of_file) if of_file else _default(spec, limits))
    defaults.settle_workers(found, limits)
    return Resolved(
        Settings(**{name: value for name, (value, _) in found.items()}),
        {name: origin for name, (_, origin) in found.items()},
    )


def rows(settings: Settings, origins: Mapping[str, Origin]) -> list[tuple[str, str, str]]:
    """Each setting's name, value and origin, for a person to read."""
    return [
        (name.upper(), _show(getattr(settings, name)), str(origin))
        for name, origin in origins.items()
    ]


def names() -> set[str]:
    """The variables that decide something here, and that a similar name may mean."""
    own = {name for spec in fields(Settings) for name in (spec.name, *spec.metadata["aliases"])}
    # Without LOG_LEVEL: variables such as LOGLEVEL belong to applications.
    names = {name.upper() for name in own} - {"LOG_LEVEL"}
    return names | {"FLASK_DEBUG", "GUNICORN_CMD_ARGS"}


def ignored(environ: Mapping[str, str], production: bool = True) -> list[str]:
    """One sentence for each variable that has no effect."""
    found = []
    zone = environ.get("TZ", "")
    if not _is_time_zone(zone):
        shown = validators.shown(zone)
        found.append(f"TZ={shown} is not a time zone, using UTC; use a name such as Europe/Berlin")
    debug = environ.get("FLASK_DEBUG", "")
    if production and debug.lower() not in ("", "0", "false", "no"):
        found.append(
            f"FLASK_DEBUG={validators.shown(debug)} is ignored in production: use -d debug"
        )
    debugger = environ.get("DEBUGPY", "").strip()
    if production and debugger:
        found.append(f"DEBUGPY={validators.shown(debugger)} is ignored in production: use -d debug")
    return found + did_you_mean.sentences(environ, names())


def _is_time_zone(text: str) -> bool:
    """True if the C library knows the zone: a file of tzdata, or a rule such as `CET-1CEST`."""
    rule = r"([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?[0-9]{1,3}(:[0-9:]+)?([A-Za-z<].*)?"
    data = b""
    with contextlib.suppress(OSError, ValueError):
        file = ZONES / text.removeprefix(":")
        if file.is_file():  # a pipe has no end
            with file.open("rb") as opened:
                data = opened.read(4)
    return not text or data == b"TZif" or bool(re.fullmatch(rule, text))


def _read(spec: Field[Any], environ: Mapping[str, str]) -> Found | None:
    """One setting of the environment, None if it is not set.

    A variable that is set but empty means "not set", because Compose sets it for `NAME=${NAME}`,
    except if the setting is declared with `empty`.
    """
    for name in (spec.name.upper(), *spec.metadata["aliases"]):
        text, origin = environ.get(name, "").strip(), Origin(Source.ENVIRONMENT, name)
        if text:
            return Found(_parse(spec, name, text, ""), origin)
        if name in environ and spec.metadata["empty"] is not None:
            return Found(spec.metadata["empty"], origin)
    return None


def _of_file(spec: Field[Any], value: FileValue) -> Found:
    where = f" in {value.file}" if value.file else ""
    return Found(_parse(spec, value.name, value.text, where), value.origin)


def _default(spec: Field[Any], limits: Limits) -> Found:
    default = spec.metadata["default"]
    if callable(default):
        computed: Found = default(limits)
        return computed
    return Found(None if default is None else spec.metadata["kind"].parse(default), DEFAULT)


def _parse(spec: Field[Any], name: str, text: str, where: str) -> Any:
    kind: Validator = spec.metadata["kind"]
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError(text)
        return kind.parse(text)
    except (ValueError, OSError):  # an OSError: a path that is too long
        reason = f"{validators.shown(text)}{where} is not allowed; use {kind.allowed}"
        raise SettingError(f"{name}={reason}") from None


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return " ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
