"""Static files that Flask sends: no hidden file, no key, and nothing that a link leads out to."""

import functools
import io
import os
import re
import sys
from typing import Any

# As in nginx/static_files.conf. Flask takes `key.pem/` for `key.pem`.
REFUSED = re.compile(r"(^|/)\.(?!well-known/)|\.(env|key|pem|p12|pfx)/*$", re.IGNORECASE)


def protect(flask: Any, wrapper: type | None = None) -> None:
    """Put the check around Flask's own views for static files, those of blueprints included.

    wrapper: the image's `wsgi.file_wrapper`, which shows its file. A server's own does not, and is
    removed. Debug mode has none.
    """
    places = {"static": flask, **{f"{name}.static": it for name, it in flask.blueprints.items()}}
    for endpoint, place in places.items():
        view = flask.view_functions.get(endpoint)
        if view and place.has_static_folder:
            flask.view_functions[endpoint] = _checked(view, place, wrapper)


def _checked(view: Any, place: Any, wrapper: type | None) -> Any:
    @functools.wraps(view)
    def checked(*args: Any, **values: Any) -> Any:
        name = str(values.get("filename", ""))
        folder = os.path.realpath(place.static_folder)
        refuse = sys.modules["werkzeug.exceptions"].NotFound
        if REFUSED.search(name) or _leaves(folder, os.path.join(folder, name)):
            raise refuse
        environ = sys.modules["flask"].request.environ
        if environ.get("wsgi.file_wrapper") is not wrapper:
            environ.pop("wsgi.file_wrapper", None)
        answer = view(*args, **values)
        # Another container may have put a link there since: only the open file is certain.
        opened = _opened(answer, place.static_folder)
        if opened and _leaves(folder, opened):
            answer.close()
            raise refuse
        return answer

    return checked


def _opened(answer: Any, folder: str) -> str:
    """The file that a response has opened by a name in the folder; empty if there is none."""
    body = getattr(answer, "response", None)
    file = getattr(getattr(body, "iterable", body), "file", None)  # iterable: of a range
    if type(file) is not io.BufferedReader:
        return ""
    inside = os.path.abspath(str(file.name)).startswith(os.path.join(os.path.abspath(folder), ""))
    return f"/proc/self/fd/{file.fileno()}" if inside else ""


def _leaves(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, os.path.realpath(path)]) != folder
