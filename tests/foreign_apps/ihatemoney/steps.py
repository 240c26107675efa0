"""I hate money, what members of a group have paid: migrates its database at each start."""

from __future__ import annotations

import json
import secrets

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application("ihatemoney", env={"SECRET_KEY": secrets.token_hex()})
PROJECT = {
    "name": "Tour",
    "id": "tour",
    "password": PASSWORD,
    "contact_email": "ada@example.com",
    "default_currency": "XXX",
}
TEA = {
    "date": "2026-05-01",
    "what": "Tea for two",
    "payer": "1",
    "amount": "12.50",
    "original_currency": "XXX",
    "payed_for": ["1", "2"],
    "bill_type": "Expense",
}


def migrate(served: Served) -> None:
    package = "import ihatemoney as i; print(i.__path__[0], end='/migrations')"
    folder = served.execute("python3", "-c", package).splitlines()[-1]
    assert "(head)" in served.flask("db", "current", "-d", folder)


def write(served: Served) -> None:
    served.submit("/create", PROJECT)
    for name in ("Ada", "Bob"):
        served.submit("/tour/members/add", {"name": name})
    assert "Tea for two" in served.submit("/tour/add", TEA).text


def log_in(served: Served) -> None:
    served.submit("/tour/", {}, to="/exit")
    assert "Tea for two" not in served.get("/tour/").text
    page = served.submit("/authenticate", {"id": "tour", "password": PASSWORD})
    assert "Tea for two" in page.text


def upload(served: Served) -> None:
    bills = served.get("/tour/export/bills.json").json()
    cake = json.dumps([bills[0] | {"what": "Cake", "amount": 7.0}]).encode()
    files = {"file": ("bills.json", cake, "application/json")}
    assert "Cake" in served.submit("/tour/edit", {}, to="/tour/import", files=files).text


def check(served: Served) -> None:
    page = served.get("/tour/")
    assert "Tea for two" in page.text
    assert "Cake" in page.text
