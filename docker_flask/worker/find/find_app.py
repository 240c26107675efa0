"""Finds the application: the same in both modes and for every server."""

import os
from dataclasses import replace
from pathlib import Path

from docker_flask.servers.uwsgi import ini as uwsgi_ini
from docker_flask.worker.find import candidates, flaskenv
from docker_flask.worker.find.callables import LACKS, FoundApp, import_module, pick, resolve
from docker_flask.worker.find.candidates import MODULES, Candidate, NotFound, quoted
from docker_flask.worker.find.module_text import CALLABLES, not_run

__all__ = ["FoundApp", "NotFound", "load"]

# Flask ignores `app.run()` while this variable is set, as `flask run` does.
IS_COMMAND = "FLASK_RUN_FROM_CLI"
HINT = "set APP_MODULE=package.module:callable"
# Served if the application's folder is empty. If that folder was mounted, the path is wrong.
SAMPLE = Path("/opt/docker-flask/sample")


def load(root: Path, app_module: str = "", ini: str = "") -> FoundApp:
    """Import the application that lies in `root`.

    Sets the variables of .flaskenv and .env first. APP_MODULE names the application, else
    FLASK_APP, else uwsgi.ini, else the application has a usual name. Raises NotFound, or what the
    application's import raises.

    app_module, ini: the settings APP_MODULE and UWSGI_INI, if they come from the supervisor.
    """
    os.environ[IS_COMMAND] = "true"
    for variable in ("APP_MODULE", "FLASK_APP"):
        if not os.environ.get(variable, "").strip():
            os.environ.pop(variable, None)  # set but empty counts as not set
    flaskenv.load()
    for variable, setting, find in (
        ("APP_MODULE", app_module, candidates.by_name),
        ("FLASK_APP", "", candidates.by_path),
    ):
        if value := setting or os.environ.get(variable, "").strip():
            where, _, expression = value.partition(":")
            candidate = find(root, where)
            return _load_named(f"{variable}={value!r}", candidate, expression.strip())
    return _from_uwsgi_ini(root, ini or os.environ.get("UWSGI_INI", "")) or _load_usual(root)


def _from_uwsgi_ini(root: Path, ini: str) -> FoundApp | None:
    """The application that uWSGI's options `module` or `wsgi-file` name in uwsgi.ini."""
    path = uwsgi_ini.find(root, ini)
    options = uwsgi_ini.read(path) if path else []
    last = dict(options)
    name = next((name for name in ("module", "wsgi", "wsgi-file", "file") if last.get(name)), "")
    if not name:
        return None
    base = root / last.get("chdir", "")
    os.chdir(base)
    where, _, expression = last[name].partition(":")
    find = candidates.by_name if name in ("module", "wsgi") else candidates.by_path
    candidate = find(base, where)
    paths = (base / value for key, value in options if key in ("pythonpath", "python-path", "pp"))
    folders = (*paths, *candidate.folders, *candidates.folders_of(root))
    return _load_named(
        f"{name}={last[name]!r} in {path}",
        replace(candidate, folders=folders),
        expression or last.get("callable", ""),
        CALLABLES[::-1],  # uWSGI itself looks for `application`
    )


def _load_named(
    setting: str,
    candidate: Candidate,
    expression: str,
    callables: tuple[str, ...] = CALLABLES,
) -> FoundApp:
    """The application that a setting names.

    expression: of the callable, empty if the module decides: then the names in `callables` come
    first.
    """
    try:
        module = import_module(candidate)
        if not (expression := expression or pick(module, callables) or ""):
            raise NotFound(f"{LACKS} in {module.__name__}")
        return resolve(module, expression, setting)
    except NotFound as error:
        raise NotFound(f"no WSGI callable by {setting}: {error}; {HINT}") from None


def _load_usual(root: Path) -> FoundApp:
    modules: list[str] = []
    hint = HINT
    reason = f"the usual names in {root}"
    if SAMPLE.is_dir() and not any(root.iterdir()) and not root.is_mount():
        root, reason = SAMPLE, f"the image's sample, because {root} is empty"
    try:
        for candidate in candidates.usual(root):
            module = import_module(candidate)
            if name := pick(module):
                return resolve(module, name, reason)
            modules.append(candidate.module)
            hint = not_run(module) or hint
    except NotFound as error:
        raise NotFound(f"{error}; {HINT}") from None
    usual = quoted(f"{name}.py" for name in MODULES)
    looked = f"none of {usual} exists, and no other module or package makes one"
    if modules:
        looked = f"{LACKS} in {', '.join(modules)}"
    elif not any(root.iterdir()):
        looked = "this folder is empty"
        hint = "mount yours by its whole path, as in -v $PWD/app:/app"
    raise NotFound(f"no WSGI callable in {root}: {looked}; {hint}")
