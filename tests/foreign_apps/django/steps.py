"""Django: a new project with its admin, which has users and groups."""

from __future__ import annotations

import secrets

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application(
    "django",
    page="/admin/login/",
    env={"SECRET_KEY": secrets.token_hex(), "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
)
MANAGE = ("docker-flask", "run", "python", "manage.py")


def migrate(served: Served) -> None:
    assert "auth.0001_initial... OK" in served.execute(*MANAGE, "migrate")
    names = ("--username=ada", "--email=ada@example.com")
    served.execute(*MANAGE, "createsuperuser", "--noinput", *names)


def log_in(served: Served) -> None:
    page = served.submit("/admin/login/", {"username": "ada", "password": PASSWORD})
    assert "/admin/logout/" in page.text


def write(served: Served) -> None:
    page = served.submit("/admin/auth/group/add/", {"name": "Tea tasters"})
    assert "was added successfully" in page.text
    assert "text/css" in served.get("/static/admin/css/base.css").headers["Content-Type"]


def check(served: Served) -> None:
    assert "Tea tasters" in served.get("/admin/auth/group/").text
