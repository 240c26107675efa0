"""The options in the user's gunicorn.conf.py and GUNICORN_CMD_ARGS; some of them decide a setting.

Gunicorn itself reads them, in a process of the application's Python (servers/gunicorn/program.py).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from docker_flask.shared.origin import FileValue, ServerOptions
from docker_flask.shared.paths import PYTHON
from docker_flask.shared.process import Output
from docker_flask.shared.setting_error import SettingError

NAME = "gunicorn.conf.py"
ARGUMENTS = "GUNICORN_CMD_ARGS"
# Options of Gunicorn, and the setting that each option decides if the setting is not set.
_SETTINGS = {
    "wsgi_app": "app_module",
    "workers": "web_concurrency",
    "threads": "threads",
    "worker_class": "worker_class",
    "timeout": "request_timeout",
    "max_requests": "max_requests",
    "preload_app": "preload",
}


class Program(NamedTuple):
    """The program that reads the user's options; it may take these seconds."""

    command: list[str]
    environment: dict[str, str]
    seconds: float

    def late(self) -> SettingError:
        """The error if it takes longer."""
        words = f"START_TIMEOUT={self.seconds:g} seconds"
        return SettingError(f"Gunicorn did not read {_where(Path.cwd())} within {words}")


def program(root: Path, environ: Mapping[str, str], seconds: float) -> Program | None:
    """What to run before `read`, None if the user has no options; root: the application's folder.

    It runs in this folder, with the code of the user, so it may take long.
    """
    if not (root / NAME).is_file() and not environ.get(ARGUMENTS):
        return None
    command = [PYTHON, "-P", "-m", "docker_flask.servers.gunicorn.program", "--show"]
    # Gunicorn fails if WEB_CONCURRENCY is set but empty.
    environment = {name: environ[name] for name in environ if name != "WEB_CONCURRENCY"}
    return Program(command, environment, seconds)


def read(root: Path, output: Output | None) -> ServerOptions:
    """The options that the program has printed; raises SettingError. output: None without one."""
    if not output:
        return ServerOptions()
    where = _where(root)
    if output.code:
        line = re.findall(rf'File "{re.escape(where)}", line (\d+)', output.errors)[-1:]
        reason = " ".join(output.errors.split("\n\n")[0].splitlines()[-1:])
        raise SettingError(f"Gunicorn can't run with {':'.join([where, *line])}: {reason}")
    try:
        given = json.loads(output.out.splitlines()[-1])
    except (ValueError, IndexError):
        raise SettingError(
            f"Gunicorn can't run with {where}: it exits, or prints to the end"
        ) from None
    settings = {
        _SETTINGS[name]: FileValue(name, str(value), where)
        for name, value in given["settings"].items()
        # 0 means no limit in Gunicorn; in this image, a request always has a limit.
        if name in _SETTINGS and (name != "timeout" or value)
    }
    ignored = [name for name in given["decided"] if name not in _SETTINGS]
    return ServerOptions(settings, ignored=ignored)


def _where(root: Path) -> str:
    return str(root / NAME) if (root / NAME).is_file() else ARGUMENTS
