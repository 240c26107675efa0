"""Turns off Werkzeug's debugger and Flask's debug mode, which an application may bring.

The debugger runs the code that a browser sends. This module changes the classes, so that it also
finds a debugger within another middleware, and an application that is created later.
"""

from types import ModuleType
from typing import Any

from docker_flask.worker.hooks.after_import import after_import

_IGNORED = "{} is ignored in production: use -d debug"
# What was ignored, in words for the log.
_found: set[str] = set()


def turn_off() -> None:
    """Change the classes now, or when the application imports them."""
    after_import("werkzeug.debug", _change_werkzeug)
    after_import("flask.app", _change_flask)


def report(application: Any) -> list[str]:
    """What was ignored while the application was loaded."""
    _ = getattr(application, "debug", None)  # DEBUG may be in its configuration
    return sorted(_found)


def _change_werkzeug(module: ModuleType) -> None:
    debugger: Any = module.DebuggedApplication
    init = debugger.__init__

    def noted(self: Any, *arguments: Any, **options: Any) -> None:
        _found.add(_IGNORED.format("Werkzeug's debugger (DebuggedApplication)"))
        init(self, *arguments, **options)

    def plain(self: Any, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)

    debugger.__init__, debugger.__call__, debugger.debug_application = noted, plain, plain


def _change_flask(module: ModuleType) -> None:
    def get(self: Any) -> bool:
        if self.config["DEBUG"]:
            put(self, True)
        return False

    def put(self: Any, value: bool) -> None:
        if value:
            _found.add(_IGNORED.format("app.debug"))
        self.config["DEBUG"] = False

    module.Flask.debug = property(get, put)
