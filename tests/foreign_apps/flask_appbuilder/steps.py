"""Flask-AppBuilder's smallest example: its pages for users and roles."""

from __future__ import annotations

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application(
    "flask_appbuilder",
    source="examples/quickminimal",
    edited="/app/run.py",
    page="/login/",
)


def migrate(served: Served) -> None:
    assert "DB objects created" in served.flask("fab", "create-db")
    names = ("--username=ada", "--firstname=Ada", "--lastname=Byron", "--email=ada@example.com")
    output = served.flask("fab", "create-admin", *names, f"--password={PASSWORD}")
    assert "Admin User ada created." in output


def log_in(served: Served) -> None:
    page = served.submit("/login/", {"username": "ada", "password": PASSWORD})
    assert "/logout/" in page.text


def write(served: Served) -> None:
    served.submit("/roles/add", {"name": "Tea taster"})


def check(served: Served) -> None:
    assert "Tea taster" in served.get("/roles/list/").text
