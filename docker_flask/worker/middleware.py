"""The WSGI callable between a worker's server and the application.

No request may block the worker for ever, or end it. This runs at each request: every line costs.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator

from docker_flask.discovery import permission_hints
from docker_flask.log import log
from docker_flask.worker import request_body
from docker_flask.worker.greenlets import unpatched
from docker_flask.worker.recycling import Recycling
from docker_flask.worker.response import HeadersTooLarge, Response
from docker_flask.worker.response_cache import Pages
from docker_flask.worker.watchdog import Watchdog
from docker_flask.worker.web_sockets import Refused, Taken, WebSockets
from docker_flask.worker.wsgi_types import Environ, StartResponse, Wsgi

BLOCK = 1 << 16
# The kernel's send buffer (bytes) for a response whose first part has at least BLOCK bytes. The
# kernel doubles the number for its own needs (socket(7)), and uses a fifth of that for other
# responses. A larger buffer is not faster (benchmarks/TRIED.md).
SEND_BUFFER = 1 << 19
_FAILED = b"Internal Server Error\n"
_PLAIN = [("Content-Type", "text/plain")]


class Middleware:
    """Wraps an application: measures and counts its requests, and turns exceptions into a 500.

    sendfile_location: of nginx, empty if workers send files; pages: what nginx caches, if anything;
    web_sockets: of this worker, None if it has none.
    """

    def __init__(
        self,
        application: Wsgi,
        watchdog: Watchdog,
        recycling: Recycling,
        sendfile_location: str = "",
        pages: Pages | None = None,
        web_sockets: WebSockets | None = None,
    ) -> None:
        self._application = application
        self._watchdog = watchdog
        self._active = watchdog.active
        self._silent_since = watchdog.silent_since
        self._recycling = recycling
        self._sendfile_location = sendfile_location
        self._pages = pages
        self._web_sockets = web_sockets
        # For threads, even if gevent has replaced them with greenlets.
        self._local = unpatched("_thread", "_local")()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        if not hasattr(self._local, "signals_pass"):
            # uWSGI blocks all signals in its threads. Programs that a thread starts inherit the
            # blocked signals, and TERM would not end these programs.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._local.signals_pass = True
        thread, silent_since, now = threading.get_ident(), self._silent_since, time.monotonic
        self._active.add(thread)
        if self._watchdog.asleep:
            self._watchdog.wake()
        silent_since[thread] = now()
        body = request_body.of_request(environ)
        result = page = response = None
        complete = False
        # The user's own nginx.conf may send no REQUEST_URI.
        environ["RAW_URI"] = environ.setdefault("REQUEST_URI", "")
        environ.setdefault("SCRIPT_NAME", "")
        try:
            page = self._pages.page_of(environ) if self._pages else None
            if page and page.known and (redirect := page.look_again()):
                start_response("200 OK", redirect)
                return
            response = Response(
                environ, start_response, self._sendfile_location, page, self._pages, body
            )
            if "HTTP_UPGRADE" in environ and self._web_sockets:
                result = self._web_sockets.call(self._application, environ, response.start)
            else:
                result = self._application(environ, response.start)
            for chunk in response.take(result):
                if not isinstance(chunk, bytes):  # uWSGI would drop the chunk, with status 200
                    raise TypeError(f"a body is made of bytes, not of {type(chunk).__name__}")
                if not response.headers_sent:
                    response.send_headers()
                    if len(chunk) >= BLOCK:
                        _enlarge_send_buffer(environ)
                silent_since[thread] = -now()
                yield chunk
                silent_since[thread] = now()
            response.send_headers()
            complete = True
        except GeneratorExit:  # the client has left
            raise
        except Taken:  # the server sends nothing, and forgets the connection
            return
        except Refused as refused:
            start_response(refused.status, [("Retry-After", "2"), *_PLAIN])
            yield str(refused).encode()
        except BaseException as error:  # also SystemExit: a request does not end the worker
            if response and response.headers_sent:
                # The server closes the connection in the middle of the response.
                raise RuntimeError("the application failed within its response") from error
            if isinstance(error, HeadersTooLarge):
                log(str(error))
            else:
                traceback.print_exc()
                permission_hints.explain(error)
            plain = [("Content-Type", "text/plain"), ("Content-Length", str(len(_FAILED)))]
            if page and page.known and (redirect := page.replace_error("500")):
                start_response("200 OK", redirect)
                return
            # Replaces headers that the server has refused.
            start_response("500 Internal Server Error", plain, sys.exc_info())
            yield _FAILED
        finally:
            silent_since.pop(thread, None)
            try:
                if page and (page.known or page.shared):
                    page.end(complete)
                close = getattr(result, "close", None)
                if close:
                    close()
                if body:
                    body.drop()
            finally:
                self._active.discard(thread)
                self._recycling.count()


def _enlarge_send_buffer(environ: Environ) -> None:
    """Let the kernel take a large part of a response at once, if the server shows the connection.

    Otherwise nginx and the worker wake each other for each small part. This uses no socket object
    of Python: if the application has set a default timeout, a socket object makes the connection
    of the server nonblocking.
    """
    if connection := environ.get("gunicorn.socket"):
        descriptor = connection.fileno()
    elif uwsgi := sys.modules.get("uwsgi"):
        descriptor = uwsgi.connection_fd()
    else:
        return
    size = ctypes.c_int(SEND_BUFFER)
    ctypes.CDLL(None).setsockopt(
        descriptor, socket.SOL_SOCKET, socket.SO_SNDBUF, ctypes.byref(size), ctypes.sizeof(size)
    )
