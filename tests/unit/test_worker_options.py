"""What the supervisor tells a worker arrives there, and nothing of it reaches the application."""

from __future__ import annotations

import os

import pytest

from docker_flask.worker_options import VARIABLE, DebugOptions, WorkerOptions


@pytest.mark.parametrize(
    "options",
    [
        WorkerOptions(),
        WorkerOptions(
            notify_fd=4,
            trusted_proxies=("10.0.0.0/8", "::1/128"),
            app_module="ünïcode:app",
            preload=True,
            watchdog=0.5,
            static_url="",
            static_max_age=0,
        ),
        DebugOptions(debug_hosts=("shop.test",), debugpy=5678),
    ],
)
def test_options_arrive_as_they_were_sent(
    options: WorkerOptions | DebugOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = options.to_environment()
    for name, value in sent.items():
        monkeypatch.setenv(name, value)
    assert type(options).from_environment().to_environment() == sent
    assert VARIABLE not in os.environ


def test_without_a_supervisor_there_are_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert WorkerOptions.from_environment() == WorkerOptions()
