"""An Otter Wiki: its pages and files are in a git repository, its users in SQLite."""

from __future__ import annotations

import secrets

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application("otterwiki", page="/-/login", env={"SECRET_KEY": secrets.token_hex(16)})
EMAIL = "ada@example.com"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(1_000_000)


def log_in(served: Served) -> None:
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    served.submit("/-/register", {"name": "Ada", "email": EMAIL, **passwords})
    page = served.submit("/-/login", {"email": EMAIL, "password": PASSWORD})
    assert "/-/logout" in page.text


def write(served: Served) -> None:
    for text in ("Oolong, Earl Grey", "Oolong, Sencha"):
        served.submit("/Teas/edit", {"content": text, "commit": text}, to="/Teas/save")
    assert "Earl Grey" in served.get("/Teas/history").text


def upload(served: Served) -> None:
    files = {"file": ("tea.png", PICTURE)}
    served.submit("/Teas/attachments", {"message": "A picture"}, files=files)


def check(served: Served) -> None:
    page = served.get("/Teas")
    assert "Sencha" in page.text
    assert "/-/logout" in page.text
    assert served.get("/Teas/a/tea.png").content == PICTURE
