"""Who takes part in `make bench`: this image, its variants, its peers, and the limits.

A variant of this image is one line: a name and the settings that make it. It is left out, and the
report says so, as long as the image does not have these settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import peer_images
from docker_flask.configuration.packages import GEVENT_PIN, GUNICORN_GEVENT_PIN
from tests.support.harness import docker_client, image_with

ROOT = Path(__file__).parents[1]

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


@dataclass(frozen=True)
class Contestant:
    """One way of serving the application.

    name: in the report; how: in its words; peer: a folder of peers/, None for this image;
    kind: "ours" (with its variants), "peer" or "limit"; options: of Engine.run; four: those that
    give it four workers, None where nothing does; rows: the only ones it takes part in, if not in
    all; loop: it has no server, and calls the application itself; packages: what this image does
    not have of it.
    """

    name: str
    how: str
    peer: str | None = None
    kind: str = "peer"
    options: dict[str, Any] = field(default_factory=dict)
    four: dict[str, Any] | None = None
    rows: tuple[str, ...] = ()
    loop: bool = False
    packages: tuple[str, ...] = ()

    def image(self) -> str:
        """Its image, which is built where it is a peer's."""
        return image_with(*self.packages) if self.peer is None else peer_images.build(self.peer)

    def missing(self) -> str:
        """Why it can't take part yet, or nothing: this image does not have its settings."""
        env = self.options.get("env", {}) if self.kind == "ours" else {}
        if not env:
            return ""
        words = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
        asked = docker_client("run", "--rm", *words, self.image(), "settings")
        if asked.returncode:
            return asked.stderr.strip()
        known = {line.split()[0] for line in asked.stdout.splitlines() if line.strip()}
        lacking = sorted(set(env) - known)
        return f"no setting {', '.join(lacking)}" if lacking else ""


def ours(name: str, how: str, *rows: str, packages: tuple[str, ...] = (), **env: str) -> Contestant:
    """A variant of this image."""
    four = {"env": {"WEB_CONCURRENCY": "4"}}
    return Contestant(
        name, how, kind="ours", options={"env": env}, four=four, rows=rows, packages=packages
    )


def gunicorn(*options: str) -> dict[str, Any]:
    """A command of its own for an image of gunicorn's."""
    return {"command": ["gunicorn", *options, "-b", "0.0.0.0:80", "app:app"]}


NGINX_WITH_LOG = (
    "sed 's|access_log off|access_log /dev/stdout|' /app/nginx-alone.conf >/tmp/nginx.conf && "
    "exec nginx -c /tmp/nginx.conf"
)
MEMORY = "8 memory"
CONTESTANTS = [
    ours("ours", "as `docker run` starts it"),
    ours("ours, no access log", "`ACCESS_LOG=0`", "1 hello", "5 static", "6 page", ACCESS_LOG="0"),
    ours("ours, threads", "`THREADS=8`", "1 hello", "4 block", THREADS="8"),
    ours(
        "ours, gevent",
        "`WORKER_CLASS=gevent`",
        *("1 hello", "4 block"),
        packages=(GEVENT_PIN,),
        WORKER_CLASS="gevent",
    ),
    ours(
        "ours, gunicorn gevent",
        "`APP_SERVER=gunicorn WORKER_CLASS=gevent WEB_CONCURRENCY=5`",
        *("1 hello", "4 block"),
        packages=(GUNICORN_GEVENT_PIN,),
        APP_SERVER="gunicorn",
        WORKER_CLASS="gevent",
        WEB_CONCURRENCY="5",
    ),
    ours("ours, no cache", "`RESPONSE_CACHE=off`", *("1 hello", "6 page"), RESPONSE_CACHE="off"),
    ours("ours, preload", "`PRELOAD=1`", MEMORY, "9 start", PRELOAD="1"),
    Contestant("tutorial", "nginx and apt's uWSGI, 4 processes of 2 threads", "tutorial", four={}),
    Contestant(
        "gunicorn gevent",
        "5 workers",
        "gunicorn-gevent",
        four=gunicorn("-k", "gevent", "-w", "4"),
    ),
    Contestant(
        "gunicorn gthread",
        "5 workers of 4 threads",
        "gunicorn-gthread",
        four={"env": {"WEB_CONCURRENCY": "4"}},
    ),
    Contestant(
        "gunicorn gthread, preload",
        "the same with `--preload`",
        "gunicorn-gthread",
        four=gunicorn("--threads", "4", "-w", "4", "--preload"),
        rows=(MEMORY,),
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
        "limit: nginx alone",
        "answers by itself, writes no log",
        kind="limit",
        options={"command": ["nginx", "-c", "/app/nginx-alone.conf"]},
        rows=("1 hello", "5 static", "6 page", "7 file"),
    ),
    Contestant(
        "limit: nginx with a log",
        "the same, with an access log on its standard output, as nginx's own image has it",
        kind="limit",
        options={"command": ["bash", "-c", NGINX_WITH_LOG]},
        rows=("5 static", "6 page"),
    ),
    Contestant(
        "limit: Flask in a loop",
        "called without any server, on one CPU",
        kind="limit",
        options={"command": ["sleep", "infinity"]},
        rows=("1 hello", "3 answers", "6 page"),
        loop=True,
    ),
]


def versions(image: str) -> str:
    """What an image is made of."""
    asked = docker_client("run", "--rm", "-i", "--entrypoint", "bash", image, "-c", VERSIONS)
    return " ".join(asked.stdout.split()).replace(" ,", ",") or asked.stderr.strip()
