"""Flask-Admin: an application of ours with its views of a table and of a folder."""

from __future__ import annotations

import secrets

import pytest

from tests.support.foreign_apps import Application, Served

pytestmark = pytest.mark.timeout(300)  # with the build of an image

APPLICATION = Application(
    "flask_admin",
    edited="/app/app.py",
    page="/admin/",
    env={"SECRET_KEY": secrets.token_hex()},
)
PICTURE = secrets.token_bytes(500_000)


def test_flask_admin(served: Served) -> None:
    with served.step("start"):
        served.start()
    with served.step("migrate"):
        served.flask("db", "init")
        assert "added table 'book'" in served.flask("db", "migrate")
        assert "Running upgrade" in served.flask("db", "upgrade")
    with served.step("write"):
        page = served.submit("/admin/book/new/", {"title": "Flatland"})
        assert "Record was successfully created" in page.text
        page = served.submit("/admin/book/edit/?id=1", {"title": "Flatland, 2nd edition"})
        assert "Flatland, 2nd edition" in page.text
    with served.step("upload"):
        files = {"upload": ("cover.png", PICTURE, "image/png")}
        page = served.submit("/admin/fileadmin/upload/", {}, files=files)
        assert "cover.png" in page.text
    with served.step("reload"):
        served.reload()
        assert served.get("/admin/fileadmin/download/cover.png").content == PICTURE
    with served.step("stop"):
        served.replace()
        assert "Flatland, 2nd edition" in served.get("/admin/book/").text
        assert served.get("/admin/fileadmin/download/cover.png").content == PICTURE
        served.stop()
