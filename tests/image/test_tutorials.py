"""docs/zh/from-your-tutorial.md: five kinds of tutorials run after the change that the page names.

tests/apps/tutorials has the files as such tutorials print them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import yaml

from tests.support.harness import APPS, DEBUG, DEBUG_PORT, Container, Derive, Engine, assert_within
from tests.support.marks import at_night
from tests.support.pages import DOCS, for_this_machine

PAGE = (DOCS / "zh/from-your-tutorial.md").read_text()
FOLDER = APPS / "tutorials"
PICTURES = FOLDER / "pictures/static/pictures"
COMPOSE = yaml.safe_load((FOLDER / "multi_stage/compose.yaml").read_text())["services"]["web"]


def changed(name: str) -> str:
    """The Dockerfile of a tutorial after the change that its section of the page shows."""
    (section,) = [part for part in PAGE.split("\n## ") if f"/tutorials/{name})" in part]
    (lines,) = re.findall(r"```diff\n(.*?)```", section, re.DOTALL)
    text = (FOLDER / name / "Dockerfile").read_text()
    for old, new in re.findall(r"^-(.*\n)(?:\+(.*\n))?", lines, re.MULTILINE):
        assert f"\n{text}".count(f"\n{old}") == 1, f"{name} has no line {old}"
        text = f"\n{text}".replace(f"\n{old}", f"\n{new}").removeprefix("\n")
    return text


def check_server(container: Container, port: int) -> None:
    assert container.get("/", port).headers["Server"] == "nginx"


def check_gevent(container: Container, _: int) -> None:
    found = container.settings()
    assert (found["WORKER_CLASS"][0], found["WEB_CONCURRENCY"][0]) == ("gevent", "5")
    assert "because the image sets them: bind" in container.logs()


def check_stop(container: Container, _: int) -> None:
    code, took = container.stop()
    assert code == 0
    assert_within(3, took)


def check_compose(container: Container, port: int) -> None:
    container.wait_until_healthy()
    assert [f"{port}:{port}"] == COMPOSE["ports"]
    assert container.get("/health", port).json()["greeting"] == "hello"


def check_picture(container: Container, port: int) -> None:
    path = "/static/pictures/1.png"
    picture = container.get(path, port)
    assert picture.content == (PICTURES / "1.png").read_bytes()
    again = {"If-None-Match": picture.headers["ETag"]}
    assert container.get(path, port, headers=again).status_code == 304
    assert container.get(path, port, headers={"Range": "bytes=5-"}).status_code == 206


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "port", "path", "text", "check"),
    [
        ("run_py", 5000, "/", "<h1>Hello, Docker!</h1>", check_server),
        *at_night(
            ("gevent", 8888, "/", "Hello from a greenlet", check_gevent),
            ("two_modes", 80, "/", "Hello in two modes", check_stop),
            ("multi_stage", 8000, "/health", "1.17.0", check_compose),
            ("pictures", 8080, "/", '<img src="/static/pictures/1.png">', check_picture),
        ),
    ],
)
def test_a_tutorial_runs_after_the_change(
    engine: Engine,
    derive: Derive,
    name: str,
    port: int,
    path: str,
    text: str,
    check: Callable[[Container, int], None],
) -> None:
    paths = [file for file in (FOLDER / name).rglob("*") if file.suffix != ".png"]
    files = {str(p.relative_to(FOLDER / name)): p.read_text() for p in paths if p.is_file()}
    image = derive({**files, "Dockerfile": for_this_machine(changed(name))})
    options = {
        "multi_stage": {"env": COMPOSE["environment"], "healthcheck": {}},
        "pictures": {"volumes": {str(PICTURES): {"bind": "/app/static/pictures", "mode": "ro"}}},
    }.get(name, {})
    for command, inside in (([], port), (DEBUG, DEBUG_PORT)):
        ports = {f"{inside}/tcp": ("127.0.0.1", None)}
        container = engine.run(command, image=image, ports=ports, **options)
        assert text in container.wait_until_serving(path, inside).text
        assert "Traceback" not in container.logs()
        if inside == port and command == []:
            check(container, port)
