"""The chain of time limits keeps its order, whatever REQUEST_TIMEOUT is."""

from __future__ import annotations

import pytest

from tests.support import plans


@pytest.mark.parametrize("seconds", ["1", "1.4", "1.5", "2.5", "60", "86400"])
def test_nginx_answers_before_the_worker_ends_and_the_rest_is_released(seconds: str) -> None:
    plan = plans.make(REQUEST_TIMEOUT=seconds)
    assert round(plan.settings.request_timeout) < plan.watchdog < plan.release


def test_a_drain_delay_that_is_set_is_for_a_load_balancer() -> None:
    assert not plans.make().drains_without_clients
    assert plans.make(DRAIN_DELAY="1").drains_without_clients
