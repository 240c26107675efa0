"""calibre-web with a new library: a shelf and a book."""

from __future__ import annotations

from tests.support.foreign_apps import Application, Served

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


def log_in(served: Served) -> None:
    page = served.submit("/login", {"username": "admin", "password": "admin123"})
    assert page.url.path == "/admin/dbconfig"  # no library yet


def write(served: Served) -> None:
    served.execute("docker-flask", "run", "python", "-c", NEW_LIBRARY)
    library = {"config_calibre_dir": "/data/books"}
    served.submit("/admin/dbconfig", library, to="/admin/ajaxdbconfig")
    saved = served.submit("/admin/config", SETTINGS, to="/admin/ajaxconfig")
    assert saved.json()["result"][0]["type"] == "success"
    served.submit("/shelf/create", {"title": "Tasting"})


def upload(served: Served) -> None:
    files = {"btn-upload": ("Teas.txt", BOOK, "text/plain")}
    served.submit("/", {}, to="/upload", files=files)


def check(served: Served) -> None:
    page = served.get("/").text
    assert "Tasting" in page
    assert "Teas" in page
    assert served.get("/download/1/txt/Teas.txt").content == BOOK
