"""Flask-AppBuilder's smallest example: its pages for users and roles."""

from __future__ import annotations

import pytest

from tests.support.foreign_apps import PASSWORD, Application, Served

pytestmark = pytest.mark.timeout(300)  # with the build of an image

APPLICATION = Application(
    "flask_appbuilder",
    source="examples/quickminimal",
    edited="/app/run.py",
    page="/login/",
)


def test_flask_appbuilder(served: Served) -> None:
    with served.step("start"):
        served.start()
    with served.step("migrate"):
        assert "DB objects created" in served.flask("fab", "create-db")
        names = ("--username=ada", "--firstname=Ada", "--lastname=Byron", "--email=ada@example.com")
        output = served.flask("fab", "create-admin", *names, f"--password={PASSWORD}")
        assert "Admin User ada created." in output
    with served.step("log in"):
        page = served.submit("/login/", {"username": "ada", "password": PASSWORD})
        assert "/logout/" in page.text
    with served.step("write"):
        page = served.submit("/roles/add", {"name": "Tea taster"})
        assert "Tea taster" in served.get("/roles/list/").text
    with served.step("reload"):
        served.reload()
        assert "Tea taster" in served.get("/roles/list/").text
    with served.step("stop"):
        served.replace()
        assert "Tea taster" in served.get("/roles/list/").text
        served.stop()
