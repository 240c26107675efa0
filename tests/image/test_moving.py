"""docs/migrating.md: projects of other images and platforms run with what its tables name.

The first column of a table names what a project in tests/apps/moving has: its files and options.
The second one names the settings, the lines of the Dockerfile and the commands by which its image
is built and used.
"""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support.harness import APPS, HELLO, NO_TLS, Container, Derive, Engine
from tests.support.marks import at_night
from tests.support.pages import recipe, rows

COMMAND = "@app.cli.command()\ndef prepare():\n    print('prepared')\n"


class Project:
    """One of the projects, and the section of the page about it.

    env: the settings that the section names; commands: what follows the name of the image or the
    container there. code, variable: the application's.
    """

    def __init__(
        self, name: str, title: str, code: str = "shop/web.py", variable: str = "app"
    ) -> None:
        folder = APPS / "moving" / name
        names = {path: str(path.relative_to(folder)) for path in folder.rglob("*")}
        self._files = {name: path.read_text() for path, name in names.items() if path.is_file()}
        table = rows("migrating.md", f"## From {title}", "## ")
        theirs, ours = (re.findall("`([^`]+)`", " ".join(row[n] for row in table)) for n in (0, 1))
        whole = "\n/".join(["", *self._files, *self._files.values()])
        assert [span for span in theirs if span not in whole] == [], "not in their files"
        pairs = (re.fullmatch(r'([A-Z_]+)="?(.+?)"?', span) for span in ours)
        self.env = {pair[1]: pair[2] for pair in pairs if pair}
        uses = (re.fullmatch(r"docker .*\b(?:IMAGE|CONTAINER) (.+)", span) for span in ours)
        self.commands = [use[1].split() for use in uses if use]
        text = recipe("migrating.md", "COPY . /app")
        lines = [s for s in ours if re.match("RUN|COPY|USER", s) and s not in text]
        lines += [f'ENV {name}="{value}"' for name, value in self.env.items()]
        self._files["Dockerfile"] = text + "\n".join(sorted(lines, key="USER 1000".__eq__))
        self._files[code] = re.sub(r"\bapp\b(?= =|\.)", variable, f"{HELLO}\n\n{COMMAND}")

    def start(self, engine: Engine, derive: Derive, **env: str) -> tuple[Container, int, str]:
        """Build and run; each setting of the section counts. Returns also the port, the image."""
        port, image = int(self.env.get("LISTEN_PORT") or self.env["PORT"]), derive(self._files)
        container = engine.run(image=image, env=env, ports={f"{port}/tcp": ("127.0.0.1", None)})
        container.wait_until_serving(self.env.get("SCRIPT_NAME", "") + "/", inside=port)
        found = container.settings()
        for name in found.keys() & self.env.keys():
            assert found[name][-1].endswith(name), (name, found[name])
        return container, port, image


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["uwsgi", *at_night("gunicorn")])
def test_a_plain_gunicorn_image(engine: Engine, derive: Derive, server: str) -> None:
    project = Project("gunicorn", "a plain Gunicorn image")
    container, port, _ = project.start(engine, derive, APP_SERVER=server)
    assert len(container.pids("uWSGI worker" if server == "uwsgi" else "gunicorn: worker")) == 3
    assert container.get("/", port).text == ("hello" if server == "uwsgi" else "hooked")
    assert container.get("/sleep?s=4", port).status_code == 504
    assert container.users() == {"1000"}
    assert '"GET /sleep?s=4 HTTP/1.1" 504' in container.wait_for_log("504")


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_meinheld_gunicorn_flask(engine: Engine, derive: Derive) -> None:
    project = Project("meinheld", "tiangolo/meinheld-gunicorn-flask", "app/custom/web.py", "api")
    container, port, _ = project.start(engine, derive)
    assert container.get("/", port).text == "prepared"
    assert len(container.pids("gunicorn: worker")) == 4
    assert container.get("/sleep?s=4", port).status_code == 504, "custom_conf.py"
    assert '"GET / ' not in container.logs()


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_heroku(engine: Engine, derive: Derive) -> None:
    project = Project("heroku", "Heroku")
    container, port, image = project.start(engine, derive)
    assert container.get("/", port).text == "moved"
    assert container.shell("tree --version").startswith("tree v")
    release, worker, once = project.commands
    assert container.execute(*once) == (0, "prepared\n")
    for command, said in ((release, "prepared"), (worker, "worked")):
        assert engine.run(command, image=image).finish()[:2] == (0, f"{said}\n")


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_nginx_unit(engine: Engine, derive: Derive) -> None:
    project = Project("unit", "NGINX Unit", variable="site")
    container, port, _ = project.start(engine, derive)
    assert container.get("/shop/", port).text == "moved"
    assert container.get("/shop/files/words.txt", port).text == "words\n"
    for path, status in (("/shop/old", 410), ("/shop/sleep?s=4", 504)):
        assert container.get(path, port).status_code == status
    for size, status in ((2**20, 200), (2**20 + 1, 413)):
        answer = httpx.post(container.url("/shop/", port), content=b"x" * size, verify=NO_TLS)
        assert answer.status_code == status
    assert len(container.pids("uWSGI worker")) == 2
    assert "first" in container.logs().splitlines()
    (reload,) = project.commands
    assert container.execute(*reload)[0] == 0
