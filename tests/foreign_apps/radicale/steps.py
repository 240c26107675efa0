"""Radicale, a server for calendars: nothing in /app, and the methods that WebDAV has."""

from __future__ import annotations

from tests.support.foreign_apps import Application, Served, checked

APPLICATION = Application("radicale", page="/.web/")
CALENDAR = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Tea//EN\n{}END:VCALENDAR\n"
EVENT = "BEGIN:VEVENT\nUID:{0}\nDTSTART:20260501T160000Z\nSUMMARY:{0}\nEND:VEVENT\n"


def send(served: Served, method: str, path: str, status: int, body: str = "") -> str:
    return checked(served.client.request(method, f"/ada/{path}", content=body), status).text


def log_in(served: Served) -> None:
    send(served, "PROPFIND", "", 401)
    served.client.auth = ("ada", "Earl Grey")
    served.client.headers["Depth"] = "1"
    send(served, "PROPFIND", "", 207)


def write(served: Served) -> None:
    send(served, "MKCALENDAR", "tea/", 201)
    for name in ("oolong", "sencha"):
        send(served, "PUT", f"tea/{name}.ics", 201, CALENDAR.format(EVENT.format(name)))
    send(served, "DELETE", "tea/oolong.ics", 200)


def upload(served: Served) -> None:
    events = (EVENT.format(f"tea {number}") for number in range(2_000))
    send(served, "PUT", "teas/", 201, CALENDAR.format("".join(events)))


def check(served: Served) -> None:
    calendar = send(served, "PROPFIND", "tea/", 207)
    assert "sencha.ics" in calendar
    assert "oolong.ics" not in calendar
    assert send(served, "GET", "teas/", 200).count("BEGIN:VEVENT") == 2_000
