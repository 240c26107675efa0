"""When a certificate is ordered again, whatever the volume has; orders: image/test_acme.py."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from docker_flask.shared.certificate import Certificate
from docker_flask.supervisor.certificates import acme
from tests.support import plans

GOOD = Certificate(time.time(), time.time() + 1e7, frozenset(["a.test"]))


@pytest.fixture(autouse=True)
def volume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(acme, "FOLDER", tmp_path)
    monkeypatch.setattr("shutil.which", str)
    monkeypatch.setattr("docker_flask.shared.process.spawn", lambda *_: 7)


def orders(current: Certificate | None = None) -> bool:
    """True if a process 1 that has just started orders at its first look."""
    one = acme.Acme(plans.make(TLS_DOMAIN="a.test").settings)
    one.step(current)
    return bool(one._pid)


def test_each_failure_doubles_the_pause(tmp_path: Path) -> None:
    for minutes in (2, 4, 8):
        assert orders()
        (noted,) = tmp_path.glob("*/orders*")
        for seconds in (0, minutes * 60 - 5, minutes * 60):
            assert not orders(GOOD), "another container may replace it at once"
            assert not orders()
            os.utime(noted, (0, time.time() - seconds))
    os.utime(noted, (0, time.time() + 1e8))
    assert orders(), "the clock was ahead"


@pytest.mark.parametrize(("share", "is_due"), [(0.6, False), (0.7, True)])
def test_renewed_after_two_thirds_of_its_life(share: float, is_due: bool) -> None:
    life = 90 * 86400.0
    begins = time.time() - share * life
    assert orders(Certificate(begins, begins + life, frozenset(["a.test"]))) is is_due


def test_no_file_of_the_volume_stops_process_1(tmp_path: Path) -> None:
    assert orders()
    (noted,) = tmp_path.glob("*/orders*")
    for make in (os.mkfifo, lambda at: os.symlink(at, at), os.mknod):
        noted.unlink()
        make(noted)
        orders()


def test_the_key_of_an_account_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = Mock(return_value=7)
    monkeypatch.setattr("docker_flask.shared.process.spawn", spawn)
    settings = plans.make(TLS_DOMAIN="a.test", ACME_EAB=f"kid:{'A' * 43}").settings
    acme.Acme(settings).step(None)
    command, environment = spawn.call_args.args
    assert "A" * 43 not in " ".join(command)
    assert environment["EAB"] == f"kid:{'A' * 43}"
