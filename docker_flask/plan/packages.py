"""Packages that some settings need, and that the image does not contain by default."""

from pathlib import Path

from docker_flask.plan.settings import DEFAULT_APP_SERVER, Settings
from docker_flask.shared.paths import HOME, VENV
from docker_flask.shared.setting_error import SettingError

# The tested versions.
DEBUGPY_PIN = "debugpy==1.8.22"
GUNICORN_PIN, GEVENT_PIN = "gunicorn==27.0.1", "gevent==26.9.0"
GUNICORN_GEVENT_PIN = GUNICORN_PIN.replace("==", "[gevent]==")
OLDEST_GUNICORN = 27  # earlier ones cut responses by the uwsgi protocol into chunks


def check_server(app_server: str, worker_class: str | None) -> None:
    """Raise SettingError if the application server is not installed, or is too old."""
    if app_server == "gunicorn":
        pin = GUNICORN_GEVENT_PIN if worker_class == "gevent" else GUNICORN_PIN
        require(app_server, "APP_SERVER=gunicorn", pin, OLDEST_GUNICORN)
    elif app_server != DEFAULT_APP_SERVER:
        raise SettingError(
            f"APP_SERVER={app_server} is not possible, because this image was built without uWSGI, "
            f"by --build-arg APP_SERVER={DEFAULT_APP_SERVER}: remove APP_SERVER={app_server}"
        )


def check_worker_class(settings: Settings) -> None:
    """Raise SettingError if the package of the worker class is not installed."""
    if settings.worker_class != "gevent":
        return
    pin = GUNICORN_GEVENT_PIN if settings.app_server == "gunicorn" else GEVENT_PIN
    require("gevent", "WORKER_CLASS=gevent", pin)
    if (settings.threads or 1) > 1:
        raise SettingError(
            f"THREADS={settings.threads} is not allowed with WORKER_CLASS=gevent, whose requests "
            "run in greenlets; use THREADS=1"
        )


def require(package: str, wanted_by: str, pin: str, oldest: int = 0) -> None:
    """Raise SettingError if a package is missing, or older than its first version that works."""
    # The application's packages come before the image's own.
    names = [
        folder.name.removesuffix(".dist-info")
        for top in (VENV, f"{HOME}/packages")
        for folder in Path(top).glob(f"lib/python3*/site-packages/{package}-*.dist-info")
    ]
    version = names[0].split("-")[1] if names else ""
    if version and int(version.split(".")[0]) >= oldest:
        return
    problem = f"is of the old version {version}" if version else "is not installed"
    raise SettingError(
        f"{wanted_by} needs the package {package}, which {problem}: add the line {pin} to "
        "requirements.txt and build the image again, or set INSTALL_ON_START=1"
    )
