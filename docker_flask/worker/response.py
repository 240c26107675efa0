"""How a response reaches nginx: whole, in parts as they come, or as a file that nginx sends.

The way is known only after the application has returned the body, and the application has called
`start_response` by then. So this module delays that call until the first part of the body. If the
application fails before that, the client gets a complete error response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from docker_flask.worker import response_head, sendfile
from docker_flask.worker.request_body import RequestBody
from docker_flask.worker.response_cache import Page, Pages
from docker_flask.worker.wsgi_types import Environ, Headers, StartResponse

# Bytes of all headers that nginx and app.ini accept (docker_flask/configuration/buffers.py). uWSGI
# would truncate a longer header, and more headers would lead to a 502.
max_headers = 64 << 10


class HeadersTooLarge(Exception):
    """The headers exceed the limit; the message names the largest header and the limit."""


class Response:
    """One response: has the application's `start_response`, and calls that of the server.

    prefix: of nginx's location for files, empty if workers send files; page: what nginx's cache
    learns from the response, None if nginx does not cache it; pages: the table of all pages, if
    there is one; request_body: None if there is none; headers_sent: the server has status and
    headers.
    """

    __slots__ = (
        *("_body", "_environ", "_delayed", "_page", "_pages", "_prefix", "_push", "_request_body"),
        "_start",
        "headers_sent",
    )

    def __init__(
        self,
        environ: Environ,
        start: StartResponse,
        prefix: str,
        page: Page | None = None,
        pages: Pages | None = None,
        request_body: RequestBody | None = None,
    ) -> None:
        environ["wsgi.file_wrapper"] = sendfile.File
        self._environ = environ
        self._start = start
        self._prefix = prefix
        self._page = page
        self._pages = pages
        self._request_body = request_body
        self._delayed: tuple[str, Headers] | None = None
        self._body: Iterable[bytes] | None = None
        self._push: Callable[[bytes], Any] | None = None
        self.headers_sent = False

    def start(self, status: str, headers: Headers, *exc_info: Any) -> Callable[..., Any]:
        """The application's `start_response`; the last call counts."""
        if self.headers_sent:
            if exc_info and exc_info[0]:
                raise exc_info[0][1]
            raise RuntimeError("the application called start_response after its first bytes")
        self._delayed = status, response_head.checked(status, headers)
        return self._write

    def take(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Take the body that the application returned; returns the body to send."""
        self._body = body
        if self._delayed is None:
            return body
        status, headers = self._delayed
        page = self._page
        if page and page.known and (redirect := page.replace_error(status)):
            self._start("200 OK", redirect)
            self.headers_sent = True
            return ()
        if self._prefix:
            of_file = sendfile.handed_over(self._prefix, self._environ, status, headers, body)
            if of_file is not None:
                self._start("200 OK", self._checked(of_file))
                self.headers_sent = True
                return ()
        return body

    def send_headers(self) -> None:
        """Give the server status and headers, if they are not sent yet."""
        if self.headers_sent:
            return
        if self._delayed is None:
            raise RuntimeError("the application has not called start_response")
        status, headers = self._delayed
        headers = self._adjust(status, headers)
        if self._request_body and all(name.lower() != "content-length" for name, _ in headers):
            # nginx waits for the end of this response, and sends no more of the body meanwhile.
            self._request_body.keep()
        self._push = self._start(status, headers)
        self.headers_sent = True

    def _write(self, data: bytes) -> None:
        """What `start_response` returns: WSGI's old way to send a body."""
        if not isinstance(data, bytes):  # uWSGI would drop the data, with status 200
            raise TypeError(f"a body is made of bytes, not of {type(data).__name__}")
        self.send_headers()
        if self._push is not None:
            self._push(data)

    def _adjust(self, status: str, headers: Headers) -> Headers:
        names = {name.lower() for name, _ in headers}
        if "transfer-encoding" in names:
            # From another server, whose response the application passes on. The header does not
            # describe this connection, and nginx rejects it beside a length.
            headers = [pair for pair in headers if pair[0].lower() != "transfer-encoding"]
        if "x-accel-expires" in names:
            # With this header, nginx would cache pages that response_cache.py has not checked.
            headers = [pair for pair in headers if pair[0].lower() != "x-accel-expires"]
        if self._page and "cache-control" in names:
            headers = [*headers, *self._page.store(status, headers)]
        elif self._pages and "cache-control" in names:
            self._pages.announce(status, headers)
        if self._prefix and "x-accel-redirect" in names:
            # From another server, whose response the application passes on: nginx would obey.
            headers = [pair for pair in headers if not self._names_file(*pair)]
        if (
            "content-length" not in names
            and "x-accel-buffering" not in names
            and not isinstance(self._body, (list, tuple))
        ):
            # The body comes in parts, as events do: nginx passes on each part immediately.
            headers = [*headers, ("X-Accel-Buffering", "no")]
        return self._checked(headers)

    def _checked(self, headers: Headers) -> Headers:
        if sum([len(name) + len(value) + 4 for name, value in headers]) > max_headers:
            raise HeadersTooLarge(_describe(self._environ, headers))
        return headers

    def _names_file(self, name: str, value: str) -> bool:
        return name.lower() == "x-accel-redirect" and self._prefix in unquote(value)


def _describe(environ: Environ, headers: Headers) -> str:
    sizes = {name: 0 for name, _ in headers}
    for name, value in headers:
        sizes[name] += len(name) + len(value) + 4
    largest = max(sizes, key=sizes.__getitem__)
    request = f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')!r}"
    return (
        f"the headers of the response to {request} take {sum(sizes.values()):,} bytes, "
        f"{largest!r} alone {sizes[largest]:,}; allowed are {max_headers:,} in total"
    )
