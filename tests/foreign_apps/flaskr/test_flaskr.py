"""Flask's tutorial, a blog, as a reader has it at its end."""

from __future__ import annotations

import pytest

from tests.support.foreign_apps import PASSWORD, Application, Served

pytestmark = pytest.mark.timeout(300)  # with the build of an image

APPLICATION = Application(
    "flaskr", source="examples/tutorial", edited="/app/flaskr/blog.py", page="/auth/login"
)
ADA = {"username": "ada", "password": PASSWORD}


def test_flaskr(served: Served) -> None:
    with served.step("start"):
        served.start()
    with served.step("migrate"):
        assert "Initialized the database." in served.flask("init-db")
    with served.step("log in"):
        served.submit("/auth/register", ADA)
        assert "Log Out" in served.submit("/auth/login", ADA).text
    with served.step("write"):
        page = served.submit("/create", {"title": "Teas", "body": "Oolong, Earl Grey"})
        assert "Oolong, Earl Grey" in page.text
        page = served.submit("/1/update", {"title": "Teas", "body": "Oolong, Sencha"})
        assert "Earl Grey" not in page.text
    with served.step("reload"):
        served.reload()
        assert "Log Out" in served.get("/").text
    with served.step("stop"):
        served.replace()
        assert "Oolong, Sencha" in served.get("/").text
        served.stop()
