"""`docker-flask settings`: prints each setting, its value and its origin."""

import os

from docker_flask.plan import limits, plan
from docker_flask.plan.plan import Plan
from docker_flask.shared import control, runtime_folder
from docker_flask.shared.log import log
from docker_flask.shared.process import Output

# Seconds for the supervisor's response.
TIMEOUT = 10.0


def main() -> int:
    """Print the settings of the server that runs here; if none does, of one that would start."""
    if folder := runtime_folder.running_server():
        rows = control.ask_json(folder, "settings", TIMEOUT)
        if not rows:
            log("the settings are read after prestart.sh, which is still running")
            return 1
    else:
        rows = decide().rows()
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        print(control.printable(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}"))
    return 0


def decide() -> Plan:
    """The plan of a server that would start here; raises SettingError."""
    resources = limits.read()
    program = plan.program(os.environ, resources)
    if not program:
        return plan.make(os.environ, resources)
    import subprocess  # slow to import, and most applications have no gunicorn.conf.py

    command, environment, seconds = program
    try:
        ended = subprocess.run(
            command,
            env=environment,
            timeout=seconds,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise program.late() from None
    output = Output(ended.returncode, ended.stdout, ended.stderr)
    return plan.make(os.environ, resources, output=output)
