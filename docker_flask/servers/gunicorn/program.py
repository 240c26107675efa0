"""Gunicorn, as the image runs it: `python -m docker_flask.servers.gunicorn.program OPTIONS`.

The user's gunicorn.conf.py and GUNICORN_CMD_ARGS count, hooks included, except for the settings
that the image decides. Settings: https://docs.gunicorn.org/en/stable/settings.html
"""

import json
import logging
import os
import sys
from typing import Any

from gunicorn import glogging
from gunicorn.app.base import Application
from gunicorn.http import wsgi
from gunicorn.http.wsgi import Response
from gunicorn.util import import_app
from gunicorn.workers.base import Worker

# These always have Gunicorn's own default, whatever the user sets,
ITS_DEFAULT = (
    # because nginx is in front, and because the socket is inherited,
    "certfile",
    "keyfile",
    "reuse_port",
    # because the supervisor watches the process and reloads the code,
    "daemon",
    "pidfile",
    "reload",
    # and because the process is no longer root.
    "user",
    "group",
    "initgroups",
)
# And these always have this value.
DECIDED: dict[str, Any] = {
    # The socket is inherited as from systemd (main): Gunicorn would remove the file of another.
    "bind": [],
    # nginx opens a connection for each request.
    "protocol": "uwsgi",
    "keepalive": 0,
    # The middleware of each worker measures and counts requests.
    "timeout": 0,
    "max_requests": 0,
    # Write no file below the user's home.
    "control_socket_disable": True,
}


class Server(Application):  # type: ignore[misc]
    """Gunicorn with the options of the supervisor; None for the user's options alone."""

    def __init__(self, options: dict[str, Any] | None) -> None:
        self._options = options
        self._is_quiet = options.pop("is_quiet") if options else False
        self._given: set[str] = set()
        super().__init__(prog="gunicorn")

    def init(self, parser: Any, opts: Any, args: Any) -> None:
        """Read no command line."""

    def load(self) -> Any:
        """The application, as every server of the image loads it."""
        return import_app("docker_flask.worker.server.wsgi:application")

    def load_config(self) -> None:
        """Load the user's settings, then those that the image decides."""
        super().load_config()
        # The level stays Gunicorn's own: applications take it over (`app.logger.setLevel`).
        if self._is_quiet and self.cfg.loglevel == "info":
            logging.getLogger("gunicorn.error").addFilter(is_of_application)
        if self._options is None:
            return
        defaults = {name: self.cfg.settings[name].default for name in ITS_DEFAULT}
        for name, value in {**defaults, **DECIDED, **self._options}.items():
            self.cfg.set(name, value)
        users = self.cfg.post_worker_init

        def post_worker_init(worker: Any) -> None:
            users(worker)
            outlive_master(worker)

        self.cfg.set("post_worker_init", post_worker_init)

    def load_config_from_module_name_or_filename(self, location: str) -> Any:
        """Read the user's file, and note the names that it sets."""
        found = super().load_config_from_module_name_or_filename(location)
        self._given |= found.keys() & self.cfg.settings.keys()
        return found

    def users_settings(self) -> dict[str, Any]:
        """The user's settings, and the names of those that have no effect on Gunicorn."""
        arguments = self.cfg.parser().parse_args(self.cfg.get_cmd_args_from_env())
        given = self._given | {name for name, value in vars(arguments).items() if value is not None}
        return {
            "settings": {name: self.cfg.settings[name].get() for name in given - {"args"}},
            "decided": sorted(given & {*ITS_DEFAULT, *DECIDED, "backlog"}),
        }


def is_of_application(record: logging.LogRecord) -> bool:
    """False for what Gunicorn says about itself, apart from warnings and errors."""
    return record.levelno > logging.INFO or record.pathname != glogging.__file__


def outlive_master(worker: Any) -> None:
    """If the master was killed, let its workers complete their requests; gevent's would exit."""

    def notify() -> None:
        Worker.notify(worker)
        if worker.ppid != os.getppid():
            worker.alive = False

    worker.notify = notify


def create(
    req: Any, sock: Any, _client: Any, _server: Any, cfg: Any, *_more: Any
) -> tuple[Response, dict[str, Any]]:
    """Stands in for Gunicorn's function: the environment of WSGI as uWSGI makes it.

    Gunicorn's own makes headers of the variables, variables of these headers, and decodes the path
    a second time.
    """
    environ = {
        **wsgi.base_environ(cfg),
        "wsgi.input": req.body,
        "wsgi.url_scheme": req.uwsgi_vars.get("HTTP_X_FORWARDED_PROTO", req.scheme),
        "gunicorn.socket": sock,
        **req.uwsgi_vars,
    }
    del environ["wsgi.input_terminated"]
    return Answer(req, sock, cfg), environ


class Answer(Response):  # type: ignore[misc]
    """A response as uWSGI sends it."""

    _head = b""

    def start_response(self, status: str, headers: Any, _exc_info: Any = None) -> Any:
        """Take a status and headers that headers.py has checked; the last call counts."""
        self.status, self.headers = status, headers
        return self.write

    def send_headers(self) -> None:
        """Send the headers together with the first bytes of the body.

        If a worker dies before the headers, nginx retries the request. If a worker died between
        headers and body, nginx could only close the client's connection. nginx writes Date, Server
        and Connection itself.
        """
        if not self.headers_sent:
            lines = (f"{name}: {value}\r\n" for name, value in self.headers)
            self._head = f"HTTP/1.1 {self.status}\r\n{''.join(lines)}\r\n".encode("latin-1")
            self.headers_sent: bool = True

    def _emit_body(self, data: bytes) -> None:
        self.sock.sendall(self._head + data)
        self._head = b""

    def close(self) -> None:
        """End the response.

        Without a status, the application has taken the connection (web_sockets.py): Gunicorn must
        neither use nor shut down its socket.
        """
        if self.status is None:
            os.close(self.sock.detach())
            self.headers_sent = True
            return
        self.send_headers()
        if self._head:
            self._emit_body(b"")


def main() -> None:
    """Run the server, or with `--show` print the user's settings as JSON."""
    _, argument = sys.argv
    sys.argv[1:] = []
    if argument == "--show":
        print(json.dumps(Server(None).users_settings(), default=str))
        return
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    wsgi.create = create
    Server(json.loads(argument)).run()


if __name__ == "__main__":
    main()
