"""Alerta, which collects the alerts of other programs, with PostgreSQL."""

from __future__ import annotations

import secrets

from tests.support.foreign_apps import PASSWORD, Application, Served

APPLICATION = Application(
    "alerta",
    server="postgres",
    env={
        "DATABASE_URL": f"postgresql://app:{PASSWORD}@postgres/app",
        "SECRET_KEY": secrets.token_hex(),
        "AUTH_REQUIRED": "true",
        "ADMIN_USERS": "ada@example.com",
        "BASE_URL": "http://alerta.test",
    },
)
ALERT = {"resource": "kettle", "event": "Dry", "environment": "Production", "service": ["Tea"]}


def migrate(served: Served) -> None:
    served.get("/alerts", 401)
    served.execute("docker-flask", "run", "alertad", "user", "--all", "--password", PASSWORD)


def log_in(served: Served) -> None:
    user = {"username": "ada@example.com", "password": PASSWORD}
    token = served.post("/auth/login", json=user).json()["token"]
    served.client.headers["Authorization"] = f"Bearer {token}"


def write(served: Served) -> None:
    for _ in range(3):
        served.post("/alert", 201, json=ALERT)


def check(served: Served) -> None:
    (alert,) = served.get("/alerts").json()["alerts"]
    assert (alert["resource"], alert["duplicateCount"]) == ("kettle", 2)
