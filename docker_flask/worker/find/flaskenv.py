"""Sets the variables of .flaskenv and .env as `flask run` does, with python-dotenv if installed."""

import os

from docker_flask.shared.log import log


def load() -> None:
    """Set variables that the environment lacks; the files are here, or in a folder above.

    Raises OSError for a file that this user may not read.
    """
    if os.environ.get("FLASK_SKIP_DOTENV", "").lower() not in ("", "0", "false", "no"):
        return
    try:
        import dotenv
    except ImportError:
        if os.path.exists(".flaskenv"):
            log(".flaskenv ignored: python-dotenv is not installed")
        return
    for name in (".env", ".flaskenv"):
        if file := dotenv.find_dotenv(name, usecwd=True):
            try:
                dotenv.load_dotenv(file, encoding="utf-8-sig")
            except UnicodeDecodeError:  # Windows' shell writes UTF-16
                log(f"{file} is ignored: it is not UTF-8; save it as UTF-8")
