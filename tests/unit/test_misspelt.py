"""Names of variables that look like misspelt settings, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask.configuration import settings
from docker_flask.configuration.misspelt import sentences

FOREIGN = Path(__file__).with_name("foreign_variables.txt")


def foreign() -> list[str]:
    """The variables of platforms and packages."""
    lines = FOREIGN.read_text().splitlines()
    return [name for line in lines if not line.startswith("#") for name in line.split()]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
        ("WEB_CONCURRANCY", "WEB_CONCURRENCY"),
        ("web_concurrency", "WEB_CONCURRENCY"),
        ("THREAD", "THREADS"),
        ("TRHEADS", "THREADS"),
        ("APP_MODUL", "APP_MODULE"),
        ("LISTENPORT", "LISTEN_PORT"),
        ("MAX_REQUEST", "MAX_REQUESTS"),
        ("MAX_UPLAOD", "MAX_UPLOAD"),
        ("NGINX_MAX_UPLOADS", "NGINX_MAX_UPLOAD"),
        ("NGINX_WORKER_CONNECTION", "NGINX_WORKER_CONNECTIONS"),
        ("UWSGI_PROCESS", "UWSGI_PROCESSES"),
        ("REQUEST_TIME_OUT", "REQUEST_TIMEOUT"),
        ("REQUESTS_TIMEOUT", "REQUEST_TIMEOUT"),
        ("TRUSTED_PROXYS", "TRUSTED_PROXIES"),
        ("GRACEFULL_TIMEOUT", "GRACEFUL_TIMEOUT"),
        ("SEND_FILE", "SENDFILE"),
        ("FLASK-APP", "FLASK_APP"),
        ("GUNICORN_CMD_ARG", "GUNICORN_CMD_ARGS"),
    ],
)
def test_a_misspelt_name_is_told_with_the_one_that_is_meant(given: str, meant: str) -> None:
    assert sentences(["PATH", given], settings.names()) == [
        f"{given} is not a setting: is {meant} meant?"
    ]


def test_variables_of_others_are_not_told() -> None:
    assert len(foreign()) > 400
    assert sentences(foreign(), settings.names()) == []


def test_settings_themselves_are_not_told() -> None:
    assert sentences(settings.names(), settings.names()) == []
