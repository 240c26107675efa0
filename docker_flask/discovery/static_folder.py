"""Where an application's static files are, and if nginx may serve them in its place."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from docker_flask.discovery import loaded_modules
from docker_flask.discovery.callables import is_flask
from docker_flask.static_files import DEFAULT_URL, MAX_CHECKS, URL, StaticFiles
from docker_flask.worker_options import WorkerOptions

_RULE_END = "/<path:filename>"


class LeftToTheApplication(Exception):
    """nginx would respond differently from the application; the message says why."""


def find(application: Any, root: Path, options: WorkerOptions) -> tuple[StaticFiles | None, str]:
    """What nginx may serve for this application, and a message about this for the log.

    root: the folder that the container was started in. The settings in the options override what a
    Flask application decides. Never raises: the application can serve its files itself.
    """
    url, folder, max_age = options.static_url, options.static_path, options.static_max_age
    flask: Any = application if is_flask(application) else None
    if url == "" or not (flask or url or folder):
        return None, ""
    files: StaticFiles | None
    try:
        if not (url or folder):
            if not flask.has_static_folder:
                return None, ""
            _refuse_surprises(flask, max_age is not None)
        files = StaticFiles(
            url or (flask and _url(flask)) or DEFAULT_URL,
            folder or (flask and flask.static_folder) or str(root / "static"),
            max_age if max_age is not None else (flask and _max_age(flask)),
        )
        _refuse_source(files.folder, root)
        if not folder:  # whoever sets STATIC_PATH has chosen the folder with its links
            _refuse_links(files.folder)
        message = _message(files, flask)
    except Exception as error:  # also an error of the application's own code
        files, message = None, f"static files are left to the application: {error}"
    return files, message if message.isprintable() else ascii(message)


def _message(files: StaticFiles, flask: Any) -> str:
    if not os.path.isdir(files.folder):
        # Every Flask application has a static folder by default, though most APIs lack it.
        return "" if flask else f"nginx has no folder to serve: {files.folder} does not exist"
    message = f"nginx serves {files.url}/ from {files.folder}"
    kinds = ("before_request", "after_request")
    skipped = [kind for kind in kinds if flask and getattr(flask, f"{kind}_funcs").get(None)]
    if skipped:
        message += f"; the application's {' and '.join(skipped)} functions do not run for them"
    return message


# --- a Flask application -------------------------------------------------------------------


def _url(flask: Any) -> str:
    """The prefix of Flask's own route for static files; empty if there is no such route."""
    rules = [str(rule) for rule in flask.url_map.iter_rules() if rule.endpoint == "static"]
    own = len(rules) == 1 and rules[0].endswith(_RULE_END)
    return rules[0].removesuffix(_RULE_END) if own else ""


def _max_age(flask: Any) -> int | None:
    """SEND_FILE_MAX_AGE_DEFAULT, which Flask allows to be a number or a timedelta."""
    value = flask.config.get("SEND_FILE_MAX_AGE_DEFAULT")
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return None if value is None else int(value)


def _refuse_surprises(flask: Any, max_age_is_set: bool) -> None:
    """Raise LeftToTheApplication if its response may differ from the file in the folder."""
    url = _url(flask)
    if not URL.fullmatch(url):
        raise LeftToTheApplication(f"their prefix {url + '/'!r} is not simple, as /static/ is")
    methods = ["send_static_file", *([] if max_age_is_set else ["get_send_file_max_age"])]
    if not (
        _is_from_flask(flask.view_functions["static"])
        and all(_is_from_flask(getattr(flask, method)) for method in methods)
    ):
        raise LeftToTheApplication("the application has its own view for them")
    if flask.url_map.host_matching or getattr(flask, "subdomain_matching", False):
        raise LeftToTheApplication("the application's routes depend on the host")
    wsgi = flask.wsgi_app
    while type(wsgi).__module__ == "werkzeug.middleware.proxy_fix":  # changes no path
        wsgi = wsgi.app
    if os.environ.get("SCRIPT_NAME") or not _is_from_flask(wsgi):
        raise LeftToTheApplication("the application is behind a middleware or a path")
    for rule in flask.url_map.iter_rules():
        fixed = rule.rule.partition("<")[0]
        is_below = rule.endpoint != "static" and fixed.startswith(f"{url}/")
        if is_below and os.path.exists(flask.static_folder + fixed.removeprefix(url)):
            raise LeftToTheApplication(f"the route {rule.rule} leads to some of them")


def _is_from_flask(function: Any) -> bool:
    # Not by __module__, which functools.wraps copies to the function of a decorator.
    names = getattr(function, "__globals__", {})
    return str(names.get("__name__")).partition(".")[0] == "flask"


# --- source --------------------------------------------------------------------------------


def _refuse_source(folder: str, root: Path) -> None:
    """Raise LeftToTheApplication if the folder contains the application or a loaded module."""
    real = os.path.join(os.path.realpath(folder), "")
    for place in {str(root), os.getcwd(), *_folders_of_modules()}:
        if os.path.join(os.path.realpath(place), "").startswith(real):
            raise LeftToTheApplication(f"{folder} contains source code, too")


def _refuse_links(folder: str) -> None:
    """Raise LeftToTheApplication if a link leads out of the folder: nginx would follow the link.

    The application refuses such links (worker/static_guard.py).
    """
    real, checks = os.path.realpath(folder), 0
    for place, folders, files in os.walk(folder):
        checks += 1 + len(folders) + len(files)
        if checks > MAX_CHECKS:
            return
        for path in (os.path.join(place, name) for name in (*folders, *files)):
            if os.path.islink(path):
                target = os.path.realpath(path)
                if os.path.commonpath([real, target]) != real:
                    raise LeftToTheApplication(f"the link {path} leads out to {target}")


def _folders_of_modules() -> Iterable[str]:
    return (os.path.dirname(os.path.abspath(file)) for file in loaded_modules.files())
