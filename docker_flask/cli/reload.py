"""`docker-flask reload`: loads the code in /app, and waits for the outcome."""

import os

from docker_flask.shared import control, runtime_folder
from docker_flask.shared.log import log
from docker_flask.shared.paths import OK

# Seconds; START_TIMEOUT decides when a reload fails.
TIMEOUT = 3 * 3600.0


def main() -> int:
    """Wait until the new generation serves or fails."""
    folder = runtime_folder.running_server()
    if not folder:
        log(
            f"nothing to reload: no production server runs here as uid {os.geteuid()}; "
            "debug mode reloads by itself"
        )
        return 1
    outcome = control.ask(folder, "reload", TIMEOUT)
    log("reload: ok" if outcome == OK else outcome or "the container stopped during the reload")
    return 0 if outcome == OK else 1
