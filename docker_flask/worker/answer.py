"""How an answer goes through nginx: whole, as it is made, or as a file that nginx sends itself.

Which of these is known only when the application has returned the body, and by then it has called
`start_response`. So that call is held back, until there are the first bytes of the body: an error
before can still be answered as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from docker_flask.worker import sendfile
from docker_flask.worker.response_cache import Page, Pages
from docker_flask.worker.wsgi_types import Environ, Headers, StartResponse

# Bytes of all headers, as nginx.conf and app.ini let pass. uWSGI would cut the value of one that is
# longer, and more of them would be a 502.
MOST_HEADERS = 64 << 10


class HeadersTooLarge(Exception):
    """More headers than can be sent; says which of them is to blame, and what is allowed."""


class Answer:
    """One answer: gives the application a `start_response`, and the server what comes of it.

    prefix: of nginx's location for files, empty if workers are to send them; page: what nginx's
    cache is told of it, None if that has no say in it; pages: the table of all, if there is one;
    begun: the server has its status and headers.
    """

    __slots__ = (
        *("_body", "_environ", "_held", "_page", "_pages", "_prefix", "_push", "_start"),
        "begun",
    )

    def __init__(
        self,
        environ: Environ,
        start: StartResponse,
        prefix: str,
        page: Page | None = None,
        pages: Pages | None = None,
    ) -> None:
        environ["wsgi.file_wrapper"] = sendfile.File
        self._environ = environ
        self._start = start
        self._prefix = prefix
        self._page = page
        self._pages = pages
        self._held: tuple[str, Headers] | None = None
        self._body: Iterable[bytes] | None = None
        self._push: Callable[[bytes], Any] | None = None
        self.begun = False

    def start(self, status: str, headers: Headers, *exc_info: Any) -> Callable[..., Any]:
        """The application's `start_response`; the last one counts."""
        if self.begun:
            self._start(status, headers, *exc_info)  # refused by the server, in WSGI's words
        self._held = status, headers
        return self._write

    def take(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Take what the application returned; returns what is to be sent as the body."""
        self._body = body
        if self._held is None:
            return body
        status, headers = self._held
        page = self._page
        if page and page.known and (stand_in := page.stand_in(status)):
            self._start("200 OK", stand_in)
            self.begun = True
            return ()
        if self._prefix:
            of_file = sendfile.handed_over(self._prefix, self._environ, status, headers, body)
            if of_file is not None:
                self._start("200 OK", self._bounded(of_file))
                self.begun = True
                return ()
        return body

    def begin(self) -> None:
        """Give the server status and headers, if it has them not."""
        if self.begun:
            return
        if self._held is None:
            raise RuntimeError("the application has not called start_response")
        status, headers = self._held
        self._push = self._start(status, self._adjust(status, headers))
        self.begun = True

    def _write(self, data: bytes) -> None:
        """What `start_response` returns: WSGI's old way to send, before the body is returned."""
        self.begin()
        if self._push is not None:
            self._push(data)

    def _adjust(self, status: str, headers: Headers) -> Headers:
        names = {name.lower() for name, _ in headers}
        if "transfer-encoding" in names:
            # Of an answer that the application got from elsewhere and passes on. How this one is
            # sent is not its concern, and with a length beside it, nginx takes it for a fault.
            headers = [pair for pair in headers if pair[0].lower() != "transfer-encoding"]
        if "x-accel-expires" in names:
            # It would have nginx keep what docker_flask/worker/response_cache.py has not seen to.
            headers = [pair for pair in headers if pair[0].lower() != "x-accel-expires"]
        if self._page and "cache-control" in names:
            headers = [*headers, *self._page.answered(status, headers)]
        elif self._pages and "cache-control" in names:
            self._pages.notice(status, headers)
        if self._prefix and "x-accel-redirect" in names:
            # One that the application got from elsewhere and passes on: nginx would obey it.
            headers = [pair for pair in headers if not self._names_a_file(*pair)]
        if (
            "content-length" not in names
            and "x-accel-buffering" not in names
            and not isinstance(self._body, (list, tuple))
        ):
            # Made bit by bit, as events are: nginx is to pass each on at once.
            headers = [*headers, ("X-Accel-Buffering", "no")]
        return self._bounded(headers)

    def _bounded(self, headers: Headers) -> Headers:
        if sum([len(name) + len(value) + 4 for name, value in headers]) > MOST_HEADERS:
            raise HeadersTooLarge(_complaint(self._environ, headers))
        return headers

    def _names_a_file(self, name: str, value: str) -> bool:
        return name.lower() == "x-accel-redirect" and self._prefix in unquote(value)


def _complaint(environ: Environ, headers: Headers) -> str:
    sizes = {name: 0 for name, _ in headers}
    for name, value in headers:
        sizes[name] += len(name) + len(value) + 4
    largest = max(sizes, key=sizes.__getitem__)
    request = f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')!r}"
    return (
        f"the headers of the answer to {request} take {sum(sizes.values()):,} bytes, "
        f"{largest!r} alone {sizes[largest]:,}; allowed are {MOST_HEADERS:,} in all"
    )
