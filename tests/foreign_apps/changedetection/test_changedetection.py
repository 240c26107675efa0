"""changedetection.io watches a page of its own; its examples, on the internet, are paused."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.support.foreign_apps import PASSWORD, Application, Served, hidden
from tests.support.harness import wait_for

pytestmark = pytest.mark.timeout(600)  # with the build of an image

SALT = bytes(32)
KEY = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT, 100_000)
APPLICATION = Application(
    "changedetection",
    page="/login",
    env={
        "SALTED_PASS": base64.b64encode(SALT + KEY).decode(),
        "ALLOW_IANA_RESTRICTED_ADDRESSES": "true",
        "CHANGEDETECTION_OPTIONS": "-P true",
    },
    start_seconds=60,
)


def watches(served: Served, url: str) -> list[str]:
    """The ids of the watches of an address, from the list of all."""
    rows = served.get("/").text.split('<tr id="')[1:]
    return [row.partition('"')[0] for row in rows if url in row]


def test_changedetection(served: Served) -> None:
    url = f"http://localhost:{served.port}/login"
    with served.step("start"):
        served.start()
    with served.step("log in"):
        served.submit("/login", {"password": PASSWORD})
        token = hidden(served.get("/"))
        assert token
    with served.step("write"):
        served.post(
            "/form/add/quickwatch", data={"url": url, "processor": "text_json_diff"} | token
        )
        (watch,) = watches(served, url)
        history = f"/data/{watch}/history.txt"
        wait_for(lambda: served.container.execute("test", "-s", history)[0] == 0, 30, "a snapshot")
        assert "must be logged in" in served.get(f"/preview/{watch}").text
    with served.step("upload"):
        served.post("/backups/request-backup", data=token)
        backup = wait_for(lambda: newest_backup(served), 10, "a backup")
        served.post("/delete", params={"uuid": watch}, data=token)
        assert watches(served, url) == []
        form = {"include_watches": "y", **token}
        served.post("/backups/restore/start", data=form, files={"zip_file": ("all.zip", backup)})
        wait_for(lambda: watches(served, url) == [watch], 10, "the watch")
    with served.step("reload"):
        served.reload()
        assert watches(served, url) == [watch]
    with served.step("stop"):
        served.replace()
        assert watches(served, url) == [watch]
        assert "must be logged in" in served.get(f"/preview/{watch}").text
        served.stop()


def newest_backup(served: Served) -> bytes:
    response = served.client.get("/backups/download/latest")
    return response.content if response.status_code == 200 else b""
