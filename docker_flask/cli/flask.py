"""The `flask` command: Flask's own, with the application that the image finds.

bin/flask leaves root before it starts this program. `flask --app` names another application.
"""

import contextlib
import os
import sys
from pathlib import Path

import click
from click.core import ParameterSource
from flask import Flask
from flask.cli import FlaskGroup, NoAppException, ScriptInfo

from docker_flask.shared import control, paths
from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.find import find_app
from docker_flask.worker.hooks import permission_hints

PRESTART_SECONDS = 60
EXIT_FAILED = 1


def locate() -> find_app.FoundApp:
    """The application that the image serves; raises NoAppException."""
    # Set if uWSGI starts the command, as by its option attach-daemon.
    options = WorkerOptions.from_environment()
    try:
        return find_app.load(Path.cwd(), options.app_module, options.uwsgi_ini)
    except find_app.NotFound as error:
        raise NoAppException(str(error)) from None


def create_app() -> Flask:
    """The application for Flask's commands; raises NoAppException if it is no Flask instance."""
    context = click.get_current_context(silent=True)  # Flask 2.1 calls this in another thread
    root = context and context.find_root()
    if root and root.get_parameter_source("app") is ParameterSource.COMMANDLINE:
        return ScriptInfo(root.ensure_object(ScriptInfo).app_import_path).load_app()
    found = locate()
    if not isinstance(found.application, Flask):
        raise NoAppException(
            f"{found.name} ({found.reason}) is not a Flask application; "
            "flask --app module:name can name one"
        )
    permission_hints.watch(found.application.name)
    return found.application


@click.command("docker-flask")
def show() -> None:
    """Show which application the image serves, and why."""
    found = locate()
    click.echo(f"{found.name} ({found.reason})")


def take_variables() -> None:
    """Set the variables that prestart.sh has left in the server, for a command of `docker exec`."""
    folder = paths.running()
    if not folder or paths.PRESTART_MARK in os.environ:  # prestart.sh or the application runs it
        return
    # prestart.sh may need longer, or the socket is that of an earlier start.
    with contextlib.suppress(OSError):
        changes = control.ask_json(folder, "environment", PRESTART_SECONDS)
        for name, value in (changes or {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def main() -> int:
    """Run the command."""
    take_variables()
    group = FlaskGroup(name="flask", create_app=create_app, help=__doc__)
    group.add_command(show)
    try:
        group.main(prog_name="flask")
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        permission_hints.explain(error)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
