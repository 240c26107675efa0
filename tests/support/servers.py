"""The application servers, as the tests see them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import NoReturn

import pytest

from docker_flask.plan.packages import GEVENT_PIN, GUNICORN_GEVENT_PIN, GUNICORN_PIN

NOT_APPLICABLE = "does not apply to "


@dataclass(frozen=True)
class Server:
    """An application server as the tests see it: what its processes are called in `ps`.

    name: in the log; env: how it is chosen; packages: what the image does not have of it, and
    what gives its processes their names.
    """

    name: str
    master: str
    worker: str
    env: dict[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()

    @property
    def has_greenlets(self) -> bool:
        """True if its workers have no threads and take many requests all the same."""
        return self.env.get("WORKER_CLASS") == "gevent"

    def skip(self, why: str) -> NoReturn:
        """Skip a test that does not apply to this server; allowed where REQUIRE_ALL=1, too."""
        pytest.skip(f"{NOT_APPLICABLE}{self.name}: {why}")


TITLES = "setproctitle==1.3.7"
GUNICORN = Server(
    "Gunicorn",
    "gunicorn: master",
    "gunicorn: worker",
    {"APP_SERVER": "gunicorn", "WORKER_CLASS": "sync"},
    (GUNICORN_PIN, TITLES),
)
SERVERS = {
    "uwsgi": Server("uWSGI", "uWSGI master", "uWSGI worker"),
    "uwsgi-gevent": Server(
        "uWSGI", "uWSGI master", "uWSGI worker", {"WORKER_CLASS": "gevent"}, (GEVENT_PIN,)
    ),
    # Of an image that is built with APP_SERVER=gunicorn, which has no uWSGI.
    "gunicorn": replace(GUNICORN, env={}, packages=(TITLES,)),
    "gunicorn-sync": GUNICORN,
    "gunicorn-gthread": replace(GUNICORN, env=GUNICORN.env | {"WORKER_CLASS": "gthread"}),
    "gunicorn-gevent": replace(
        GUNICORN,
        env=GUNICORN.env | {"WORKER_CLASS": "gevent"},
        packages=(GUNICORN_GEVENT_PIN, TITLES),
    ),
}
# Where a test does not say which: `SERVER=gunicorn-sync make test TESTS=tests/image/test_http.py`.
CHOSEN = SERVERS[os.environ.get("SERVER", "uwsgi")]
