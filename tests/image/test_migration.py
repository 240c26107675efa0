"""What was built on tiangolo/uwsgi-nginx-flask runs when only its FROM line changes.

docs/migrating-from-tiangolo.md says the same in words.
"""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker.types
import httpx
import pytest

from docker_flask.configuration import nginx_syntax
from tests.support.harness import (
    DEBUG,
    DEBUG_PORT,
    Container,
    Derive,
    Engine,
    wait_for,
    write_files,
)
from tests.support.marks import at_night

BAD_SETTING = 78
REFUSED = 3.0  # seconds from the start to the end of what can't run, as promised
OWNER = os.getuid() or 1000  # of a folder that is not root's
STOP = 2.0  # seconds until debug mode has ended, as promised
PRODUCTION: list[str] = []

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
INI = "[uwsgi]\nmodule = main\ncallable = app\n"
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


@pytest.fixture(scope="module")
def shop(module_engine: Engine, derive: Derive) -> Container:
    """A container of an image with much of what their manual shows."""
    container = module_engine.run(image=derive(SHOP), ports={"8080/tcp": ("127.0.0.1", None)})
    container.wait_until_serving(inside=8080)
    return container


@pytest.mark.timeout(300)
def test_main_py_is_served_after_prestart(shop: Container) -> None:
    assert shop.get("/", inside=8080).text == "hello from main"
    assert "serving main:app (the usual names in /app) on port 8080" in shop.logs()
    assert shop.get("/env/PREPARED", inside=8080).text == "yes", "prestart.sh is sourced"
    assert "preparing" in shop.logs().splitlines()
    assert shop.execute("python", "/tools/count.py", workdir="/") == (0, "42\n")


def test_settings_and_snippets_of_nginx(shop: Container) -> None:
    text = shop.shell("cat /run/docker-flask/nginx.conf")
    for line in ("worker_processes 2;", "worker_connections 2048;", "worker_rlimit_nofile 4096;"):
        assert line in text
    assert "client_max_body_size 1m;" in text
    assert len(shop.pids("nginx: worker")) == 2
    assert "open files" not in shop.logs()
    answer = shop.get("/", inside=8080)
    assert answer.headers["X-Shop"] == "open"
    assert answer.headers["X-Request-ID"]
    assert "/etc/nginx/conf.d/headers.conf overrides the image's sendfile" in shop.logs()


@pytest.mark.nightly
def test_fewest_workers_first_and_more_as_they_are_needed(shop: Container) -> None:
    assert len(shop.pids("uWSGI worker")) == 2
    url = shop.url("/sleep/6.0", inside=8080)
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(httpx.get, url, timeout=30) for _ in range(3)]
        wait_for(lambda: len(shop.pids("uWSGI worker")) > 2, 15, "another worker")
    assert [answer.result().text for answer in answers] == ["awake"] * 3
    wait_for(lambda: len(shop.pids("uWSGI worker")) == 2, 30, "it to go")


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
    log = container.logs()
    assert "serving app.main:site (module in /application/deploy/uwsgi.ini) on port 80" in log


WHOLE = {
    "Dockerfile": """FROM THEIRS
COPY ./app /app
COPY greeting.conf /etc/nginx/conf.d/
ENTRYPOINT ["/entrypoint.sh"]
CMD ["/start.sh"]
""",
    "app/main.py": MAIN,
    "app/uwsgi.ini": INI,
    "app/nginx.conf": whole("8080", "include conf.d/*.conf;"),
    "greeting.conf": "add_header X-Greeting hello;\n",
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "options",
    [
        {"user": "12345"},
        *at_night({}, {"read_only": True, "tmpfs": {"/tmp": ""}}),
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


def mounted(folder: Path, files: dict[str, str]) -> dict[str, dict[str, str]]:
    """Volumes with these files of the container."""
    volumes = {}
    for number, (name, text) in enumerate(files.items()):
        path = folder / str(number)
        path.write_text(text)
        path.chmod(0o644)
        volumes[str(path)] = {"bind": name, "mode": "ro"}
    return volumes


SNIPPETS = {
    "/etc/nginx/conf.d/http.conf": "map $http_x_tea $tea { default black; ~. $http_x_tea; }\n",
    "/etc/nginx/server.d/server.conf": """
        add_header X-Tea $tea always;
        location = /robots.txt { return 200 "Disallow: /"; }
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
    assert container.get("/other/").status_code == 404, "the application's, not nginx's"
    assert container.get("/?secret=1").status_code == 403
    assert container.get("/sleep/3.0").text == "sorry"


def test_a_server_of_the_user_beside_ours(engine: Engine, app: Path, tmp_path: Path) -> None:
    """It has not what ours does for the application, such as sending its files."""
    file = "\n\n@app.route('/file')\ndef file():\n    from flask import send_file\n"
    write_files(app, {"main.py": f"{MAIN}{file}    return send_file('/app/words.txt')\n"})
    write_files(app, {"words.txt": "words\n"})
    server = """server {
        listen 80;
        server_name shop.example;
        location / { include uwsgi_params; uwsgi_pass unix:///tmp/uwsgi.sock; }
    }
    server { listen 80 default_server; return 421; }
    """
    volumes = mounted(tmp_path, {"/etc/nginx/conf.d/shop.conf": server})
    container = engine.run(app=app, volumes=volumes)
    container.wait_until_serving(status=421)
    shop = {"Host": "shop.example"}
    assert container.get("/", headers=shop).text == "hello from main"
    assert container.get("/file", headers=shop).text == "words\n"


def refused(container: Container, complaint: str, code: int = BAD_SETTING) -> str:
    """Check how a container that can't run has ended; returns its last line.

    The line is of stderr, because the engine does not keep the order of two streams.
    """
    found, _, err = container.finish()
    last = err.splitlines()[-1]
    assert last.startswith(f"docker-flask: {complaint}")
    assert found == code
    assert container.lifetime() <= REFUSED
    return last


HTTP, SERVER, LOCATION = (
    f"/etc/nginx/{name}.d/bad.conf" for name in ("conf", "server", "location")
)
ON_OR_OFF = 'invalid value "perhaps" in "gzip" directive, it must be "on" or "off"'


@pytest.mark.timed
@pytest.mark.parametrize(
    ("file", "line", "text", "complaint"),
    [
        (HTTP, 2, "# one\nclient_max_bodysize 1m;\n", 'unknown directive "client_max_bodysize"'),
        (SERVER, 1, "location / { return 204; }\n", 'duplicate location "/"'),
        (LOCATION, 3, "\n\nallow everybody;\n", 'invalid parameter "everybody"'),
        (HTTP, 2, "server {\n", 'unexpected end of file, expecting "}"'),
        ("/app/nginx.conf", 18, whole(line="gzip perhaps;"), ON_OR_OFF),
        ("/app/nginx.conf", 1, "server {\n}\n", '"server" directive is not allowed here'),
    ],
    ids=["http", "server", "location", "half a file", "whole", "not whole"],
)
def test_what_nginx_refuses_ends_the_start(
    engine: Engine, app: Path, tmp_path: Path, file: str, line: int, text: str, complaint: str
) -> None:
    container = engine.run(app=app, volumes=mounted(tmp_path, {file: text}))
    said = f"nginx rejects its configuration: {complaint} in {file}:{line}"
    assert refused(container, said) == f"docker-flask: {said}"


# --- what is to run before the application ---------------------------------------------------

both_modes = pytest.mark.parametrize("mode", [PRODUCTION, DEBUG], ids=["production", "debug"])


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_prestart_in_debug_mode(engine: Engine, app: Path, end: str) -> None:
    """Once, as whom the application runs as, which sees its exports; the settings do, too."""
    lines = [
        'export GREETING="good day"',
        "export WERKZEUG_DEBUG_PIN=271-828-182",
        "unset HOSTNAME",
        "id -u >> /app/ran",
        "",
    ]
    write_files(app, {"prestart.sh": end.join(lines)})
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


@both_modes
@pytest.mark.parametrize(
    "script",
    [
        "export GREETING=hello\nexit 0\n",
        "trap 'echo done' EXIT\nexport GREETING=hello\n",
        "exec 3> /tmp/report\nexport GREETING=hello\necho three >&3\n",
    ],
    ids=["exit", "trap", "descriptor"],
)
def test_prestart_as_people_write_it(
    engine: Engine, app: Path, mode: list[str], script: str
) -> None:
    write_files(app, {"prestart.sh": script})
    read_only = {"volumes": {str(app): {"bind": "/app", "mode": "ro"}}, "read_only": True}
    options: dict[str, Any] = {"app": app} if "/tmp" in script else read_only
    container = engine.serve(mode, **options)
    port = DEBUG_PORT if mode else 80
    assert container.get("/env/GREETING", inside=port).text == "hello"


@pytest.mark.timed
@pytest.mark.parametrize(
    ("script", "expected", "words"),
    [
        ("echo migrating\nfalse\necho more\n", 1, "prestart.sh exited with code 1; the app"),
        ("exit 7\n", 7, "prestart.sh exited with code 7; the application does not start"),
        ("kill -KILL $$\n", 70, "prestart.sh was killed by SIGKILL; the application does not"),
        ("export DEBUG_HOSTS=a/b\n", BAD_SETTING, "DEBUG_HOSTS='a/b' is not allowed"),
    ],
)
def test_a_failing_prestart_ends_debug_mode(
    engine: Engine, app: Path, script: str, expected: int, words: str
) -> None:
    write_files(app, {"prestart.sh": script})
    refused(engine.run(DEBUG, app=app), words, expected)


@both_modes
def test_a_prestart_that_may_not_be_read(engine: Engine, app: Path, mode: list[str]) -> None:
    """It is not passed over."""
    write_files(app, {"prestart.sh": "export GREETING=hello\n"})
    (app / "prestart.sh").chmod(0)
    container = engine.run(mode, app=app, user="12345")
    refused(container, "prestart.sh exited with code 1", 1)
    assert "Permission denied" in container.logs()


@pytest.mark.timed
@pytest.mark.parametrize(("number", "expected"), [("TERM", 0), ("INT", 130)])
def test_debug_mode_stops_during_prestart(
    engine: Engine, app: Path, number: str, expected: int
) -> None:
    write_files(app, {"prestart.sh": "echo preparing\nsleep 60\n"})
    container = engine.run(DEBUG, app=app)
    container.wait_for_log("preparing")
    begun = time.monotonic()
    container.docker.kill(number)
    assert container.wait_for_exit() == expected
    assert time.monotonic() - begun <= STOP
    assert "not for production" not in container.logs(), "it has not started"


@pytest.mark.nightly
def test_every_directive_of_ours_gives_way(engine: Engine, app: Path, tmp_path: Path) -> None:
    """At http level, where nginx would call a second one a duplicate."""
    first = engine.serve(app=app)
    _, text = first.execute("cat", "/run/docker-flask/nginx.conf")
    ours = {
        directive.name: text[directive.begin : directive.end]
        for directive in nginx_syntax.directives(text)
        if directive.blocks == ("http",) and not directive.is_block
    }
    # Nobody would repeat these as they are.
    for name in ("include", "limit_conn", "limit_conn_zone", "log_format"):
        ours.pop(name, None)
    # With one of these, all of the cache is the user's.
    ours = {name: text for name, text in ours.items() if not re.match("uwsgi_(no_)?cache", name)}
    assert len(ours) > 20
    snippet = {"/etc/nginx/conf.d/again.conf": "\n".join(ours.values())}
    second = engine.run(app=app, volumes=mounted(tmp_path, snippet))
    assert second.wait_until_serving().text == "hello from main"


@pytest.fixture
def snippets(tmp_path: Path) -> Path:
    """A folder to mount at /etc/nginx/conf.d."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    return folder


def test_reload_takes_changed_snippets(engine: Engine, app: Path, snippets: Path) -> None:
    """A bad one changes nothing, and nginx stays the same process."""
    snippet = snippets / "tea.conf"
    snippet.write_text("add_header X-Tea black;\n")
    volumes = {str(snippets): {"bind": "/etc/nginx/conf.d", "mode": "ro"}}
    container = engine.serve(app=app, volumes=volumes)
    master = container.pids("nginx: master")

    def tea() -> str:
        return container.get().headers["X-Tea"]

    assert tea() == "black"
    snippet.write_text("add_header X-Tea green;\n")
    container.reload()
    wait_for(lambda: tea() == "green", 5, "the new header")
    snippet.write_text("add_header X-Tea white;\nclient_max_body_size much;\n")
    code, out = container.execute("docker-flask", "reload")
    assert (code, "in /etc/nginx/conf.d/tea.conf:2" in out) == (1, True), out
    assert "keeping the previous generation" in out
    container.docker.kill("HUP")
    wait_for(lambda: container.logs().count("tea.conf:2") == 2, 10, "the second complaint")
    assert tea() == "green"
    snippet.unlink()
    container.reload()
    wait_for(lambda: "X-Tea" not in container.get().headers, 5, "no such header")
    assert container.pids("nginx: master") == master
    assert container.stop()[0] == 0


def test_whole_nginx_conf_decides_where_clients_are_accepted(engine: Engine, app: Path) -> None:
    """One that the supervisor's socket kept beside it would wait for ever."""
    write_files(app, {"nginx.conf": whole("8080")})
    container = engine.run(app=app)
    container.wait_for_log("on port 8080")
    connect = "import socket; socket.create_connection(('127.0.0.1', {}), 3)"
    assert container.execute("python", "-c", connect.format(8080)) == (0, "")
    assert "ConnectionRefused" in container.execute("python", "-c", connect.format(80))[1]


@pytest.mark.timed
def test_whole_nginx_conf_without_a_place_for_the_socket(engine: Engine, app: Path) -> None:
    write_files(app, {"nginx.conf": whole()})
    last = refused(engine.run(app=app, read_only=True), "")
    for words in ("/tmp/uwsgi.sock", "Read-only file system", "--tmpfs /tmp"):
        assert words in last


@pytest.mark.nightly
def test_whole_nginx_conf_of_a_slow_application(engine: Engine, app: Path) -> None:
    """Nobody is told 503 by a configuration that is not the user's: clients wait."""
    write_files(app, {"main.py": f"import time\ntime.sleep(4)\n{MAIN}", "nginx.conf": whole()})
    container = engine.run(app=app)
    container.wait_for_log("still loading; clients wait")
    assert container.get().text == "hello from main"


def test_more_open_files_than_there_are(engine: Engine, app: Path) -> None:
    env = {"NGINX_WORKER_OPEN_FILES": "100000", "NGINX_WORKER_CONNECTIONS": "9999"}
    limit = docker.types.Ulimit(name="nofile", soft=2048, hard=2048)
    container = engine.serve(app=app, env=env, ulimits=[limit])
    log = container.logs()
    for name, value, bound in (("OPEN_FILES", 100000, 2048), ("CONNECTIONS", 9999, 1768)):
        said = f"NGINX_WORKER_{name}={value} exceeds this container's limit of open files"
        assert f"{said} (ulimit -n); using {bound}" in log
    _, text = container.execute("cat", "/run/docker-flask/nginx.conf")
    assert "worker_rlimit_nofile 2048;" in text
    assert "worker_connections 1768;" in text


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
if-env = HOSTNAME
env = BLOCK=taken
endif =
attach-daemon = sleep 12345
"""


def test_options_of_uwsgi_ini(engine: Engine, app: Path) -> None:
    write_files(app, {"uwsgi.ini": OPTIONS})
    container = engine.serve(app=app)
    assert container.get("/env/GREETING").text == "100% /app on uwsgi"
    assert container.get("/env/BLOCK").text == "taken"
    wait_for(lambda: len(container.pids("sleep 12345")) == 1, 5, "the attached daemon")
    assert container.get("/sleep/4.0").status_code == 504
    found = container.settings()
    assert found["WEB_CONCURRENCY"] == ["3", "processes in /app/uwsgi.ini"]
    assert found["THREADS"] == ["2", "threads in /app/uwsgi.ini"]
    assert found["REQUEST_TIMEOUT"] == ["1", "harakiri in /app/uwsgi.ini"]
    wait_for(lambda: len(container.pids("uWSGI worker")) == 3, 10, "three workers")
    said = "because the image sets them: master, socket, chmod-socket, uid, "
    assert container.logs().count(f"{said}die-on-term, vacuum") == 1


@pytest.mark.nightly
def test_reload_takes_a_changed_uwsgi_ini(engine: Engine, app: Path) -> None:
    write_files(app, {"uwsgi.ini": f"{INI}processes = 1\nenv = GREETING=one\n"})
    container = engine.serve(app=app)
    write_files(app, {"uwsgi.ini": f"{INI}processes = 2\nenv = GREETING=two\nharakiri = 1\n"})
    container.reload()
    assert container.get("/env/GREETING").text == "two"
    wait_for(lambda: len(container.pids("uWSGI worker")) == 2, 10, "two workers")
    wait_for(lambda: container.get("/sleep/3.0").status_code == 504, 15, "the new limit")
    write_files(app, {"uwsgi.ini": f"{INI}proceses = 2\n"})
    code, out = container.execute("docker-flask", "reload")
    assert (code, "'proceses' in /app/uwsgi.ini" in out) == (1, True), out
    assert container.get("/env/GREETING").text == "two"


def test_an_address_of_the_options_is_not_in_the_way_of_a_reload(engine: Engine, app: Path) -> None:
    write_files(app, {"uwsgi.ini": f"{INI}stats = /tmp/stats.sock\n"})
    container = engine.serve(app=app)
    assert container.execute("docker-flask", "reload") == (0, "docker-flask: reload: ok\n")


@pytest.mark.nightly
@pytest.mark.parametrize("preload", ["0", "1"])
def test_an_option_by_which_uwsgi_reloads_itself(engine: Engine, app: Path, preload: str) -> None:
    """It then closes descriptors that it knows nothing of, such as the supervisor's."""
    write_files(app, {"uwsgi.ini": f"{INI}touch-reload = /app/again\n", "again": ""})
    container = engine.serve(app=app, env={"PRELOAD": preload, "REQUEST_TIMEOUT": "1"})
    write_files(app, {"main.py": MAIN.replace("hello from", "again from")})
    # uWSGI compares whole seconds, and all of this can happen within one.
    os.utime(app / "again", times=(time.time(), time.time() + 2))
    wait_for(lambda: container.get().text == "again from main", 15, "the new application")
    assert container.get("/sleep/4.0").status_code == 504
    container.wait_for_log("took longer than REQUEST_TIMEOUT=1 ")
    write_files(app, {"main.py": MAIN})
    container.reload()
    assert container.get().text == "hello from main"
    assert "Traceback" not in container.logs()


@pytest.mark.timed
def test_bad_options(engine: Engine, app: Path) -> None:
    """Others are in unit/test_uwsgi_options.py."""
    write_files(app, {"uwsgi.ini": f"{INI}wsgi-flie = main.py\n"})
    complaint = "'wsgi-flie' in /app/uwsgi.ini is not allowed: uWSGI has no such"
    refused(engine.run(app=app), complaint)
