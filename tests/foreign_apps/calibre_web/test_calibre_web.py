"""calibre-web with a new library: a shelf and a book."""

from __future__ import annotations

import pytest

from tests.support.foreign_apps import Application, Served

pytestmark = pytest.mark.timeout(300)  # with the build of an image

APPLICATION = Application("calibre_web", page="/login")
BOOK = b"Oolong\n" * 200_000
# People bring the library of their Calibre. The tables of an empty one, as calibre-web knows them.
NEW_LIBRARY = """
import os, uuid, calibreweb, sqlalchemy
from cps import db

os.mkdir("/data/books")
options = {"schema_translate_map": {"calibre": None}}
engine = sqlalchemy.create_engine("sqlite:////data/books/metadata.db", execution_options=options)
db.Base.metadata.create_all(engine)
with engine.begin() as connection:
    connection.execute(db.Library_Id.__table__.insert(), {"uuid": str(uuid.uuid4())})
"""
# Of the page of settings, which a browser sends whole.
SETTINGS = {
    "config_uploading": "on",
    "config_upload_formats": "txt",
    "config_port": "8083",
    "config_password_min_length": "8",
    "config_calibre": "",
    "config_trustedhosts": "",
}


def test_calibre_web(served: Served) -> None:
    with served.step("start"):
        served.start()
    with served.step("log in"):
        page = served.submit("/login", {"username": "admin", "password": "admin123"})
        assert page.url.path == "/admin/dbconfig"  # no library yet
    with served.step("write"):
        served.execute("docker-flask", "run", "python", "-c", NEW_LIBRARY)
        library = {"config_calibre_dir": "/data/books"}
        served.submit("/admin/dbconfig", library, to="/admin/ajaxdbconfig")
        saved = served.submit("/admin/config", SETTINGS, to="/admin/ajaxconfig")
        assert saved.json()["result"][0]["type"] == "success"
        served.submit("/shelf/create", {"title": "Tasting"})
    with served.step("upload"):
        files = {"btn-upload": ("Teas.txt", BOOK, "text/plain")}
        served.submit("/", {}, to="/upload", files=files)
        assert served.get("/download/1/txt/Teas.txt").content == BOOK
    with served.step("reload"):
        served.reload()
        assert "Teas" in served.get("/").text
    with served.step("stop"):
        served.replace()
        page = served.get("/")
        assert "Tasting" in page.text
        assert "Teas" in page.text
        assert served.get("/download/1/txt/Teas.txt").content == BOOK
        served.stop()
