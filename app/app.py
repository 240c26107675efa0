"""A sample Flask app: it greets, tells what runs it, and keeps a gallery of pictures.

Put your own app in its place: all that is needed is an `app` in `app.py`.
Mind that there is no login here: whoever can open the gallery can add a picture to it.
"""

import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NoReturn

from flask import Flask, redirect, render_template, request, send_from_directory, url_for
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound, RequestEntityTooLarge
from werkzeug.wrappers import Response

MAX_NAME_LENGTH = 40
MAX_UPLOAD_MB = 8
MAX_PICTURES_SHOWN = 60
MAX_MEGAPIXELS = 50  # a small file can be a picture that fills a browser's memory
PICTURE_TYPES = {  # ending: (media type, first bytes); no SVG, as it can carry scripts
    ".png": ("image/png", rb"\x89PNG\r\n\x1a\n"),
    ".jpg": ("image/jpeg", rb"\xff\xd8\xff"),
    ".gif": ("image/gif", rb"GIF8[79]a"),
    ".webp": ("image/webp", rb"RIFF....WEBP"),
}
# A picture that is also a script stays a picture. No page needs scripts, or files from elsewhere.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = MAX_UPLOAD_MB * 1024 * 1024
app.config["UPLOAD_FOLDER"] = Path(os.environ.get("UPLOAD_FOLDER") or "/data/uploads").absolute()


def server_name() -> str:
    """Name the server that called us; its version is for developers only."""
    if "uwsgi.version" in request.environ:
        return "uWSGI behind nginx"
    name: str = request.environ.get("SERVER_SOFTWARE") or "an unknown server"
    return name if app.debug else name.partition("/")[0]


def facts_for_developers() -> dict[str, str]:
    """Name the versions of what runs this app."""
    return {"Python": platform.python_version(), "Flask": version("flask")}


def picture_ending(data: bytes) -> str | None:
    """Tell a picture's type by its content: the name it was sent with proves nothing."""
    types = PICTURE_TYPES.items()
    return next((end for end, (_, start) in types if re.match(start, data, re.DOTALL)), None)


def picture_size(data: bytes, ending: str) -> tuple[int, int] | None:
    """Read width and height, if the picture has them where they belong."""

    def numbers(at: int, size: int, order: Literal["big", "little"]) -> tuple[int, int]:
        first, second = data[at : at + size], data[at + size : at + 2 * size]
        return int.from_bytes(first, order), int.from_bytes(second, order)

    if ending == ".png":
        return numbers(16, 4, "big")
    if ending == ".gif":
        return numbers(6, 2, "little")
    if ending == ".webp" and data[12:16] == b"VP8 ":
        return numbers(26, 2, "little")
    if ending == ".webp" and data[12:16] == b"VP8L":
        bits, _ = numbers(21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if ending == ".webp" and data[12:16] == b"VP8X":
        width, height = numbers(24, 3, "little")
        return width + 1, height + 1
    at = 2
    for _ in range(1000):  # the segments of a JPEG
        marker, length = data[at : at + 2], numbers(at + 2, 2, "big")[0]
        if re.fullmatch(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]", marker):
            height, width = numbers(at + 5, 2, "big")
            return width, height
        if marker[:1] != b"\xff" or length < 2:
            break
        at += 2 + length
    return None


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Open the upload folder; trouble with it becomes a clear page, not a stack trace."""
    folder: Path = app.config["UPLOAD_FOLDER"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        app.logger.error("Upload folder: %s", error)
        reason = f"The upload folder {folder} cannot be used: {error.strerror}."
        raise InternalServerError(reason) from error


def save_picture(data: bytes, ending: str) -> None:
    """Store a picture under a new name that sorts by time and that nobody can guess."""
    name = f"{time.time_ns()}-{secrets.token_hex(16)}"
    with upload_folder() as folder:
        unfinished = folder / f"{name}.part"  # an ending that is neither listed nor served
        try:
            unfinished.write_bytes(data)
            unfinished.replace(folder / f"{name}{ending}")
        finally:
            unfinished.unlink(missing_ok=True)


@app.get("/")
def home() -> str:
    """Greet, and tell what runs this app."""
    name = " ".join(request.args.get("name", "").split())[:MAX_NAME_LENGTH].rstrip() or "World"
    facts = {
        "Mode": "development" if app.debug else "production",
        "Server": server_name(),
        **(facts_for_developers() if app.debug else {}),
        "Worker": f"process {os.getpid()}",
        "Your address": request.remote_addr or "unknown",
        "Scheme": request.scheme,
        "Request ID": request.headers.get("X-Request-ID") or "none",
    }
    return render_template("home.html", name=name, max_length=MAX_NAME_LENGTH, facts=facts)


@app.get("/gallery")
def gallery(error: str | None = None) -> str:
    """Show the newest pictures and, if an upload was refused, the reason."""
    with upload_folder() as folder:
        names = [name for name in os.listdir(folder) if Path(name).suffix in PICTURE_TYPES]
    pictures = sorted(names, reverse=True)[:MAX_PICTURES_SHOWN]  # names begin with their time
    return render_template("gallery.html", pictures=pictures, error=error, max_mb=MAX_UPLOAD_MB)


@app.post("/gallery")
def upload() -> Response | tuple[str, int]:
    """Add a picture, or tell why not."""
    try:
        file = request.files.get("picture")
    except RequestEntityTooLarge:
        return gallery(f"This upload is too large: {MAX_UPLOAD_MB} MB is the limit."), 413
    if not file or not (data := file.read()):
        return gallery("Choose a picture first: no file came in, or it was empty."), 400
    if not (ending := picture_ending(data)):
        return gallery("This file is not a PNG, JPEG, GIF or WebP picture."), 400
    size = picture_size(data, ending)
    if not size or 0 in size:
        return gallery("This picture is damaged: it has no width and height."), 400
    if size[0] * size[1] > MAX_MEGAPIXELS * 1_000_000:
        return gallery(f"This picture is too large: {MAX_MEGAPIXELS} megapixels is the limit."), 400
    save_picture(data, ending)
    return redirect(url_for("gallery"), 303)  # so that a reload does not upload again


@app.get("/images/<path:filename>")
def image(filename: str) -> Response:
    """Serve a stored picture."""
    ending = Path(filename).suffix
    if ending not in PICTURE_TYPES:
        raise NotFound
    folder, (media_type, _) = app.config["UPLOAD_FOLDER"], PICTURE_TYPES[ending]
    return send_from_directory(folder, filename, mimetype=media_type, max_age=86400)


@app.get("/fail")
def fail() -> NoReturn:
    """Fail on purpose: see what that looks like in each mode."""
    raise RuntimeError("This page fails on purpose.")


@app.after_request
def protect(response: Response) -> Response:
    """Let a browser take a response for what it is, and nothing more."""
    response.headers.update(SECURITY_HEADERS)
    if app.debug:  # a page with this policy could not load itself again after an edit
        del response.headers["Content-Security-Policy"]
    return response


@app.errorhandler(HTTPException)
def error_page(error: HTTPException) -> Response:
    """Give HTTP errors the look of the app (in debug mode, crashes still reach the debugger)."""
    response = error.get_response()  # keeps headers such as Allow
    response.data = render_template("error.html", error=error)
    return response
