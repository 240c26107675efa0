"""Lets the `flask` command find the application as the image does.

Flask imports this module as a plugin (an entry point `flask.commands`, which the Dockerfile
declares) when its command line starts, before it looks for an application itself. `flask --app`
and an application's own command line work as always.

`docker exec` starts as root, and `bin/flask` leaves root before it starts Flask. If another script
starts Flask's command line as root, this module starts it again without root.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from types import TracebackType

import click
from click.core import ParameterSource
from flask import Flask
from flask.cli import NoAppException, ScriptInfo

from docker_flask.shared import control, drop_privileges, paths
from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.find import find_app
from docker_flask.worker.hooks import permission_hints

PRESTART_SECONDS = 60


def _locate() -> find_app.FoundApp:
    # Set if uWSGI starts the command, as by its option attach-daemon.
    options = WorkerOptions.from_environment()
    try:
        return find_app.load(Path.cwd(), options.app_module, options.uwsgi_ini)
    except find_app.NotFound as error:
        raise NoAppException(str(error)) from None


def create_app() -> Flask:
    """The application, for Flask's commands; raises NoAppException if it is no Flask instance."""
    found = _locate()
    if not isinstance(found.application, Flask):
        raise NoAppException(
            f"{found.name} ({found.reason}) is not a Flask application; "
            "flask --app module:name can name one"
        )
    return found.application


@click.command("docker-flask")
def command() -> None:
    """Show which application the image serves, and why."""
    found = _locate()
    click.echo(f"{found.name} ({found.reason})")


def _take_over() -> None:
    context = click.get_current_context(silent=True)
    info = context.find_object(ScriptInfo) if context else None
    if not context or not info or info.create_app:
        return
    if context.get_parameter_source("app") is not ParameterSource.COMMANDLINE:
        info.create_app = create_app


def _take_variables() -> None:
    """Set the variables that prestart.sh has left in the server, for a command of `docker exec`."""
    folder = paths.running()
    if not folder or paths.PRESTART_MARK in os.environ:  # prestart.sh or the application runs it
        return
    # prestart.sh may need longer, or the socket is that of an earlier start.
    with contextlib.suppress(OSError):
        answer = control.ask(folder, "environment", PRESTART_SECONDS)
        for name, value in json.loads(answer or "{}").items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    permission_hints.explain(error)


drop_privileges.restart()
_take_variables()
_take_over()
permission_hints.watch()
sys.excepthook = _explain
