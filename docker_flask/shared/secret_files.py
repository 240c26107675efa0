"""Variables from files, as in other images: NAME_FILE=/run/secrets/x sets NAME.

Only for files in this folder, where engines and orchestrators put secrets: elsewhere, a variable
that ends in _FILE usually means a path (LOG_FILE=/data/app.log, DATABASE_FILE=/data/app.db).
"""

import os
import stat
from collections.abc import Mapping

from docker_flask.shared.setting_error import SettingError

FOLDERS = "/run/secrets/", "/var/run/secrets/"
SUFFIX = "_FILE"
# OpenSSL's, and its file is larger than a variable.
PATHS = ("SSL_CERT_FILE",)
# The names of the variables that were set: child processes do not read the files again.
DONE = "DOCKER_FLASK_SECRETS"
# Bytes. Linux allows 128 KiB for a variable with its name.
MAX_SIZE = 100_000


def read() -> None:
    """Set the variables of this process, as root before it leaves root: the files may be root's.

    NAME_FILE stays, because some applications read it. Raises SettingError.
    """
    done = names(os.environ)
    for file in sorted(os.environ):
        name, path = file.removesuffix(SUFFIX), os.environ[file].strip()
        if name in ("", file, *done) or file in PATHS or not path.startswith(FOLDERS):
            continue
        if os.environ.get(name, "").strip():
            raise SettingError(f"{name} and {file} are both set; use one of them")
        try:
            os.environ[name] = _text(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingError(f"{file}={path} can't be read: {reason}") from None
        done.append(name)
    if done:
        os.environ[DONE] = " ".join(done)


def names(environ: Mapping[str, str]) -> list[str]:
    """The variables that files have set."""
    return environ.get(DONE, "").split()


def _text(path: str) -> str:
    """The content without its last line's end; raises OSError, ValueError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe may have no end
        # The application may own a folder that is mounted here, and root follows no link of its.
        real = os.readlink(f"/proc/self/fd/{file.fileno()}")
        if not real.startswith(FOLDERS):
            raise ValueError(f"it is a link to {real}; use a file in {FOLDERS[0]}")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("use a file")
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise ValueError(f"a variable holds {MAX_SIZE:,} bytes at most")
    if b"\0" in data:
        raise ValueError("it has NUL bytes, which no variable holds")
    return os.fsdecode(data).rstrip("\r\n")
