"""Names of variables that are almost those of settings, and those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask.plan import settings

FOREIGN = Path(__file__).with_name("foreign_variables.txt")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
        ("web_concurrency", "WEB_CONCURRENCY"),
        ("THREAD", "THREADS"),
        ("MAX_UPLAOD", "MAX_UPLOAD"),
        ("NGINX_MAX_UPLOADS", "NGINX_MAX_UPLOAD"),
        ("REQUEST_TIME_OUT", "REQUEST_TIMEOUT"),
        ("FLASK-APP", "FLASK_APP"),
        ("GUNICORN_CMD_ARG", "GUNICORN_CMD_ARGS"),
    ],
)
def test_the_setting_that_a_name_resembles(given: str, meant: str) -> None:
    assert settings.did_you_mean(["PATH", given], settings.names()) == [
        f"{given} is not a setting: is {meant} meant?"
    ]


def test_variables_of_others_resemble_no_setting() -> None:
    lines = FOREIGN.read_text().splitlines()
    foreign = [name for line in lines if not line.startswith("#") for name in line.split()]
    assert len(foreign) > 400
    assert settings.did_you_mean([*foreign, *settings.names()], settings.names()) == []
