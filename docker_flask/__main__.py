"""Which program: production, debug mode or a command; entry-point.sh says its name."""

import _thread
import importlib
import os
import sys
from collections.abc import Callable

from docker_flask.shared import drop_privileges, secret_files
from docker_flask.shared.log import log
from docker_flask.shared.no_room import in_words
from docker_flask.shared.setting_error import SettingError

# Each program: the module whose `main` runs it, and its user if root starts it.
PROGRAMS = {
    "serve": ("supervisor.production", "service"),
    "debug": ("debug.reloader", "owner"),
    "settings": ("cli.settings", "running"),
    "nginx-config": ("cli.nginx_config", "running"),
    "reload": ("cli.reload", "running"),
    "status": ("cli.status", "running"),
}


def main() -> int:
    """Leave root, and run the program; returns the exit code."""
    name = sys.argv[1]
    module, user = PROGRAMS[name]
    try:
        if name not in ("reload", "status"):  # these read no variables
            secret_files.read()
        drop_privileges.drop(user, keep_ports=name == "serve")
        _check_threads()
        # Imported here: each program needs other modules, and root should run none of them.
        program: Callable[[], int] = importlib.import_module(f"docker_flask.{module}").main
        return program()
    except (SettingError, drop_privileges.NotPermitted) as error:
        log(str(error))
        return error.code
    except (OSError, MemoryError) as error:
        what = in_words(error)
        if user == "running":
            log(f"{name}: {what}")
            return 1
        log(f"the container can't run: {what}")
        return os.EX_SOFTWARE


def _check_threads() -> None:
    """Raises NotPermitted if no thread can start: old engines refuse libc's clone3."""
    try:
        _thread.start_new_thread(int, ())
    except RuntimeError:
        raise drop_privileges.NotPermitted(
            "can't start new thread: use Docker 20.10.10 or newer, or a higher --pids-limit"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
