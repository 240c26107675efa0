"""Flask-Admin: an application of ours with its views of a table and of a folder."""

from __future__ import annotations

import secrets

from tests.support.foreign_apps import Application, Served

APPLICATION = Application(
    "flask_admin",
    edited="/app/app.py",
    page="/admin/",
    env={"SECRET_KEY": secrets.token_hex()},
)
PICTURE = secrets.token_bytes(500_000)


def migrate(served: Served) -> None:
    served.flask("db", "init")
    assert "added table 'book'" in served.flask("db", "migrate")
    assert "Running upgrade" in served.flask("db", "upgrade")


def write(served: Served) -> None:
    page = served.submit("/admin/book/new/", {"title": "Flatland"})
    assert "Record was successfully created" in page.text
    page = served.submit("/admin/book/edit/?id=1", {"title": "Flatland, 2nd edition"})
    assert "Flatland, 2nd edition" in page.text


def upload(served: Served) -> None:
    files = {"upload": ("cover.png", PICTURE, "image/png")}
    page = served.submit("/admin/fileadmin/upload/", {}, files=files)
    assert "cover.png" in page.text


def check(served: Served) -> None:
    assert "Flatland, 2nd edition" in served.get("/admin/book/").text
    assert served.get("/admin/fileadmin/download/cover.png").content == PICTURE
