"""sqlite-web: the tables of a SQLite database in a browser."""

from __future__ import annotations

import pytest

from tests.support.foreign_apps import PASSWORD, Application, Served

pytestmark = pytest.mark.timeout(300)  # with the build of an image

APPLICATION = Application("sqlite_web", page="/login/", env={"SQLITE_WEB_PASSWORD": PASSWORD})
COUNT = "select count(*) || ' teas' from tea"
ROWS = "name\n" + "".join(f"Tea {number}\n" for number in range(5_000))


def test_sqlite_web(served: Served) -> None:
    with served.step("start"):
        served.start()
    with served.step("log in"):
        page = served.post("/login/", data={"password": PASSWORD})
        assert page.url.path == "/"
    with served.step("write"):
        served.post("/query/", data={"sql": "create table tea (name text)"})
        served.post("/query/", data={"sql": "insert into tea values ('Oolong')"})
        assert "Oolong" in served.get("/tea/content/").text
    with served.step("upload"):
        served.post("/tea/import/", files={"file": ("teas.csv", ROWS.encode())})
        assert "5001 teas" in served.post("/query/", data={"sql": COUNT}).text
    with served.step("reload"):
        served.reload()
        assert "5001 teas" in served.post("/query/", data={"sql": COUNT}).text
    with served.step("stop"):
        served.replace()
        assert "5001 teas" in served.post("/query/", data={"sql": COUNT}).text
        served.stop()
