"""What was built on tiangolo/uwsgi-nginx-flask runs when only its FROM line changes.

docs/migrating.md says the same in words.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import (
    DEBUG,
    DEBUG_PORT,
    Derive,
    Engine,
    mounted,
    wait_for,
    write_files,
)
from tests.support.marks import at_night

REFUSED = 3.0  # seconds from the start to the end of what can't run, as promised
OWNER = os.getuid() or 1000  # of a folder that is not root's
MAIN = """
import os
import time

from flask import Flask, request, url_for

app = Flask(__name__)


@app.route("/")
def hello():
    return "hello from main"


@app.route("/env/<name>")
def env(name):
    return os.environ.get(name, "not set")


@app.route("/length", methods=["POST"])
def length():
    return str(len(request.get_data()))


@app.route("/sleep/<float:seconds>")
def sleep(seconds):
    time.sleep(seconds)
    return "awake"


@app.route("/who")
def who():
    return " ".join([request.remote_addr, request.host, url_for("hello", _external=True)])


if __name__ == "__main__":
    app.run(host="0.0.0.0", debug=True, port=80)
"""
# For root, in the folders of nginx's own packages, with the socket where their image has it.
NGINX = """user  nginx;
worker_processes  1;

error_log  /var/log/nginx/error.log warn;
pid        /var/run/nginx.pid;

events {
    worker_connections  512;
}

http {
    include       /etc/nginx/mime.types;
    default_type  application/octet-stream;
    log_format  main  '$remote_addr [$time_local] "$request" $status whole';
    access_log  /var/log/nginx/access.log  main;
    sendfile        on;
    keepalive_timeout  65;
    # LINE
    server {
        listen LISTEN;
        location / {
            try_files $uri @app;
        }
        location @app {
            include uwsgi_params;
            uwsgi_pass unix:///tmp/uwsgi.sock;
        }
        location /teapot {
            return 418 "short and stout";
        }
    }
}
daemon off;
"""


def whole(listen: str = "80", line: str = "") -> str:
    """A whole nginx.conf of the user's; line: one more in its http block."""
    return NGINX.replace("LISTEN", listen).replace("# LINE", line)


# --- images that are built on this one -------------------------------------------------------


SHOP = {
    "Dockerfile": """FROM THEIRS

ENV LISTEN_PORT 8080
EXPOSE 8080
ENV UWSGI_CHEAPER 2
ENV UWSGI_PROCESSES 5
ENV NGINX_MAX_UPLOAD 1m
ENV NGINX_WORKER_PROCESSES 2
ENV NGINX_WORKER_CONNECTIONS 2048
ENV NGINX_WORKER_OPEN_FILES 4096

COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=secret,id=ca \\
    if [ -r /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \\
 && pip install --no-cache-dir -r /tmp/requirements.txt
COPY headers.conf /etc/nginx/conf.d/headers.conf
COPY ./tools /tools
COPY ./app /app
""",
    "requirements.txt": "six==1.17.0\n",
    "headers.conf": "add_header X-Shop open always;\nkeepalive_timeout 300;\nsendfile off;\n",
    "tools/count.py": "from shop.stock import COUNT\nprint(COUNT)\n",
    "app/main.py": "import six\nfrom shop.stock import COUNT\n" + MAIN,
    "app/shop/__init__.py": "",
    "app/shop/stock.py": "COUNT = 42\n",
    "app/prestart.sh": "#! /usr/bin/env bash\r\necho preparing\r\nexport PREPARED=yes\r\n",
}


@pytest.mark.timeout(300)
def test_an_image_with_much_of_what_their_manual_shows(engine: Engine, derive: Derive) -> None:
    container = engine.run(image=derive(SHOP), ports={"8080/tcp": ("127.0.0.1", None)})
    answer = container.wait_until_serving(inside=8080)
    assert answer.text == "hello from main"
    assert answer.headers["X-Shop"] == "open"
    assert answer.headers["X-Request-ID"]
    assert container.get("/env/PREPARED", inside=8080).text == "yes", "prestart.sh is sourced"
    assert container.execute("python", "/tools/count.py", workdir="/") == (0, "42\n")
    text = container.shell("cat /run/docker-flask/nginx.conf")
    for line in ("worker_connections 2048;", "worker_rlimit_nofile 4096;"):
        assert line in text
    assert "client_max_body_size 1m;" in text
    assert len(container.pids("nginx: worker")) == 2
    log = container.logs()
    assert "serving main:app (the usual names in /app) on port 8080" in log
    assert "preparing" in log.splitlines()
    assert "open files" not in log
    assert "/etc/nginx/conf.d/headers.conf overrides the image's sendfile" in log


# The application in a folder of its own, without __init__.py in its package, which is named as the
# sample's module is; what is to run before it is left where their manual has it.
ELSEWHERE = {
    "Dockerfile": """FROM THEIRS
ENV UWSGI_INI /application/deploy/uwsgi.ini
ENV STATIC_URL /content
ENV STATIC_PATH /application/app/content
ENV STATIC_INDEX 1
COPY ./application /application
COPY ./prestart.sh /app/prestart.sh
WORKDIR /application
CMD ["/start.sh"]
""",
    "application/app/main.py": MAIN.replace("app = Flask", "site = Flask").replace(
        "@app.", "@site."
    ),
    "application/deploy/uwsgi.ini": "[uwsgi]\nmodule = app.main\ncallable = site\n",
    "application/app/content/index.html": "the front page\n",
    "application/app/content/words.txt": "words\n",
    "prestart.sh": 'export FOLDER="$(pwd)"\n',
}


@pytest.mark.timeout(200)
def test_application_elsewhere(engine: Engine, derive: Derive) -> None:
    container = engine.run(image=derive(ELSEWHERE))
    assert container.wait_until_serving().text == "the front page\n"
    assert container.get("/content/words.txt").text == "words\n"
    assert container.get("/env/FOLDER").text == "/application"
    found = "app.main:site (module='app.main' in /application/deploy/uwsgi.ini)"
    assert f"serving {found} on port 80" in container.logs()


WHOLE = {
    "Dockerfile": """FROM THEIRS
COPY ./app /app
COPY greeting.conf /etc/nginx/conf.d/
ENTRYPOINT ["/entrypoint.sh"]
CMD ["/start.sh"]
""",
    "app/main.py": MAIN,
    "app/uwsgi.ini": "[uwsgi]\nmodule = main\ncallable = app\n",
    "app/nginx.conf": whole("8080", "include conf.d/*.conf;"),
    "greeting.conf": "add_header X-Greeting hello;\n",
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "options",
    [
        {"user": "12345", "env": {"TLS_CERTIFICATE": "/none", "TLS_PORT": "80"}},
        *at_night({"read_only": True, "tmpfs": {"/tmp": ""}}),
    ],
)
def test_whole_nginx_conf(engine: Engine, derive: Derive, options: dict[str, Any]) -> None:
    tag = derive(WHOLE)
    container = engine.run(image=tag, ports={"8080/tcp": ("127.0.0.1", None)}, **options)
    answer = container.wait_until_serving(inside=8080)
    assert (answer.text, answer.headers["X-Greeting"]) == ("hello from main", "hello")
    assert container.get("/teapot", inside=8080).status_code == 418
    assert container.execute("docker-flask", "health") == (0, "")
    log = container.wait_for_log('"GET / HTTP/1.1" 200 whole')
    assert "docker-flask: using /app/nginx.conf; these settings are ignored: ACCESS_LOG, " in log
    assert "emerg" not in log
    with ThreadPoolExecutor() as pool:
        late = pool.submit(container.get, "/sleep/1.5", inside=8080)
        time.sleep(0.5)
        assert container.stop()[0] == 0
    assert late.result().text == "awake"


# --- the user's files for nginx --------------------------------------------------------------


@pytest.fixture
def app(app_folder: Path) -> Path:
    """A folder with their application."""
    return write_files(app_folder, {"main.py": MAIN})


SNIPPETS = {
    "/etc/nginx/conf.d/http.conf": "map $http_x_tea $tea { default black; ~. $http_x_tea; }\n",
    "/etc/nginx/server.d/server.conf": """
        add_header X-Tea $tea always;
        location = /robots.txt { return 200 "Disallow: /"; }
        location = /away { return 503; }
        location /other/ { include uwsgi_params; uwsgi_pass application; }
        error_page 404 502 504 /sorry.html;
        location = /sorry.html { internal; return 504 "sorry"; }
    """,
    "/etc/nginx/location.d/location.conf": 'if ($arg_secret) { return 403 "no"; }\n',
}


def test_snippets_at_three_levels(engine: Engine, app: Path, tmp_path: Path) -> None:
    env = {"REQUEST_TIMEOUT": "1"}
    container = engine.run(app=app, volumes=mounted(tmp_path, SNIPPETS), env=env)
    assert container.wait_until_serving().text == "hello from main"
    assert container.get("/").headers["X-Tea"] == "black"
    assert container.get("/").headers["X-Request-ID"]
    assert container.get("/", headers={"X-Tea": "green"}).headers["X-Tea"] == "green"
    assert container.get("/robots.txt").text == "Disallow: /"
    assert "The server is not available." in container.get("/away").text
    assert container.get("/other/").status_code == 404, "the application's, not nginx's"
    assert container.get("/?secret=1").status_code == 403
    assert container.get("/sleep/3.0").text == "sorry"


def test_a_server_of_the_user_beside_ours(engine: Engine, app: Path, tmp_path: Path) -> None:
    """It does not have what ours does for the application, such as sending its files."""
    file = "\n\n@app.route('/file')\ndef file():\n    from flask import send_file\n"
    write_files(app, {"main.py": f"{MAIN}{file}    return send_file('/app/words.txt')\n"})
    write_files(app, {"words.txt": "words\n"})
    server = """server {
        listen 80;
        server_name shop.example;
        location / { include uwsgi_params; uwsgi_pass unix:///tmp/uwsgi.sock; }
    }
    """
    volumes = mounted(tmp_path, {"/etc/nginx/conf.d/shop.conf": server})
    container = engine.serve(app=app, volumes=volumes)
    assert container.get("/file", headers={"Host": "shop.example"}).text == "words\n"


HTTP, LOCATION = "/etc/nginx/conf.d/bad.conf", "/etc/nginx/location.d/bad.conf"
ON_OR_OFF = 'invalid value "perhaps" in "gzip" directive, it must be "on" or "off"'


@pytest.mark.timed
@pytest.mark.parametrize(
    ("file", "line", "text", "complaint"),
    [
        (HTTP, 2, "# one\nclient_max_bodysize 1m;\n", 'unknown directive "client_max_bodysize"'),
        (LOCATION, 3, "\n\nallow everybody;\n", 'invalid parameter "everybody"'),
        ("/app/nginx.conf", 18, whole(line="gzip perhaps;"), ON_OR_OFF),
    ],
    ids=["http", "location", "whole"],
)
def test_what_nginx_refuses_ends_the_start(
    engine: Engine, app: Path, tmp_path: Path, file: str, line: int, text: str, complaint: str
) -> None:
    container = engine.run(app=app, volumes=mounted(tmp_path, {file: text}))
    code, _, err = container.finish()
    said = f"nginx rejects its configuration: {complaint} in {file}:{line}"
    assert (code, err.splitlines()[-1]) == (78, f"docker-flask: {said}")
    assert container.lifetime() <= REFUSED


# --- what is to run before the application ---------------------------------------------------


OWN_TRAP = "trap 'echo done' EXIT; exec 3> /tmp/report"


def test_prestart_in_debug_mode(engine: Engine, app: Path) -> None:
    """Once, as whom the application runs as, which sees its exports; the settings do, too."""
    lines = [
        'export GREETING="good day"',
        "export WERKZEUG_DEBUG_PIN=271-828-182",
        "unset HOSTNAME",
        "id -u >> /app/ran",
    ]
    write_files(app, {"prestart.sh": "\n".join(lines)})
    if os.getuid() == 0:
        for path in (app, *app.iterdir()):
            os.chown(path, OWNER, OWNER)
    container = engine.serve(DEBUG, app=app, env={"GREETING": "none"})

    def env(name: str) -> str:
        return container.get(f"/env/{name}", inside=DEBUG_PORT).text

    assert [env("GREETING"), env("HOSTNAME")] == ["good day", "not set"]
    assert "debugger PIN: 271-828-182" in container.logs()
    write_files(app, {"main.py": MAIN.replace("hello from", "again from")})
    wait_for(lambda: "again" in container.get(inside=DEBUG_PORT).text, 10, "the edit")
    assert env("GREETING") == "good day"
    assert (app / "ran").read_text() == f"{OWNER}\n"


@pytest.mark.parametrize(
    ("mode", "port", "line"),
    [
        ([], 80, "exit 0"),
        (DEBUG, DEBUG_PORT, OWN_TRAP),
        *at_night(([], 80, OWN_TRAP), (DEBUG, DEBUG_PORT, "exit 0")),
    ],
)
def test_prestart_as_people_write_it(
    engine: Engine, app: Path, mode: list[str], port: int, line: str
) -> None:
    """It may end, and have a trap and descriptors of its own; nothing can be written beside it."""
    write_files(app, {"prestart.sh": f"export GREETING=hello\n{line}\n"})
    read_only = {str(app): {"bind": "/app", "mode": "ro"}}
    container = engine.serve(mode, volumes=read_only, read_only=True, tmpfs={"/tmp": ""})
    assert container.get("/env/GREETING", inside=port).text == "hello"


def test_reload_takes_changed_snippets(engine: Engine, app: Path, tmp_path: Path) -> None:
    """A bad one changes nothing, and nginx stays the same process."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    snippet = folder / "tea.conf"
    snippet.write_text("add_header X-Tea black;\n")
    volumes = {str(folder): {"bind": "/etc/nginx/conf.d", "mode": "ro"}}
    container = engine.serve(app=app, volumes=volumes)
    master = container.pids("nginx: master")

    def tea() -> str:
        return container.get().headers["X-Tea"]

    assert tea() == "black"
    snippet.write_text("add_header X-Tea green;\n")
    container.reload()
    wait_for(lambda: tea() == "green", 5, "the new header")
    assert container.pids("nginx: master") == master
    snippet.write_text("add_header X-Tea white;\nclient_max_body_size much;\n")
    code, out = container.execute("docker-flask", "reload")
    assert (code, "in /etc/nginx/conf.d/tea.conf:2" in out) == (1, True), out
    assert "keeping the previous generation" in out
    assert tea() == "green"
    assert container.stop()[0] == 0


def test_whole_nginx_conf_without_a_place_for_the_socket(engine: Engine, app: Path) -> None:
    write_files(app, {"nginx.conf": whole()})
    _, _, err = engine.run(app=app, read_only=True).finish()
    for words in ("/tmp/uwsgi.sock", "Read-only file system", "--tmpfs /tmp"):
        assert words in err.splitlines()[-1]


# --- the user's options for uWSGI ------------------------------------------------------------

OPTIONS = """[uwsgi]
# As for another image.
base = /app
module = main
callable = app
pythonpath = %(base)/lib
master = true
socket = /tmp/uwsgi.sock
chmod-socket = 664
uid = nginx
die-on-term = true
vacuum = true
processes = 3
threads = 2
harakiri = 1
env = GREETING=100%% %(base) on %n
attach-daemon = sleep 12345
stats = /tmp/stats.sock
"""


def test_options_of_uwsgi_ini(engine: Engine, app: Path) -> None:
    write_files(app, {"uwsgi.ini": OPTIONS})
    container = engine.serve(app=app)
    assert container.get("/env/GREETING").text == "100% /app on uwsgi"
    wait_for(lambda: len(container.pids("sleep 12345")) == 1, 5, "the attached daemon")
    assert container.get("/sleep/4.0").status_code == 504
    found = container.settings()
    assert found["WEB_CONCURRENCY"] == ["3", "processes in /app/uwsgi.ini"]
    assert found["THREADS"] == ["2", "threads in /app/uwsgi.ini"]
    assert found["REQUEST_TIMEOUT"] == ["1", "harakiri in /app/uwsgi.ini"]
    wait_for(lambda: len(container.pids("uWSGI worker")) == 3, 10, "three workers")
    said = "because the image sets them: master, socket, chmod-socket, uid, "
    assert container.logs().count(f"{said}die-on-term, vacuum") == 1
    container.reload()
