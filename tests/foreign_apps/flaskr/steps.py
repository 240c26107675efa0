"""Flask's tutorial, a blog, as a reader has it at its end."""

from __future__ import annotations

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application(
    "flaskr", source="examples/tutorial", edited="/app/flaskr/blog.py", page="/auth/login"
)
ADA = {"username": "ada", "password": PASSWORD}


def migrate(served: Served) -> None:
    assert "Initialized the database." in served.flask("init-db")


def log_in(served: Served) -> None:
    served.submit("/auth/register", ADA)
    assert "Log Out" in served.submit("/auth/login", ADA).text


def write(served: Served) -> None:
    page = served.submit("/create", {"title": "Teas", "body": "Oolong, Earl Grey"})
    assert "Oolong, Earl Grey" in page.text
    page = served.submit("/1/update", {"title": "Teas", "body": "Oolong, Sencha"})
    assert "Earl Grey" not in page.text


def check(served: Served) -> None:
    page = served.get("/").text
    assert "Oolong, Sencha" in page
    assert "Log Out" in page
