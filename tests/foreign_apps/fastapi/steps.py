"""FastAPI: an interface of ours, of which a2wsgi makes a WSGI application."""

from __future__ import annotations

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application(
    "fastapi", edited="/app/app.py", page="/docs", env={"API_PASSWORD": PASSWORD}
)
PICTURE = bytes(range(256)) * 10_000


def log_in(served: Served) -> None:
    served.post("/files", 401)
    served.client.auth = ("ada", PASSWORD)


def write(served: Served) -> None:
    assert served.get("/count?to=many", 422).json()["detail"][0]["loc"] == ["query", "to"]


def upload(served: Served) -> None:
    served.post("/files", 201, files={"file": ("tea.png", PICTURE)})


def check(served: Served) -> None:
    assert served.get("/files/tea.png").content == PICTURE
    assert served.get("/count?to=100").text.splitlines()[-1] == "99"
