"""Gunicorn, as the image runs it: `python -m docker_flask.worker.gunicorn_server OPTIONS`.

Runs in the application's Python. What a gunicorn.conf.py beside the application and
GUNICORN_CMD_ARGS say counts, hooks included, but for what the image decides. Settings:
https://docs.gunicorn.org/en/stable/settings.html
"""

from __future__ import annotations

import json
import os
import signal
import sys
from types import ModuleType
from typing import Any

from gunicorn.app.base import Application
from gunicorn.http.wsgi import Response
from gunicorn.workers.base import Worker

# Where the user's say nothing.
DEFAULTS: dict[str, Any] = {"loglevel": "warning", "proc_name": "docker-flask"}
# Whatever the user's say: Gunicorn's own default,
ITS_DEFAULT = (
    # because nginx is in front,
    *("certfile", "keyfile", "http_protocols", "proxy_protocol"),
    # because the supervisor watches the process and reloads the code,
    *("daemon", "pidfile", "reload"),
    # because it is not root any more,
    *("user", "group", "initgroups", "umask"),
    # and because of the socket.
    *("backlog", "reuse_port"),
)
# or this.
DECIDED: dict[str, Any] = {
    # Handed over as systemd does it (main): Gunicorn would remove the file of another socket.
    "bind": [],
    # Whether a connection serves more than one request is the image's decision (servers.py).
    "keepalive": 0,
    # nginx bounds what a request may be, and says where one comes from.
    "limit_request_line": 0,
    "limit_request_fields": 32768,
    "limit_request_field_size": 1 << 17,  # 0 would be 8 KB
    "permit_unconventional_http_method": True,
    "secure_scheme_headers": {},
    # The middleware of each worker measures and counts requests.
    "timeout": 0,
    "max_requests": 0,
    # Nothing is to be written below the user's home.
    "control_socket_disable": True,
}
# What settings of the image are made of (docker_flask/configuration/gunicorn_conf.py).
ASKED = ("workers", "threads", "worker_class", "timeout", "max_requests", "preload_app", "wsgi_app")


class Server(Application):  # type: ignore[misc]
    """Gunicorn with the options of the supervisor; None for those of the user alone."""

    def __init__(self, options: dict[str, Any] | None) -> None:
        self._options = options
        self._given: set[str] = set()
        self._file = ""
        self._snapshot = options.pop("config") if options else None
        super().__init__(prog="gunicorn")

    def init(self, parser: Any, opts: Any, args: Any) -> None:
        """Nothing is on the command line."""

    def load(self) -> Any:
        """The application, as every server of the image loads it."""
        from docker_flask.worker.wsgi import application

        return application

    def load_config(self) -> None:
        """Gunicorn's own way to do it, between what can be changed and what can't."""
        for name, value in DEFAULTS.items() if self._options is not None else ():
            self.cfg.set(name, value)
        super().load_config()
        if self._options is None:
            return
        settings = self.cfg.settings
        defaults = {name: settings[name].default for name in ITS_DEFAULT if name in settings}
        for name, value in {**defaults, **DECIDED, **self._options}.items():
            if name in settings:  # some are newer than others
                self.cfg.set(name, value)
        self._hook("when_ready", lambda server: ignore_term())
        self._hook("post_worker_init", outlive_master)

    def _hook(self, name: str, ours: Any) -> None:
        users = self.cfg.settings[name].get()

        def both(it: Any) -> None:
            users(it)
            ours(it)

        self.cfg.set(name, both)

    def get_config_from_filename(self, filename: str) -> Any:
        """The variables of a configuration file: as it was when the supervisor made its plan."""
        if self._options is None:
            self._file = os.path.abspath(filename)
            return super().get_config_from_filename(filename)
        module = ModuleType("__config__")
        module.__file__ = filename
        sys.modules[module.__name__] = module
        if self._snapshot:
            with open(self._snapshot) as file:
                exec(compile(file.read(), filename, "exec"), vars(module))
        return vars(module)

    def load_config_from_module_name_or_filename(self, location: str) -> Any:
        """Gunicorn's own way to read a file; notes what it sets."""
        found = super().load_config_from_module_name_or_filename(location)
        self._given |= found.keys() & self.cfg.settings.keys()
        return found

    def told(self) -> dict[str, Any]:
        """What the user sets, of what settings are made of and of what the image decides."""
        arguments = self.cfg.parser().parse_args(self.cfg.get_cmd_args_from_env())
        given = self._given | {name for name, value in vars(arguments).items() if value is not None}
        own = {*ITS_DEFAULT, *DECIDED} - {*ASKED}
        return {
            "settings": {name: self.cfg.settings[name].get() for name in ASKED if name in given},
            "own": sorted(given & own),
            "file": self._file,
        }


def ignore_term() -> None:
    """Leave the end of the master to the supervisor, which sends INT when nothing is in flight."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def outlive_master(worker: Any) -> None:
    """Let a worker whose master was killed answer what it has; one of class gevent would exit."""

    def notify() -> None:
        Worker.notify(worker)
        if worker.ppid != os.getppid():
            worker.alive = False

    worker.notify = notify


class Held:
    """Stands for a socket, and keeps what that is to send."""

    def __init__(self) -> None:
        self.data = b""

    def sendall(self, data: bytes) -> None:
        """Keep it."""
        self.data += data


def send_headers_with_body() -> None:
    """Have the headers of an answer leave with the first bytes of its body.

    nginx tries a request again if its worker dies before the headers, but could only cut short an
    answer whose worker dies between these two.
    """
    write = Response.write

    def write_at_once(response: Any, data: bytes) -> None:
        if response.headers_sent:
            write(response, data)
            return
        sock, held = response.sock, Held()
        response.sock = held
        try:
            write(response, data)
        finally:
            response.sock = sock
        sock.sendall(held.data)

    Response.write = write_at_once


def close_after_less() -> None:
    """Have a connection closed after an answer that is shorter than its headers say.

    Who reads it would wait for the rest, and take the next answer for that.
    """
    close = Response.close

    def close_if_less(response: Any) -> None:
        close(response)
        if response.sent < (response.response_length or 0):
            response.force_close()

    Response.close = close_if_less


def main() -> None:
    """Run the server, or with `--show` print what the user's files say, as JSON."""
    _, argument = sys.argv
    sys.argv[1:] = []
    if argument == "--show":
        print(json.dumps(Server(None).told(), default=str))
        return
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    send_headers_with_body()
    close_after_less()
    Server(json.loads(argument)).run()


if __name__ == "__main__":
    main()
