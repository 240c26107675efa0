"""The static files that settings name, which nginx serves in production."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from werkzeug.exceptions import NotFound
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.wrappers import Response

from docker_flask.plan.settings import Settings
from docker_flask.shared.log import log
from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.find import static_folder
from docker_flask.worker.hooks.static_guard import REFUSED
from docker_flask.worker.middleware.wsgi_types import Environ, StartResponse, Wsgi

# Nobody but the application sends these (nginx/static_files.conf).
_LEFT = re.compile(
    r"\.(py\w*|ini|cfg|conf|toml|ya?ml|db\w*|sqlite\w*|sql|sh|log|bak)(\W|$)"
    r"|\.(gz|bz2|xz|br|z|svgz|t[abgx]z2?)$",
    re.IGNORECASE,
)


def wrap(application: Wsgi, settings: Settings) -> Wsgi:
    """The application, behind the files of STATIC_URL, STATIC_PATH and STATIC_INDEX if set."""
    if not (settings.static_url or settings.static_path or settings.static_index):
        return application
    options = WorkerOptions(static_url=settings.static_url, static_path=settings.static_path)
    files, reason = static_folder.find(application, Path.cwd(), options)
    if not files:
        if reason:
            log(reason)
        return application
    url, folder = f"{files.url}/", os.path.realpath(files.folder)
    log(f"serving {url} from {files.folder}")
    # Browsers ask each time, because the files are edited.
    send = SharedDataMiddleware(application, {files.url: folder}, cache_timeout=0)

    def files_first(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        __traceback_hide__ = True  # noqa: F841  # from Werkzeug's debugger: not the user's code
        asked = environ["PATH_INFO"]
        path = f"{url}index.html" if settings.static_index and asked == "/" else asked
        if path.startswith(url) and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            name = path.removeprefix(url).encode("latin-1").decode(errors="replace")
            if REFUSED.search(name):
                return NotFound()(environ, start_response)
            file = os.path.realpath(os.path.join(folder, name))
            if os.path.isfile(file) and file.startswith(f"{folder}/") and not _LEFT.search(name):
                response = Response.from_app(send, {**environ, "PATH_INFO": path})
                return response(environ, start_response)
        return application(environ, start_response)

    return files_first
