"""What the user's gunicorn.conf.py and GUNICORN_CMD_ARGS say: some of it decides a setting.

Gunicorn itself reads them, in a process of the application's Python (gunicorn_server.py).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docker_flask.configuration.settings import Said, SettingError

NAME = "gunicorn.conf.py"
ARGUMENTS = "GUNICORN_CMD_ARGS"
# Each of Gunicorn's settings decides the one behind it, if that is not set.
_SETTINGS = {
    "wsgi_app": "app_module",
    "workers": "web_concurrency",
    "threads": "threads",
    "worker_class": "worker_class",
    "timeout": "request_timeout",
    "max_requests": "max_requests",
    "preload_app": "preload",
}


@dataclass(frozen=True)
class Options:
    """said: settings, by the names of their fields; own: what the image decides itself."""

    said: dict[str, Said] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)


def read(root: Path, environ: Mapping[str, str], python: Path) -> Options:
    """Let Gunicorn read what the user gives it; raises SettingError.

    root: where the application lies; python: the application's, which has Gunicorn.
    """
    if not (root / NAME).is_file() and not environ.get(ARGUMENTS):
        return Options()
    result = subprocess.run(
        [python, "-P", "-m", "docker_flask.worker.gunicorn_server", "--show"],
        cwd=root,
        # Gunicorn can't read one that is set but empty.
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
    said = {
        _SETTINGS[name]: Said(name, str(value), where)
        for name, value in given["settings"].items()
        # A worker may be silent for ever there, and longer than that in no request here.
        if not (name == "timeout" and not value)
    }
    return Options(said, given["own"])
