"""Where an application's static files are, and if nginx may serve them in its place."""

import os
import sys
from pathlib import Path
from typing import Any

from docker_flask.shared.static_files import DEFAULT_URL, URL, StaticFiles
from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.find.callables import is_flask

_RULE_END = "/<path:filename>"


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
            _refuse_surprises(flask)
        if flask and max_age is None:
            with flask.app_context():
                age = flask.get_send_file_max_age("")
                max_age = None if age is None else int(age)
        files = StaticFiles(
            url or (flask and _url(flask)) or DEFAULT_URL,
            folder or (flask and flask.static_folder) or str(root / "static"),
            max_age,
        )
        _refuse_source(files.folder, root)
        if not folder:  # whoever sets STATIC_PATH has chosen the folder with its links
            _refuse_links(files.folder)
        # Every Flask application has a static folder by default, though most APIs lack it.
        exists = os.path.isdir(files.folder)
        message = f"nginx serves {files.url}/ from {files.folder}" if exists else ""
    except Exception as error:  # also an error of the application's own code
        files, message = None, f"static files are left to the application: {error}"
    return files, message if message.isprintable() else ascii(message)


# --- a Flask application -------------------------------------------------------------------


def _url(flask: Any) -> str:
    """The prefix of Flask's own route for static files; empty if there is no such route."""
    rules = [str(rule) for rule in flask.url_map.iter_rules() if rule.endpoint == "static"]
    own = len(rules) == 1 and rules[0].endswith(_RULE_END)
    return rules[0].removesuffix(_RULE_END) if own else ""


def _refuse_surprises(flask: Any) -> None:
    """Raise ValueError if its response may differ from the file in the folder."""
    if not URL.fullmatch(url := _url(flask)):
        raise ValueError(f"their prefix {url + '/'!r} is not simple, as /static/ is")
    if not all(map(_is_from_flask, (flask.view_functions["static"], flask.send_static_file))):
        raise ValueError("the application has its own view for them")
    wsgi = flask.wsgi_app
    while type(wsgi).__module__ == "werkzeug.middleware.proxy_fix":  # changes no path
        wsgi = wsgi.app
    if not _is_from_flask(wsgi):
        raise ValueError("the application is behind a middleware")


def _is_from_flask(function: Any) -> bool:
    # Not by __module__, which functools.wraps copies to the function of a decorator.
    names = getattr(function, "__globals__", {})
    return str(names.get("__name__")).partition(".")[0] == "flask"


# --- source --------------------------------------------------------------------------------


def _refuse_source(folder: str, root: Path) -> None:
    """Raise ValueError if the folder contains the application or a loaded module."""
    # Not by getattr(): a module that loads lazily would then load.
    loaded = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    names = [str(names.get("__file__") or "") for names in loaded]
    modules = {os.path.dirname(os.path.abspath(name)) for name in names if name}
    real = os.path.join(os.path.realpath(folder), "")
    for place in {str(root), os.getcwd(), *modules}:
        if os.path.join(os.path.realpath(place), "").startswith(real):
            raise ValueError(f"{folder} contains source code, too")


def _refuse_links(folder: str) -> None:
    """Raise ValueError if a link leads out of the folder: nginx would follow the link.

    The application refuses such links (worker/hooks/static_guard.py).
    """
    real = os.path.realpath(folder)
    for place, folders, files in os.walk(folder):
        for path in filter(os.path.islink, (os.path.join(place, it) for it in (*folders, *files))):
            target = os.path.realpath(path)
            if os.path.commonpath([real, target]) != real:
                raise ValueError(f"the link {path} leads out to {target}")
