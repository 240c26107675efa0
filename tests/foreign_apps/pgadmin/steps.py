"""pgAdmin in its server mode, without a PostgreSQL server: users, groups of servers, files."""

from __future__ import annotations

import re

from tests.support.foreign_apps import PASSWORD, Application, Served

EMAIL = "ada@example.com"
APPLICATION = Application(
    "pgadmin",
    page="/login",
    volumes=("/var/lib/pgadmin",),
    env={"PGADMIN_SETUP_EMAIL": EMAIL, "PGADMIN_SETUP_PASSWORD": PASSWORD},
    start_seconds=60,
)
GROUPS, FILES = "/browser/server_group/nodes/", "/file_manager"
QUERY = b"select 'Oolong';\n" * 100_000


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def log_in(served: Served) -> None:
    """Log in, and send the token of the session with each further request, as the pages do."""
    served.client.cookies.clear()
    form = {"email": EMAIL, "password": PASSWORD, "internal_button": "Login", "language": "en"}
    form["csrf_token"] = found('csrfToken": "([^"]+)', served.get("/login").text)
    assert served.post("/authenticate/login", data=form).url.path == "/browser/"
    script = served.get("/browser/js/utils.js").text
    header = found(r"csrf_token_header'\] = '([^']+)", script)
    served.client.headers[header] = found(r"csrf_token'\] = '([^']+)", script)


def storage(served: Served) -> str:
    """The address of the user's files, in this process of pgAdmin."""
    dialog = {"dialog_type": "storage_dialog", "supported_types": ["sql"], "dialog_title": ""}
    opened = served.post(f"{FILES}/init", json=dialog)
    return f"{FILES}/filemanager/{opened.json()['data']['transId']}/"


def download(served: Served) -> bytes:
    return served.post(storage(served), json={"mode": "download", "path": "/teas.sql"}).content


def write(served: Served) -> None:
    served.post("/browser/server_group/obj/", json={"name": "Teas"})
    assert "Teas" in served.get(GROUPS).text


def upload(served: Served) -> None:
    files = {"newfile": ("teas.sql", QUERY)}
    served.post(storage(served), data={"mode": "add", "currentpath": "/"}, files=files)
    assert download(served) == QUERY


def check(served: Served) -> None:
    log_in(served)  # pgAdmin keeps what is new in a session in memory, for up to 10 seconds
    assert "Teas" in served.get(GROUPS).text
    assert download(served) == QUERY
