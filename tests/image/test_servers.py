"""The choice of an application server: settings, the user's gunicorn.conf.py, and what is refused.

That each of them keeps what the image promises, test_loss.py and test_http.py say.
"""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support import raw_http
from tests.support.harness import HELLO, Container, Engine, assert_within, mounted, wait_for
from tests.support.marks import at_night
from tests.support.servers import SERVERS, Server

APP = f"""import logging
{HELLO}

# As tutorials have it: the handlers and the level of Gunicorn.
theirs = logging.getLogger("gunicorn.error")
if theirs.handlers:
    app.logger.handlers = theirs.handlers
    app.logger.setLevel(theirs.level)
    app.logger.info("info of the application")
print("printed")

@app.get("/server")
def server():
    return request.environ.get("SERVER_SOFTWARE", "uWSGI")

@app.get("/environment")
def environment():
    return dict(os.environ)

@app.get("/client")
def client():
    seen = request.remote_addr, request.scheme, request.host, request.environ["REQUEST_URI"]
    return " ".join(seen)
"""
# A snippet denies /denied. An application gets none of these as the same path.
DENIED = ["/denied", "/%64enied", "/x/../denied", "//denied", "/%2Fdenied", "http://me//denied"]
GEVENT = SERVERS["gunicorn-gevent"]
# Settings in forms that the image understands, but would write in another way.
AS_WRITTEN = {
    "MAX_REQUESTS": "01000",
    "MAX_WORKER_MEMORY": "1G",
    "REQUEST_TIMEOUT": "30.0",
    "STATIC_MAX_AGE": "060",
    "STATIC_URL": "/static/",
    "TRUSTED_PROXIES": "203.0.113.7 , 2001:DB8::/32",
}


@pytest.fixture
def app(app_folder: Path) -> Path:
    (app_folder / "app.py").write_text(APP)
    return app_folder


def workers(container: Container) -> int:
    """How many there are."""
    return len(container.pids("uWSGI worker") + container.pids("gunicorn: worker"))


@pytest.mark.parametrize(
    "name",
    [
        "uwsgi",
        "gunicorn-gthread",
        "gunicorn-gevent",
        *at_night("uwsgi-gevent", "gunicorn-sync"),
    ],
)
def test_each_serves_as_the_others_do(engine: Engine, app: Path, tmp_path: Path, name: str) -> None:
    server: Server = SERVERS[name]
    env = {"WEB_CONCURRENCY": "3", "THREADS": "1", **AS_WRITTEN}
    snippet = "location /hidden/ { internal; alias /app/; }\nlocation /denied { deny all; }\n"
    volumes = mounted(tmp_path, {"/etc/nginx/server.d/hidden.conf": snippet})
    container = engine.serve(server=server, app=app, env=env, volumes=volumes)
    assert server.name.lower() in container.get("/server").text.lower()
    wait_for(lambda: workers(container) == 3, 10, "three workers")
    port = container.port()
    said = {"Host": "me.example", "X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}
    address, *rest = container.get("/client?a=%20b", headers=said).text.split(" ", 1)
    assert rest == ["http me.example /client?a=%20b"], port
    assert re.fullmatch(r"\d+(\.\d+){3}", address)
    assert address != "9.9.9.9"
    # The application sees the settings as the user wrote them, and nothing else of the image's.
    seen = container.get("/environment").json()
    assert {name: seen.get(name) for name in AS_WRITTEN} == AS_WRITTEN
    assert not [name for name in seen if name.startswith("DOCKER_FLASK")]
    check_that_internal_locations_stay_internal(container)
    check_that_an_abandoned_request_delays_no_other(container)
    code, took = container.stop()
    assert code == 0, container.logs()
    assert took < 4
    _, out, err = container.finish()
    assert (out.count("printed\n"), "printed" in err) == (3, False)
    assert err.count("[INFO] info of the application\n") == (3 if server.name == "Gunicorn" else 0)
    assert "Booting worker" not in err


@pytest.mark.timed
@pytest.mark.parametrize(
    ("name", "preload"),
    [("gunicorn-gevent", "0"), *at_night(("uwsgi-gevent", "0"), ("uwsgi-gevent", "1"))],
)
def test_greenlets_wait_beside_each_other(
    engine: Engine, app: Path, name: str, preload: str
) -> None:
    # Also in what was imported by its name; and nobody's TERM ends them.
    env = {"WEB_CONCURRENCY": "1", "PRELOAD": preload}
    container = engine.serve(server=SERVERS[name], app=app, env=env)
    begun = time.monotonic()
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(container.get, "/sleep?s=1", timeout=10) for _ in range(5)]
        time.sleep(0.5)
        title = "gunicorn" if name.startswith("gunicorn") else "uWSGI"
        container.kill("TERM", *container.pids(title))
        texts = [answer.result().text for answer in answers]
    assert texts == ["slept"] * 5, container.logs()
    assert time.monotonic() - begun < 2.5


def check_that_an_abandoned_request_delays_no_other(container: Container) -> None:
    """A worker that still runs it takes no other request, while the other workers are free."""
    seconds = 6
    with pytest.raises(httpx.ReadTimeout):
        container.get(f"/sleep?s={seconds}", timeout=0.2)
    times = [container.get("/").elapsed.total_seconds() for _ in range(30)]
    assert max(times) < seconds / 4


@pytest.mark.timed
@pytest.mark.parametrize("name", ["uwsgi", *at_night("gunicorn-gevent")])
def test_all_requests_change_over_at_once(engine: Engine, app: Path, name: str) -> None:
    """Whoever has seen the new code never sees the old again, while and after it is loaded."""
    rule = "app.add_url_rule('/version', 'version', lambda: '{}', methods=['GET', 'POST'])"
    code = f"{APP}\n{rule}\n"
    (app / "app.py").write_text(code.replace("{}", "0"))
    container = engine.serve(server=SERVERS[name], app=app, env={"WEB_CONCURRENCY": "2"})
    seen: list[tuple[float, float, int]] = []
    done = threading.Event()

    def ask(method: str) -> None:
        with httpx.Client(base_url=container.url(), timeout=10) as client:
            while not done.is_set():
                begun = time.monotonic()
                version = int(client.request(method, "/version").text)
                seen.append((begun, time.monotonic(), version))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, method) for method in ("GET", "POST") * 2]
        for version in "123":
            time.sleep(0.3)
            (app / "app.py").write_text(code.replace("{}", version))
            container.reload()
        time.sleep(0.3)
        done.set()
        for each in asking:
            each.result()
    for number in (1, 2, 3):
        first = min(ended for _, ended, seen_version in seen if seen_version == number)
        late = [row for row in seen if row[0] > first and row[2] < number]
        assert late == [], f"{len(late)} of {len(seen)}"


def check_that_internal_locations_stay_internal(container: Container) -> None:
    _, configuration = container.execute("cat", "/run/docker-flask/nginx.conf")
    (files,) = re.findall(r"location \^~ (/[0-9a-f]{32})/ {", configuration)
    for path in ("/hidden/app.py", f"{files}/app/app.py"):
        answer = container.get(path)
        assert (answer.status_code, "flask" in answer.text) == (404, False), path
    for path in DENIED:
        request = f"GET {path} HTTP/1.1\r\nHost: me\r\nConnection: close\r\n\r\n".encode()
        (denied,) = raw_http.answers(raw_http.exchange(container.port(), request, end=False))
        assert denied.status in (308, 400, 403), path


@pytest.mark.nightly
def test_a_request_outlives_gunicorns_master(engine: Engine, app: Path) -> None:
    """With gevent, whose worker would end at once."""
    slow = "import time\n\n@app.post('/slow')\ndef slow():\n    time.sleep(4)\n    return 'done'\n"
    (app / "app.py").write_text(APP + slow)
    container = engine.serve(server=GEVENT, app=app)
    (master,) = container.pids("gunicorn: master")
    with ThreadPoolExecutor() as pool:
        response = pool.submit(httpx.post, container.url("/slow"), timeout=20)
        time.sleep(1)  # the worker has the request, and nginx retries no POST
        assert not response.done()
        container.kill("KILL", master)
        assert response.result().text == "done"
    assert master not in container.pids("gunicorn: master")


@pytest.mark.nightly
def test_gunicorn_conf_py_counts_where_nothing_is_set(engine: Engine, app: Path) -> None:
    (app / "gunicorn.conf.py").write_text(
        "import os\nworkers = 3\nworker_class = 'gevent'\ntimeout = 7\nbind = ':9'\nreload = True\n"
        "def post_fork(server, worker):\n    os.environ['GREETING'] = 'ran'\n"
    )
    container = engine.serve(
        server=GEVENT, app=app, env={"WORKER_CLASS": "", "WEB_CONCURRENCY": ""}
    )
    assert container.get().text == "ran"
    wait_for(lambda: workers(container) == 3, 10, "three workers")
    found, file = container.settings(), "/app/gunicorn.conf.py"
    assert found["WEB_CONCURRENCY"] == ["3", f"workers in {file}"]
    assert found["WORKER_CLASS"] == ["gevent", f"worker_class in {file}"]
    assert found["REQUEST_TIMEOUT"] == ["7", f"timeout in {file}"]
    assert "because the image sets them: bind, reload" in container.logs()
    (app / "gunicorn.conf.py").write_text("workers = 1\n")
    container.reload()
    wait_for(lambda: workers(container) == 1, 15, "one worker")


@pytest.mark.timed
def test_gunicorn_conf_py_that_does_not_end_stops_nobody(engine: Engine, app: Path) -> None:
    server, env = SERVERS["gunicorn-sync"], {"START_TIMEOUT": "5"}
    said = "Gunicorn did not read /app/gunicorn.conf.py within START_TIMEOUT=5 seconds"
    container = engine.serve(server=server, app=app, env=env)
    (app / "gunicorn.conf.py").write_text("import time\ntime.sleep(60)\n")
    late = engine.run(server=server, app=app, env=env)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(container.execute, "docker-flask", "reload")
        container.wait_for_log("reload: loading")
        assert container.execute("docker-flask", "health") == (0, "")
        assert not outcome.done()
        assert outcome.result()[0] == 1
        assert said in outcome.result()[1]
    assert (late.wait_for_exit(), said in late.logs().splitlines()[-1]) == (78, True)
    container.docker.kill("HUP")
    wait_for(lambda: container.logs().count("reload: loading") == 2, 5, "another reload")
    code, took = container.stop()
    assert code == 0
    assert_within(5, took)


@pytest.mark.parametrize(
    ("server", "env", "complaint"),
    [
        ("uwsgi", {"APP_SERVER": "waitress"}, "use uwsgi or gunicorn"),
        ("uwsgi", {"APP_SERVER": "gunicorn"}, "add the line gunicorn==27.0.1"),
        ("uwsgi", {"WORKER_CLASS": "gevent"}, "add the line gevent==26.9.0"),
        ("gunicorn-sync", {"WORKER_CLASS": "gevent"}, "add the line gunicorn[gevent]==27.0.1"),
        ("gunicorn-sync", {"WORKER_CLASS": "tornado"}, "use sync, gthread or gevent"),
        ("gunicorn-gevent", {"THREADS": "4"}, "THREADS=4 is not allowed with WORKER_CLASS=gevent"),
    ],
)
def test_what_can_not_be_is_said(
    engine: Engine, server: str, env: dict[str, str], complaint: str
) -> None:
    code, out, err = engine.run(server=SERVERS[server], env=env).finish()
    assert (code, out) == (78, "")
    assert complaint in err
    assert len(err.splitlines()) == 1


def test_a_file_that_can_not_be_used_is_said(engine: Engine, app: Path) -> None:
    (app / "gunicorn.conf.py").write_text("workers = oops\n")
    code, _, err = engine.run(server=GEVENT, app=app).finish()
    assert code == 78
    assert "can't run with /app/gunicorn.conf.py:1: NameError: name 'oops'" in err
