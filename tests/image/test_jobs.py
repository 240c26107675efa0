"""What docs/data.md shows: queues of jobs, schedulers, cron and migrations, with `run`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jobs import measure
from tests.support import jobs
from tests.support.harness import Engine, wait_for
from tests.support.jobs import MIGRATE, WORKERS, Queue

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]  # with the build of an image

BY_TERM = 128 + 15


@pytest.mark.parametrize("kind", ["Celery", "RQ"])
def test_stops_lose_no_job(engine: Engine, kind: str) -> None:
    outcome = measure(engine, WORKERS[kind], jobs=60, stops=2)
    print(outcome)
    assert outcome.lost == outcome.twice == []
    assert outcome.codes == [0, 0]


def test_a_job_that_is_longer_than_the_stop(engine: Engine) -> None:
    """With docs/data.md's settings, Celery does it again after the next start."""
    queue = Queue(engine)
    queue.enqueue(WORKERS["Celery"], range(1), seconds=6)
    worker = queue.start(WORKERS["Celery"])
    wait_for(lambda: queue.counts("begun"), 20, "the job to begin")
    code, seconds = worker.stop()
    print(f"stopped after {seconds:.1f} s")
    assert (code, queue.counts("done")) == (0, {})
    assert 1 < seconds < 8
    worker.docker.start()
    wait_for(lambda: queue.counts("done"), 30, "the job to be done")
    assert queue.counts("begun") == {0: 2}


def test_celery_beat(engine: Engine) -> None:
    queue = Queue(engine)
    worker = queue.start(WORKERS["Celery"])
    beat = queue.run(["run", "celery", "-A", "tasks", "beat", "--schedule", "/data/beat"])
    wait_for(lambda: int(queue.ask("GET", "ticks") or 0) >= 2, 30, "jobs by the clock")
    assert [container.stop()[0] for container in (beat, worker)] == [0, 0]


def test_apscheduler(engine: Engine) -> None:
    clock = engine.run(["run", "python", "clock.py"], image=jobs.image(), ports={})
    clock.wait_for_log("tick\ntick\n")
    assert clock.stop()[0] == BY_TERM


def test_cron(engine: Engine) -> None:
    """cron passes the variables on that its table sets, and no others."""
    line = "* * * * * root cd /app && docker-flask run flask nightly >/proc/1/fd/1 2>&1"
    script = f"{{ env; echo '{line}'; }} >/etc/cron.d/jobs; exec cron -f"
    cron = engine.run(["sh", "-c", script], image=jobs.image(), env={"GREETING": "two words"})
    cron.wait_for_log("nightly job as 33, two words", 75)
    assert cron.execute("docker-flask", "health") == (0, "")


@pytest.fixture
def data(engine: Engine) -> Iterator[dict[str, dict[str, str]]]:
    """A volume with a migration in it, as an option of `Engine.run`."""
    name = f"docker-flask-test-{secrets.token_hex(4)}"
    volume = engine.client.volumes.create(name)
    mounts = {name: {"bind": "/data", "mode": "rw"}}
    made = engine.run(jobs.make_migration(), image=jobs.image(), volumes=mounts)
    assert made.finish(30)[0] == 0, made.logs()
    yield mounts
    engine.remove_containers()
    volume.remove()


def test_a_lock_lets_a_migration_run_once_in_three_containers(
    engine: Engine, tmp_path: Path, data: dict[str, dict[str, str]]
) -> None:
    script = tmp_path / "prestart.sh"
    script.write_text(f"flock /data/.migrate {MIGRATE}\n")
    mounts = {**data, str(script): {"bind": "/app/prestart.sh", "mode": "ro"}}
    containers = [engine.run(image=jobs.image(), volumes=mounts) for _ in range(3)]
    for container in containers:
        assert container.wait_until_serving(seconds=30).text == "alembic_version picture"
    assert sum("Running upgrade" in container.logs() for container in containers) == 1


def test_a_migration_before_the_application(
    engine: Engine, data: dict[str, dict[str, str]]
) -> None:
    options: dict[str, Any] = {"image": jobs.image(), "volumes": data}
    migration = engine.run(["run", *MIGRATE.split()], **options)
    assert migration.finish(30)[0] == 0, migration.logs()
    web = engine.run(**options)
    assert web.wait_until_serving().text == "alembic_version picture"
    assert web.execute("docker-flask", "run", *MIGRATE.split())[0] == 0
