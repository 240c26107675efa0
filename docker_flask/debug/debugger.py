"""Werkzeug's debugger around the application."""

import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from werkzeug.debug import DebuggedApplication

from docker_flask.plan.settings import Settings
from docker_flask.worker.middleware import headers as header_rules
from docker_flask.worker.middleware import proxies
from docker_flask.worker.middleware.wsgi_types import Environ, Headers, StartResponse, Wsgi


class Debugger(DebuggedApplication):
    """The debugger; requests to trusted hosts may use its consoles."""

    def __init__(self, application: Wsgi, settings: Settings) -> None:
        # The debugger has to see the real host, before X-Forwarded-Host replaces it: a page that a
        # browser was lured to could send another name. TrustedProxies drops the headers of clients,
        # so it is here without trusted proxies, too.
        super().__init__(
            proxies.TrustedProxies(application, settings.trusted_proxies or ()),
            evalex=True,
            console_init_func=lambda: {"app": application},
            # debug/reloader.py has printed the PIN.
            pin_logging=False,
        )
        self.pin_logging = True  # Werkzeug prints the PIN again when a browser asks for it
        self.trusted_hosts = [*getattr(self, "trusted_hosts", []), *(settings.debug_hosts or ())]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # WebSocket libraries end a connection by an exception, which Werkzeug's server knows.
        if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            return self.app(environ, start_response)
        return super().__call__(environ, start_response)

    def debug_application(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        """If a response fails before its first byte, let the debugger's page replace it."""

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            # As in production (docker_flask/worker/middleware/exchange.py).
            headers, _ = header_rules.checked(status, headers)
            # Werkzeug's server accepts a second start only with the exception that was caught.
            caught = sys.exc_info()
            return start_response(status, headers, exc_info or (caught if caught[0] else None))

        yield from super().debug_application(environ, start)


def failing(error: BaseException, settings: Settings) -> Wsgi:
    """An application whose every response is the debugger's page about this error."""
    shown, trace = error, error.__traceback__  # each `raise` adds frames
    if not isinstance(error, Exception):  # the debugger does not handle SystemExit
        shown = RuntimeError(f"at import: {error!r}")
        for note in getattr(error, "__notes__", ()):
            shown.add_note(note)
    if settings.live_reload:
        shown.add_note("This page loads itself again after the next edit.")

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        __traceback_hide__ = True  # noqa: F841  # from the page: not the user's code
        raise shown.with_traceback(trace)

    debugger = Debugger(application, settings)

    def without_log(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # The log has shown the error once.
        return debugger({**environ, "wsgi.errors": io.StringIO()}, start_response)

    return without_log
