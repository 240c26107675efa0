"""The options in the user's gunicorn.conf.py and GUNICORN_CMD_ARGS; some of them decide a setting.

Gunicorn itself reads them, in a process of the application's Python (launch/gunicorn_server.py).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from docker_flask.configuration.origin import FileValue, ServerOptions
from docker_flask.configuration.validators import SettingError

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


def read(root: Path, environ: Mapping[str, str], python: str) -> ServerOptions:
    """Let Gunicorn read the user's options; raises SettingError.

    root: the application's folder; python: the application's Python, which has Gunicorn.
    """
    if not (root / NAME).is_file() and not environ.get(ARGUMENTS):
        return ServerOptions()
    import subprocess  # slow to import, and most applications have no such file

    result = subprocess.run(
        [python, "-P", "-m", "docker_flask.launch.gunicorn_server", "--show"],
        cwd=root,
        # Gunicorn fails if WEB_CONCURRENCY is set but empty.
        env={name: value for name, value in environ.items() if name != "WEB_CONCURRENCY"},
        capture_output=True,
        text=True,
        check=False,
    )
    where = str(root / NAME) if (root / NAME).is_file() else ARGUMENTS
    if result.returncode:
        line = re.findall(rf'File "{re.escape(where)}", line (\d+)', result.stderr)[-1:]
        reason = " ".join(result.stderr.split("\n\n")[0].splitlines()[-1:])
        raise SettingError(f"Gunicorn can't run with {':'.join([where, *line])}: {reason}")
    given = json.loads(result.stdout.splitlines()[-1])
    settings = {
        _SETTINGS[name]: FileValue(name, str(value), where)
        for name, value in given["settings"].items()
        # 0 means no limit in Gunicorn; in this image, a request always has a limit.
        if name in _SETTINGS and (name != "timeout" or value)
    }
    ignored = [name for name in given["decided"] if name not in _SETTINGS]
    return ServerOptions(settings, ignored=ignored)
