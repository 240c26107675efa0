"""changedetection.io watches a page of its own; its examples, on the internet, are paused."""

from __future__ import annotations

import base64
import hashlib

from tests.support.foreign_apps import PASSWORD, Application, Served, hidden
from tests.support.harness import wait_for

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


def address(served: Served) -> str:
    """What is watched."""
    return f"http://localhost:{served.port}/login"


def watches(served: Served) -> list[str]:
    """The ids of the watches of that address, from the list of all."""
    rows = served.get("/").text.split('<tr id="')[1:]
    return [row.partition('"')[0] for row in rows if address(served) in row]


def log_in(served: Served) -> None:
    served.submit("/login", {"password": PASSWORD})
    assert hidden(served.get("/"))


def write(served: Served) -> None:
    watch = {"url": address(served), "processor": "text_json_diff"}
    served.submit("/", watch, to="/form/add/quickwatch")
    history = f"/data/{watches(served)[0]}/history.txt"
    wait_for(lambda: served.container.execute("test", "-s", history)[0] == 0, 30, "a snapshot")
    check(served)


def upload(served: Served) -> None:
    watch = watches(served)
    served.submit("/", {}, to="/backups/request-backup")
    backup = wait_for(lambda: newest_backup(served), 10, "a backup")
    served.submit("/", {}, to="/delete", params={"uuid": watch[0]})
    assert watches(served) == []
    files = {"zip_file": ("all.zip", backup)}
    served.submit("/", {"include_watches": "y"}, to="/backups/restore/start", files=files)
    wait_for(lambda: watches(served) == watch, 10, "the watch")


def check(served: Served) -> None:
    (watch,) = watches(served)
    assert "must be logged in" in served.get(f"/preview/{watch}").text


def newest_backup(served: Served) -> bytes:
    response = served.client.get("/backups/download/latest")
    return response.content if response.status_code == 200 else b""
