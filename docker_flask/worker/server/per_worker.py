"""What each worker has for itself, though clients meet another worker at each request."""

import hashlib
from typing import Any

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.server.greenlets import runs_greenlets

# The ways of Flask-SocketIO (async_mode) that need greenlets.
_OF_GREENLETS = ("eventlet", "gevent", "gevent_uwsgi")


def secret_key_digest(application: Any, options: WorkerOptions) -> str:
    """A digest of Flask's secret key, for process 1 to compare; empty if there is no key."""
    key = application.config.get("SECRET_KEY")
    if not key:
        return ""
    key = key if isinstance(key, bytes) else str(key).encode(errors="replace")
    return hashlib.sha256(options.salt.encode() + key).hexdigest()


def socket_io_notes(application: Any, options: WorkerOptions) -> list[str]:
    """Why clients of Flask-SocketIO can't connect, for the log."""
    server = getattr(application.extensions.get("socketio"), "server", None)
    engine = getattr(server, "eio", None)
    mode, has_greenlets = getattr(engine, "async_mode", ""), runs_greenlets()
    notes = []
    if mode in _OF_GREENLETS and not (has_greenlets and mode == "gevent"):
        notes.append(
            f"Flask-SocketIO's async_mode={mode!r} does not work here: write "
            'SocketIO(app, async_mode="threading")'
            + (", or set WORKER_CLASS=gevent" if mode == "gevent" else "")
        )
    if options.workers > 1 and "polling" in getattr(engine, "transports", ()):
        threads = "" if has_greenlets else " THREADS=64"
        notes.append(
            "Flask-SocketIO's clients begin with long polling, and some can't connect, because "
            f"their requests reach several workers: set WEB_CONCURRENCY=1{threads}, or let clients "
            'use io({transports: ["websocket"]})'
        )
    return notes
