"""How a certificate from files is followed, and when the log names its end."""

from __future__ import annotations

import errno
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_flask.supervisor.certificates.certificates import DAY, INTERVAL, RETRY, Certificates
from tests.support import certificates, plans


class Clock(SimpleNamespace):
    """In place of the module `time`: it stands still until a test advances it."""

    strftime, gmtime = time.strftime, time.gmtime
    now = time.time()

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("docker_flask.supervisor.certificates.certificates.time", clock)
    return clock


def started(folder: Path, days: float = 90) -> Certificates:
    """As process 1 has it after the start."""
    certificates.write(folder / "certs", days=days)
    made = Certificates(folder)
    made.start(plans.make(TLS_CERTIFICATE=str(folder / "certs")).settings)
    return made


def looks(made: Certificates, clock: Clock, number: int = 4) -> list[bool]:
    """What some looks in a row say, if nginx takes up each certificate."""
    found, used = [], made.folder
    for _ in range(number):
        clock.now += INTERVAL
        found.append(made.look(used))
        used = made.folder
    return found


def test_the_log_names_the_end_on_each_of_the_last_days(
    tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    made, begun, warned = started(tmp_path, days=90), clock.now, []
    capfd.readouterr()
    while (left := begun + 90 * DAY - clock.now) > -2 * DAY:
        made.look(made.folder)
        lines = capfd.readouterr().err.splitlines()
        warned += [math.ceil(left / DAY) for line in lines if "no new one yet" in line]
        clock.now += DAY / 8
    assert warned == list(range(14, -2, -1))


@pytest.mark.parametrize("file", ["tls.crt", "tls.key"])
def test_a_bad_certificate_is_one_line(
    file: str, tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half written, or gone; other kinds: test_certificate.py."""
    made, certs = started(tmp_path), tmp_path / "certs"
    kept = made.folder
    certificates.write(certs)
    half = (certs / file).read_bytes()[:300]
    (certs / file).write_bytes(half) if file == "tls.crt" else (certs / file).unlink()
    capfd.readouterr()
    assert not any(looks(made, clock))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("docker-flask: keeping the previous certificate: TLS_CERTIFICATE=")
    assert made.folder == kept
    assert kept.joinpath("key.pem").exists()
    certificates.write(certs)
    assert looks(made, clock) == [False, True, False, False]  # complete after one look
    (certs / "tls.key").chmod(0o640)  # as the log advises after `uid 33 can't read the file`
    assert looks(made, clock) == [False, True, False, False]


def test_a_certificate_that_met_a_full_disk_is_taken_up_later(
    tmp_path: Path,
    clock: Clock,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = started(tmp_path)
    served = made.folder
    certificates.write(tmp_path / "certs")
    capfd.readouterr()
    with monkeypatch.context() as full:
        full.setattr("docker_flask.shared.no_room.write", no_room)
        assert not any(looks(made, clock))
        with pytest.raises(OSError, match="No space"):  # a reload says so
            made.refresh(served)
    (line,) = capfd.readouterr().err.splitlines()
    assert "keeping the previous certificate: [Errno 28] No space left on device" in line
    assert made.folder == served
    assert served.joinpath("key.pem").exists()
    clock.now += RETRY
    assert looks(made, clock, 1) == [True]
    assert made.folder != served


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_certificate_that_nginx_did_not_take_up_is_tried_again(
    tmp_path: Path, clock: Clock
) -> None:
    made = started(tmp_path)
    served = made.folder
    for _ in range(3):  # nginx refuses each, and may start again with the one that it has
        certificates.write(tmp_path / "certs")
        clock.now += INTERVAL
        made.look(served)
        clock.now += INTERVAL
        assert made.look(served)
        made.failed(OSError("nginx is full"))
        assert not made.look(served)
        assert served.joinpath("key.pem").exists()
        clock.now += RETRY
        assert made.look(served)
    assert len(list(tmp_path.glob("tls*"))) <= 3
    assert not made.look(made.folder)
