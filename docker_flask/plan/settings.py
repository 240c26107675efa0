"""All settings: names, aliases, defaults and allowed values.

A setting is an environment variable. One of the user's files can set its value, too.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from docker_flask.plan import validators
from docker_flask.plan.limits import Limits
from docker_flask.plan.validators import Validator
from docker_flask.servers.gunicorn import options as gunicorn_conf
from docker_flask.shared import secret_files, static_files
from docker_flask.shared.origin import DEFAULT, FileValue, Found
from docker_flask.shared.paths import HOME
from docker_flask.shared.setting_error import SettingError, shown

# Longer values are errors: a list of networks has hundreds of characters.
MAX_LENGTH = 10_000
# The one that the image was built with (`--build-arg APP_SERVER=`).
DEFAULT_APP_SERVER = "gunicorn" if Path(f"{HOME}/packages/bin/gunicorn").exists() else "uwsgi"
# The lowest at which no variable in tests/unit/plan/foreign_variables.txt resembles a setting.
SIMILARITY = 0.92
# Settings that are read before prestart.sh runs: the ports are bound, and root is left, before.
EARLY = (
    "listen_port",
    "bind_when_ready",
    "status_port",
    "run_as_root",
    "install_on_start",
    "tls_certificate",
    "tls_key",
    "tls_port",
    "tls_domain",
)
TIME_ZONES = "/usr/share/zoneinfo"
ZONE_WITH_HOURS = r"UTC|GMT|([A-Za-z]{3,}|<[^>]+>)[+-]?\d.*"  # such as CET-1CEST
PORT = validators.whole_number(1, 65535)
# Settings whose value nobody sees.
SECRETS = ("acme_eab",)

# Values that others mean by these names, and what they are. Kubernetes sets STATUS_PORT in each
# container if a Service is named status; STATIC_URL is a setting of Django, too.
_ADDRESS = r"(tcp|udp|sctp)://[0-9a-f.:\[\]]+", "the address of a Service of Kubernetes"
_URL = r"(https?:)?//[!-~]{1,300}|[\w.-][\w./-]{0,300}/", "no path on this server, such as /static"
FOREIGN = dict.fromkeys(("LISTEN_PORT", "STATUS_PORT", "TLS_PORT"), _ADDRESS) | {"STATIC_URL": _URL}


def _nginx_workers(limits: Limits) -> Found:
    """One for four CPUs: one handles more responses than several application workers produce, and a
    second one only adds wake-ups (benchmarks/reports/sizing.md)."""
    return Found(max(1, limits.whole_cpus // 4), f"decided from the {limits.cpus_reason}")


def _open_files(limits: Limits) -> Found:
    """Open files of each nginx process."""
    return Found(limits.descriptors, f"decided from the limit of {limits.descriptors} open files")


def setting(
    kind: Validator,
    default: str | Callable[[Limits], Found] | None = None,
    *aliases: str,
    empty: str | None = None,
) -> Any:
    """Declare one setting as a field of `Settings`.

    default: the text of the default, None for "not set", or a function that computes the value from
    the limits; empty: the value of a variable that is set but empty, None for "not set".
    """
    declared = {"kind": kind, "default": default, "aliases": aliases, "empty": empty}
    return field(metadata=declared)


@dataclass(frozen=True)
class Settings:
    """All settings, checked; docs/settings.md has their meanings.

    A field has the name of its variable in lower case.
    """

    listen_port: int = setting(PORT, "80", "PORT")
    bind_when_ready: bool = setting(validators.switch(), "0")
    health_path: str | None = setting(validators.url_path("/up or /health/ready"))
    status_port: int = setting(validators.or_word("off", PORT, 0), "9180")
    app_module: str | None = setting(validators.wsgi_callable())
    flask_app: str | None = setting(validators.flask_app())
    uwsgi_ini: str | None = setting(validators.existing_file())
    app_server: str = setting(validators.word("uwsgi", "gunicorn"), DEFAULT_APP_SERVER)
    worker_class: str | None = setting(validators.word("sync", "gthread", "gevent"))
    # Unset, plan/workers.py decides these three.
    web_concurrency: int | None = setting(validators.whole_number(1, 1024), None, "UWSGI_PROCESSES")
    uwsgi_cheaper: int | None = setting(validators.whole_number(0, 1023))
    threads: int | None = setting(validators.whole_number(1, 256))
    preload: bool = setting(validators.switch(), "0")
    max_requests: int = setting(validators.whole_number(0, 100_000_000), "0")
    max_worker_memory: str = setting(validators.size("32m"), "0")
    request_timeout: float = setting(validators.seconds(1, 86400), "60")
    slow_request: float = setting(validators.seconds(0, 86400), "10")
    start_timeout: float = setting(validators.seconds(1, 3600), "120")
    drain_delay: float = setting(validators.seconds(0, 300), "1")
    graceful_timeout: float = setting(validators.seconds(0, 3600), "8")
    websockets: int | None = setting(validators.whole_number(0, 100_000))
    websocket_max_message: str = setting(validators.size("1k"), "1m")
    websocket_reload_timeout: float = setting(validators.seconds(0, 86400), "60")
    max_upload: str = setting(validators.size(), "100m", "NGINX_MAX_UPLOAD")
    sendfile: bool = setting(validators.switch(), "1")
    response_cache: str = setting(
        validators.or_word("off", validators.size("1m", "no cache"), "0"), "0"
    )
    trusted_proxies: tuple[str, ...] | None = setting(validators.networks())
    script_name: str | None = setting(validators.url_path("/shop or /a/b", slash="/"))
    static_url: str | None = setting(validators.url_path("/static or /a/b", slash="/"), empty="")
    static_path: str | None = setting(validators.static_folder())
    static_index: bool = setting(validators.switch(), "0")
    static_max_age: int | None = setting(validators.whole_number(0, static_files.MAX_AGE_LIMIT))
    tls_certificate: str | None = setting(validators.path())
    tls_key: str | None = setting(validators.path())
    tls_port: int = setting(PORT, "443")
    tls_redirect: bool | int = setting(validators.switch_or_port(), "1")
    hsts: int | None = setting(validators.whole_number(0, 100_000_000))
    tls_domain: tuple[str, ...] | None = setting(validators.domains())
    tls_email: str | None = setting(
        validators.matching(r"\w[\w.+-]*@[\w.-]+", "one address, such as admin@example.com")
    )
    acme_directory: str = setting(validators.https_url(), validators.LETS_ENCRYPT)
    acme_ca: str | None = setting(validators.path())
    acme_eab: str | None = setting(
        validators.matching(r"[\w-]+:[\w-]+", "KID:KEY, which the authority gave you")
    )
    nginx_worker_processes: int | str = setting(
        validators.or_word("auto", validators.whole_number(1, 1024)), _nginx_workers
    )
    nginx_worker_connections: int | None = setting(validators.whole_number(64, 1_000_000))
    nginx_worker_open_files: int = setting(validators.whole_number(128, 1_000_000), _open_files)
    access_log: bool | str = setting(validators.switch("json"), "1")
    log_level: str = setting(validators.log_level(), "info")
    run_as_root: bool = setting(validators.switch(), "0")
    install_on_start: bool = setting(validators.switch(), "0")
    debug_hosts: tuple[str, ...] | None = setting(validators.host_names())
    werkzeug_debug_pin: str | None = setting(
        validators.matching(
            r"off|(?=.{1,100}$)[0-9]+(-[0-9]+)*",
            "digits, with or without dashes between them, such as 123-456-789; or off",
        )
    )
    live_reload: bool = setting(validators.switch(), "1")
    debugpy: int | None = setting(PORT)

    @property
    def has_tls(self) -> bool:
        """True if the container listens on TLS_PORT."""
        return bool(self.tls_certificate or self.tls_domain)


def read(environ: Mapping[str, str], early: Mapping[str, Found] | None = None) -> dict[str, Found]:
    """The settings in the environment, by the names of their fields.

    early: the result of `read_early`; None if no prestart.sh has changed this environment. Raises
    SettingError at the first bad value.
    """
    specs = [spec for spec in fields(Settings) if early is None or spec.name not in EARLY]
    found = {spec.name: _read(spec, environ) for spec in specs}
    return {name: value for name, value in found.items() if value} | dict(early or {})


def read_early(environ: Mapping[str, str]) -> dict[str, Found]:
    """The settings that count before prestart.sh runs; raises SettingError."""
    found = {spec.name: _read(spec, environ) for spec in fields(Settings) if spec.name in EARLY}
    return {name: value for name, value in found.items() if value}


def resolve(
    of_environment: Mapping[str, Found],
    limits: Limits,
    of_files: Mapping[str, FileValue] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """All settings, and the origin of each by the name of its field.

    Raises SettingError for a bad value in a file, and for settings that conflict.

    of_environment: the result of `read`; of_files: the values in the user's files, by the names of
    the settings' fields. The environment overrides the files, and the files override the defaults.
    """
    found = {}
    for spec in fields(Settings):
        value, of_file = of_environment.get(spec.name), (of_files or {}).get(spec.name)
        found[spec.name] = value or (_of_file(spec, of_file) if of_file else _default(spec, limits))
    settings = Settings(**{name: value for name, (value, _) in found.items()})
    origins = {name: origin for name, (_, origin) in found.items()}
    _check_tls(settings)
    _check_workers(settings, origins)
    return settings, origins


def _check_tls(chosen: Settings) -> None:
    """Raises SettingError for settings of HTTPS that conflict."""
    if chosen.tls_certificate and chosen.tls_domain:
        raise SettingError(
            "TLS_CERTIFICATE and TLS_DOMAIN are both set; use one: a certificate from files, or "
            "one that an authority issues"
        )
    if chosen.tls_key and not chosen.tls_certificate:
        raise SettingError(f"TLS_KEY={chosen.tls_key} needs TLS_CERTIFICATE, its certificate")


def _check_workers(chosen: Settings, origins: Mapping[str, str]) -> None:
    """Raises SettingError for numbers of workers that conflict."""
    most, few = chosen.web_concurrency, chosen.uwsgi_cheaper
    if most and few and few >= most:
        raise SettingError(
            f"{origins['uwsgi_cheaper']}={few} is not allowed; use a whole number below "
            f"{origins['web_concurrency']}={most}"
        )


def names() -> set[str]:
    """The variables that decide something here, and that a similar name may mean."""
    own = {name for spec in fields(Settings) for name in (spec.name, *spec.metadata["aliases"])}
    # Without LOG_LEVEL: variables such as LOGLEVEL belong to applications.
    names = {name.upper() for name in own} - {"LOG_LEVEL"}
    return names | {"FLASK_DEBUG", "GUNICORN_CMD_ARGS"}


def ignored(environ: Mapping[str, str], production: bool = True) -> list[str]:
    """One sentence for each variable, and for Gunicorn's file, that has no effect."""
    found = [
        f"{name}={shown(environ[name])} is ignored in production: use -d debug"
        for name in ("FLASK_DEBUG", "DEBUGPY")
        if production and environ.get(name, "").strip().lower() not in ("", "0", "false", "no")
    ]
    if not production and environ.get("TLS_DOMAIN", "").strip():
        found.append("TLS_DOMAIN is ignored in debug mode: use TLS_CERTIFICATE")
    found += [
        f"{name}={environ[name]} is ignored: it is {what}"
        for name, (pattern, what) in FOREIGN.items()
        if re.fullmatch(pattern, environ.get(name, "").strip())
    ]
    if production and (environ.get("APP_SERVER") or DEFAULT_APP_SERVER) == "uwsgi":
        given = [gunicorn_conf.NAME] if Path(gunicorn_conf.NAME).is_file() else []
        given += [gunicorn_conf.ARGUMENTS] if environ.get(gunicorn_conf.ARGUMENTS) else []
        found += [
            f"{name} is not read, because uWSGI serves the application: remove it, or set "
            "APP_SERVER=gunicorn"
            for name in given
        ]
    found += [
        f"{file}={shown(environ[file])} is ignored: use a file in {secret_files.FOLDERS[0]}"
        for name in sorted(names())
        if (file := f"{name}{secret_files.SUFFIX}") in environ
        if name not in secret_files.names(environ)
    ]
    # Programs take the time of UTC for it, and say nothing.
    zone = environ.get("TZ", "").removeprefix(":")
    exists = os.path.exists(os.path.join(TIME_ZONES, zone))
    if not exists and not re.fullmatch(ZONE_WITH_HOURS, zone):
        found.append(
            f"TZ={shown(zone)} is no time zone, so the time is UTC: use a name "
            "such as Europe/Berlin"
        )
    return found + did_you_mean(environ, names())


def did_you_mean(given: Iterable[str], known: Collection[str]) -> list[str]:
    """One sentence for each name that is probably a typing error of a known name."""
    import difflib  # slow to import, and the port is not bound yet

    words = {_plain(name): name for name in known}
    found = []
    for name in given:
        plain = _plain(name)
        # Letters in another order, as in TRHEADS, are less similar than some names of others.
        near = [word for word in words if sorted(word) == sorted(plain)]
        near += difflib.get_close_matches(plain, words, 1, SIMILARITY)
        if near and name not in known:
            found.append(f"{name} is not a setting: is {words[near[0]]} meant?")
    return found


def _plain(name: str) -> str:
    return name.upper().replace("_", "").replace("-", "")


def _read(spec: Field[Any], environ: Mapping[str, str]) -> Found | None:
    """One setting of the environment, None if it is not set.

    A variable that is set but empty means "not set", because Compose sets it for `NAME=${NAME}`,
    except if the setting is declared with `empty`.
    """
    for name in (spec.name.upper(), *spec.metadata["aliases"]):
        text = environ.get(name, "").strip()
        if name in FOREIGN and re.fullmatch(FOREIGN[name][0], text):
            continue
        if text:
            from_file = name in secret_files.names(environ)
            origin = f"{name}{secret_files.SUFFIX}" if from_file else name
            return Found(_parse(spec, origin, text, "", from_file), origin)
        if name in environ and spec.metadata["empty"] is not None:
            return Found(spec.metadata["empty"], name)
    return None


def _of_file(spec: Field[Any], value: FileValue) -> Found:
    where = f" in {value.file}" if value.file else ""
    return Found(_parse(spec, value.name, value.text, where), f"{value.name}{where}")


def _default(spec: Field[Any], limits: Limits) -> Found:
    default = spec.metadata["default"]
    if callable(default):
        computed: Found = default(limits)
        return computed
    return Found(None if default is None else spec.metadata["kind"].parse(default), DEFAULT)


def _parse(spec: Field[Any], name: str, text: str, where: str, is_secret: bool = False) -> Any:
    kind: Validator = spec.metadata["kind"]
    try:
        validators.require(len(text) <= MAX_LENGTH)
        return kind.parse(text)
    except (ValueError, OSError, RuntimeError):  # a path that is too long; a link to itself
        is_secret = is_secret or spec.name in SECRETS
        value = f"({len(text)} characters)" if is_secret else shown(text)
        reason = f"{value}{where} is not allowed; use {kind.allowed}"
        raise SettingError(f"{name}={reason}") from None


def show(name: str, value: Any, origin: str = "") -> str:
    """The value of a setting as a text that sets it, and no secret; name: of its field."""
    if value is None:
        return ""
    if name in SECRETS or origin.endswith(secret_files.SUFFIX):
        return "(secret)"
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return " ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
