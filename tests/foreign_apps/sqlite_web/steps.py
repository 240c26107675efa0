"""sqlite-web: the tables of a SQLite database in a browser."""

from __future__ import annotations

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application("sqlite_web", page="/login/", env={"SQLITE_WEB_PASSWORD": PASSWORD})
COUNT = "select count(*) || ' teas' from tea"
ROWS = "name\n" + "".join(f"Tea {number}\n" for number in range(5_000))


def log_in(served: Served) -> None:
    page = served.post("/login/", data={"password": PASSWORD})
    assert page.url.path == "/"


def write(served: Served) -> None:
    served.post("/query/", data={"sql": "create table tea (name text)"})
    served.post("/query/", data={"sql": "insert into tea values ('Oolong')"})


def upload(served: Served) -> None:
    served.post("/tea/import/", files={"file": ("teas.csv", ROWS.encode())})


def check(served: Served) -> None:
    assert "5001 teas" in served.post("/query/", data={"sql": COUNT}).text
