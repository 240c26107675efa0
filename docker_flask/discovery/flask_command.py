"""Lets the `flask` command find the application as the image does.

Flask imports this module as a plugin (an entry point `flask.commands`, which the Dockerfile
declares) when its command line starts, before it looks for an application itself. `flask --app`
and an application's own command line work as always.

`docker exec` starts as root. As in debug mode, this module then becomes the owner of the folder:
the application can write the files that `flask db init` writes into a bind mount, too.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource
from flask import Flask
from flask.cli import NoAppException, ScriptInfo

from docker_flask import privileges
from docker_flask.discovery import find_app
from docker_flask.worker_options import WorkerOptions


def _locate() -> find_app.Found:
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
        kind = type(found.application).__name__
        raise NoAppException(
            f"{found.name} ({found.reason}) is a {kind}, not a Flask application; "
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


def _leave_root() -> None:
    uid, gid = privileges.owner_ids(Path.cwd())
    if uid:
        privileges.drop_privileges(uid, gid)


_leave_root()
_take_over()
