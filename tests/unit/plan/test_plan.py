"""The chain of time limits keeps its order, whatever REQUEST_TIMEOUT is."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask.plan import packages
from docker_flask.shared.setting_error import SettingError
from tests.support import plans


@pytest.mark.parametrize("seconds", ["1", "1.4", "1.5", "2.5", "60", "86400"])
def test_nginx_answers_before_the_worker_ends_and_the_rest_is_released(seconds: str) -> None:
    plan = plans.make(REQUEST_TIMEOUT=seconds)
    assert round(plan.settings.request_timeout) < plan.watchdog < plan.release


def test_a_drain_delay_that_is_set_is_for_a_load_balancer() -> None:
    assert not plans.make().drains_without_clients
    assert plans.make(DRAIN_DELAY="1").drains_without_clients


def test_an_image_that_was_built_without_uwsgi(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the tested version of Gunicorn."""
    own = Path(packages.__file__).parents[1] / "requirements.txt"
    assert packages.GUNICORN_PIN in own.read_text().splitlines()
    packages.check_server("uwsgi", None)
    monkeypatch.setattr(packages, "DEFAULT_APP_SERVER", "gunicorn")
    with pytest.raises(SettingError, match=r"^APP_SERVER=uwsgi .* built without uWSGI"):
        packages.check_server("uwsgi", None)
