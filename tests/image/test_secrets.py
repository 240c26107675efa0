"""NAME_FILE=/run/secrets/x sets NAME, from a file that only root can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import DEBUG, DEBUG_PORT, HELLO, PRODUCTION_PORT, Engine, write_files

SECRET = "not-for-the-log"  # noqa: S105 # pragma: allowlist secret
ORDER = "import os; print(os.getuid() > 0, *map(os.environ.get, ('KEY', 'SEEN')))"
APP = f"""{HELLO}
import os
value = lambda: " ".join(str(os.environ.get(name)) for name in ("KEY", "SEEN"))
app.add_url_rule("/key", "key", value)
app.cli.command("key")(lambda: print(value()))
"""
FILES = {"app.py": APP, "prestart.sh": 'export SEEN="$KEY"\n', "order.py": ORDER}
ENV = {"KEY_FILE": "/run/secrets/key", "WERKZEUG_DEBUG_PIN_FILE": "/run/secrets/pin"}


@pytest.fixture
def mounts(app_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """Options of `Engine.run`: an application, and secrets of root's."""
    write_files(app_folder, FILES)
    write_files(tmp_path / "secrets", {"key": f"{SECRET}\n", "pin": "off\n"})
    for file in tmp_path.joinpath("secrets").iterdir():
        file.chmod(0o400)
    volumes = {str(tmp_path / "secrets"): {"bind": "/run/secrets", "mode": "ro"}}
    return {"app": app_folder, "volumes": volumes, "env": ENV}


@pytest.mark.parametrize(
    ("mode", "port"), [([], PRODUCTION_PORT), (DEBUG, DEBUG_PORT)], ids=["production", "debug"]
)
def test_the_application_and_its_commands_get_it(
    engine: Engine, mounts: dict[str, Any], mode: list[str], port: int
) -> None:
    container = engine.run(mode, **mounts)
    both = f"{SECRET} {SECRET}"  # prestart.sh has seen it
    assert container.wait_until_serving("/key", port).text == both
    for command in (["flask", "key"], ["docker-flask", "run", "flask", "key"]):
        assert container.execute(*command) == (0, f"{both}\n")
    settings = container.execute("docker-flask", "settings")[1]
    if mode != DEBUG:
        assert "(secret)" in settings
        assert "WERKZEUG_DEBUG_PIN_FILE" in settings
    assert SECRET not in container.logs() + settings


def test_commands_in_a_container_of_their_own(engine: Engine, mounts: dict[str, Any]) -> None:
    command = engine.run(["run", "python", "order.py"], **mounts)
    assert command.finish()[:2] == (0, f"True {SECRET} {SECRET}\n")
    command = engine.run(["flask", "key"], **mounts)
    assert command.finish()[:2] == (0, f"{SECRET} None\n")


@pytest.mark.parametrize("command", [[], DEBUG, ["run", "true"], ["settings"]])
def test_a_file_that_is_missing_ends_the_container(engine: Engine, command: list[str]) -> None:
    code, out, err = engine.run(command, env={"KEY_FILE": "/run/secrets/none"}).finish()
    reason = "can't be read: No such file or directory"
    assert (code, out) == (78, "")
    assert err == f"docker-flask: KEY_FILE=/run/secrets/none {reason}\n"


def test_a_variable_and_its_file(engine: Engine, mounts: dict[str, Any]) -> None:
    mounts["env"] = {**ENV, "KEY": SECRET}
    code, _, err = engine.run(**mounts).finish()
    assert (code, err) == (78, "docker-flask: KEY and KEY_FILE are both set; use one of them\n")


def test_root_follows_no_link_of_the_application(engine: Engine, mounts: dict[str, Any]) -> None:
    folder = Path(next(iter(mounts["volumes"])))
    (folder / "link").symlink_to("/etc/shadow")
    mounts["env"] = {"KEY_FILE": "/run/secrets/link"}
    code, _, err = engine.run(**mounts).finish()
    assert code == 78
    assert "it is a link to /etc/shadow; use a file in /run/secrets/" in err


def test_another_user_needs_a_file_that_it_can_read(engine: Engine, mounts: dict[str, Any]) -> None:
    code, _, err = engine.run(**mounts, user="12345:12345").finish()
    assert (code, "/run/secrets/key can't be read: Permission denied" in err) == (78, True)
