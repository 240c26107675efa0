"""Packages that some settings need, and that the image does not contain by default."""

from __future__ import annotations

from pathlib import Path

from docker_flask.configuration.settings import Settings
from docker_flask.configuration.validators import SettingError
from docker_flask.paths import VENV

# The tested versions.
DEBUGPY_PIN = "debugpy==1.8.22"
GUNICORN_PIN, GEVENT_PIN = "gunicorn==27.0.1", "gevent==26.9.0"
GUNICORN_GEVENT_PIN = GUNICORN_PIN.replace("==", "[gevent]==")
OLDEST_GUNICORN = 27


def check_server(app_server: str, worker_class: str | None) -> None:
    """Raise SettingError if the application server is not installed."""
    if app_server == "gunicorn":
        pin = GUNICORN_GEVENT_PIN if worker_class == "gevent" else GUNICORN_PIN
        _require(app_server, f"APP_SERVER={app_server}", pin)
        _check_version(pin)


def check_worker_class(settings: Settings) -> None:
    """Raise SettingError if the package of the worker class is not installed."""
    if settings.worker_class != "gevent":
        return
    pin = GUNICORN_GEVENT_PIN if settings.app_server == "gunicorn" else GEVENT_PIN
    _require("gevent", "WORKER_CLASS=gevent", pin)
    if (settings.threads or 1) > 1:
        raise SettingError(
            f"THREADS={settings.threads} is not allowed with WORKER_CLASS=gevent, whose requests "
            "run in greenlets; use THREADS=1"
        )


def check_debugpy(port: int | None) -> None:
    """Raise SettingError if editors should attach, but their debugger is not installed."""
    if port:
        _require("debugpy", f"DEBUGPY={port}", DEBUGPY_PIN)


def _check_version(pin: str) -> None:
    """Raise SettingError if Gunicorn is older than its first version that can serve here.

    nginx reaches it by the uwsgi protocol, whose responses earlier versions cut into chunks.
    """
    for folder in Path(VENV).glob("lib/python3*/site-packages/gunicorn-*.dist-info"):
        version = folder.name.removeprefix("gunicorn-").removesuffix(".dist-info")
        if int(version.partition(".")[0]) < OLDEST_GUNICORN:
            raise SettingError(
                f"APP_SERVER=gunicorn needs Gunicorn {OLDEST_GUNICORN} or newer, and {version} is "
                f"installed: write {pin} into requirements.txt and build the image again"
            )


def _require(package: str, wanted_by: str, pin: str) -> None:
    if not any(Path(VENV).glob(f"lib/python3*/site-packages/{package}/__init__.py")):
        raise SettingError(
            f"{wanted_by} needs the package {package}, which is not installed: add the line {pin} "
            "to requirements.txt and build the image again, or set INSTALL_ON_START=1"
        )
