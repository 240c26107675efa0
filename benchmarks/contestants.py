"""Who takes part in `make bench`: this image, its variants, its peers, and the limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.common import build_peer
from docker_flask.plan.packages import GEVENT_PIN, GUNICORN_GEVENT_PIN
from tests.support.harness import docker_client, image_with

# What the report says of each image's parts: distributions of Python's, and two programs.
VERSIONS = r"""
python3 - <<'PYTHON'
import importlib.metadata as metadata, platform
wanted = "flask werkzeug gunicorn gevent granian waitress uwsgi".split()
found = {d.name.lower(): d.version for d in metadata.distributions()}
print("Python", platform.python_version(), *(f", {n} {found[n]}" for n in wanted if n in found))
PYTHON
if command -v uwsgi >/dev/null; then echo ", uWSGI $(uwsgi --version)"; fi
if command -v nginx >/dev/null; then echo ", nginx $(nginx -v 2>&1 | sed 's|.*/||')"; fi
"""


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way of serving the application.

    how: in the report; peer: a folder of peers/, None for this image; options: of Engine.run; four:
    those that give it four workers, None where nothing does; rows: the only ones it takes part in,
    if not in all; packages: those that this image does not have.
    """

    name: str
    how: str
    peer: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    four: dict[str, Any] | None = None
    rows: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def image(self) -> str:
        """Its image, which is built where it is a peer's."""
        return image_with(*self.packages) if self.peer is None else build_peer(self.peer)


def ours(name: str, how: str, *rows: str, packages: tuple[str, ...] = (), **env: str) -> Contestant:
    """A variant of this image."""
    four = {"env": {"WEB_CONCURRENCY": "4"}}
    return Contestant(name, how, options={"env": env}, four=four, rows=rows, packages=packages)


# Views that wait: their paths, and numbers of connections.
LOADS = {
    "50 ms, 256": ("/wait/50", 256),
    "5 ms, 256": ("/wait/5", 256),
    "50 ms, 16": ("/wait/50", 16),
    "500 ms, 1000": ("/wait/500", 1000),
    "20 ms and 2 ms of work, 64": ("/mixed", 64),
}
WAITS = tuple(f"waits {load}" for load in LOADS)
# What the image itself may cost is judged by this one.
BARE_PAIR, PAIR = "limit: bare pair", "/app/bare-pair"
CONTESTANTS = [
    ours("ours", "as `docker run` starts it"),
    ours("ours, no access log", "`ACCESS_LOG=0`", "hello", "static", ACCESS_LOG="0"),
    ours("ours, response cache", "`RESPONSE_CACHE=64m`", "page", RESPONSE_CACHE="64m"),
    ours(
        "ours, response cache, no access log",
        "`RESPONSE_CACHE=64m ACCESS_LOG=0`",
        "page",
        RESPONSE_CACHE="64m",
        ACCESS_LOG="0",
    ),
    ours("ours, threads", "`THREADS=8`", "hello", *WAITS, THREADS="8"),
    ours(
        "ours, gevent",
        "`WORKER_CLASS=gevent`",
        "hello",
        *WAITS,
        packages=(GEVENT_PIN,),
        WORKER_CLASS="gevent",
    ),
    ours(
        "ours, gunicorn gevent",
        "`APP_SERVER=gunicorn WORKER_CLASS=gevent WEB_CONCURRENCY=5`",
        "hello",
        *WAITS,
        packages=(GUNICORN_GEVENT_PIN,),
        APP_SERVER="gunicorn",
        WORKER_CLASS="gevent",
        WEB_CONCURRENCY="5",
    ),
    ours("ours, preload", "`PRELOAD=1`", "memory", PRELOAD="1"),
    Contestant("tutorial", "nginx and apt's uWSGI, 4 processes of 2 threads", "tutorial", four={}),
    Contestant(
        "gunicorn gevent",
        "5 workers",
        "gunicorn-gevent",
        four={"command": ["gunicorn", "-k", "gevent", "-w", "4", "-b", "0.0.0.0:80", "app:app"]},
    ),
    Contestant(
        "gunicorn gthread",
        "5 workers of 4 threads",
        "gunicorn-gthread",
        four={"env": {"WEB_CONCURRENCY": "4"}},
    ),
    Contestant(
        "gunicorn gthread 2 x 32",
        "2 workers of 32 threads",
        "gunicorn-gthread",
        options={
            "command": ["gunicorn", "-w", "2", "--threads", "32", "-b", "0.0.0.0:80", "app:app"]
        },
        rows=WAITS,
    ),
    Contestant(
        "gunicorn behind nginx",
        "5 plain workers; nginx serves `/static`",
        "gunicorn-nginx",
        four={"env": {"WEB_CONCURRENCY": "4"}},
    ),
    Contestant("granian", "2 workers", "granian", four={"env": {"GRANIAN_WORKERS": "4"}}),
    Contestant("waitress", "1 process of 4 threads", "waitress"),
    Contestant(
        "Flask's development server",
        "1 process, a thread for each connection",
        "flask-development",
    ),
    Contestant(
        "uwsgi-nginx-flask",
        "in its manner: supervisord, nginx, which serves `/static`, uWSGI of 2 to 16 processes",
        "uwsgi-nginx-flask",
        four={"env": {"UWSGI_PROCESSES": "4", "UWSGI_CHEAPER": "0"}},
    ),
    Contestant(
        BARE_PAIR,
        "this image's nginx and uWSGI with a few lines of configuration, 2 processes, no log",
        options={"command": ["bash", "-c", f"nginx -c {PAIR}.conf && exec uwsgi {PAIR}.ini"]},
        rows=("hello",),
    ),
    Contestant(
        "limit: nginx alone",
        "answers by itself, writes no log",
        options={"command": ["nginx", "-c", "/app/nginx-alone.conf"]},
        rows=("hello", "static", "page", "file"),
    ),
]


def versions(image: str) -> str:
    """What an image is made of."""
    asked = docker_client("run", "--rm", "-i", "--entrypoint", "bash", image, "-c", VERSIONS)
    return " ".join(asked.stdout.split()).replace(" ,", ",") or asked.stderr.strip()
