"""Rows of `make rollouts` about what runs beside the application: jobs and migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docker.types import EndpointSpec, Mount, RestartPolicy, ServiceMode

from benchmarks.common import wait_for_jobs
from tests.support import jobs
from tests.support.harness import Engine, docker_client, wait_for
from tests.support.swarm import Swarm

JOBS, STOPS, ROLL_OUTS = 1000, 20, 5
JOB_SECONDS = 1.0
REPLICAS = {"RQ": 4, "Celery": 2}  # a worker of Celery here has two processes


class Services:
    """Services in one network of a Swarm. Names lead to tasks: the mesh needs IPVS."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self._network = swarm.manager.networks.create("jobs", driver="overlay", attachable=True)
        command = ["redis-server", "--save", "", "--protected-mode", "no"]
        self.start("queue", command, constraints=["node.role==manager"])
        self.wait("queue", 1)

    def start(self, name: str, command: list[str], replicas: int = 1, **options: Any) -> None:
        """Create a service of the image with Celery, RQ and Redis."""
        self.swarm.manager.services.create(
            jobs.image(),
            args=command,
            name=name,
            mode=ServiceMode("replicated", replicas),
            networks=["jobs"],
            endpoint_spec=EndpointSpec(mode="dnsrr"),
            **options,
        )

    def wait(self, name: str, replicas: int) -> None:
        """Wait until a service has its tasks."""
        wait_for(lambda: len(self.tasks(name, "running")) == replicas, 120, f"tasks of {name}")

    def tasks(self, name: str, state: str) -> list[dict[str, Any]]:
        """A service's tasks in a state."""
        tasks = self.swarm.manager.services.get(name).tasks()
        return [task for task in tasks if task["Status"]["State"] == state]

    def containers(self, name: str) -> list[Any]:
        """The containers of a service that run."""
        chosen = {"label": f"com.docker.swarm.service.name={name}"}
        return [c for node in self.swarm.nodes for c in node.client.containers.list(filters=chosen)]

    def roll_out(self, name: str) -> None:
        """Replace all tasks of a service, and wait for it."""
        before = self._update(name).get("StartedAt")
        self.swarm.manager.services.get(name).force_update()
        wait_for(lambda: self._is_complete(name, before), 180, f"the roll-out of {name}")

    def _is_complete(self, name: str, before: str | None) -> bool:
        update = self._update(name)
        return update.get("StartedAt") != before and update.get("State") == "completed"

    def _update(self, name: str) -> dict[str, str]:
        return self.swarm.manager.services.get(name).attrs.get("UpdateStatus", {})

    def ask(self, *words: str) -> list[str]:
        """The words of Redis' answer."""
        (redis,) = self.containers("queue")
        # Docker's SDK drops output that arrives together with the head of the engine's response.
        command = ["exec", redis.id, "redis-cli", *words]
        result = docker_client("--host", self.swarm.nodes[0].host, *command)
        assert result.returncode == 0, result.stderr
        return result.stdout.split()

    def counts(self, name: str) -> dict[int, int]:
        """A hash of numbers."""
        lines = self.ask("HGETALL", name)
        return {int(n): int(times) for n, times in zip(lines[::2], lines[1::2], strict=True)}

    def finished(self) -> int:
        """How many jobs are done."""
        return int(self.ask("HLEN", "done")[0])

    def remove(self, *names: str) -> None:
        """Remove services."""
        for name in names:
            self.swarm.manager.services.get(name).remove()
        wait_for(lambda: not any(map(self.containers, names)), 60, "the end of services")


def queue(services: Services, kind: str) -> str:
    """Stop and replace the workers of a queue while they work; says what became of the jobs."""
    worker = jobs.WORKERS[kind]
    services.ask("FLUSHALL")
    script = f"import tasks\nnumbers, seconds = range({JOBS}), {JOB_SECONDS}\n{worker.enqueue}"
    services.swarm.manager.containers.run(
        jobs.image(), ["run", "python", "-c", script], network="jobs", remove=True
    )
    env = [f"{name}={value}" for name, value in worker.env.items()]
    restart = RestartPolicy("any", delay=1_000_000_000)
    services.start("worker", worker.command, REPLICAS[kind], env=env, restart_policy=restart)
    services.wait("worker", REPLICAS[kind])
    events, working = STOPS + ROLL_OUTS, 0
    for event in range(events):
        done = services.finished()
        wait_for_jobs(services.finished, done + (JOBS - done) // (events - event + 1))
        working += services.finished() < JOBS
        if event % (STOPS // ROLL_OUTS + 1) == 0:
            services.roll_out("worker")
        else:
            wait_for(lambda: services.containers("worker"), 60, "a worker")[0].stop()
    wait_for_jobs(services.finished, JOBS)
    begun, ended = services.counts("begun"), services.counts("done")
    services.remove("worker")
    lost = [n for n in range(JOBS) if n not in ended]
    never = sum(n not in begun for n in lost)
    twice = sum(times > 1 for times in ended.values())
    again = sum(times > 1 for times in begun.values())
    return (
        f"{kind}: {JOBS:,} jobs, {STOPS} stops, {ROLL_OUTS} roll-outs of {REPLICAS[kind]} tasks: "
        f"{len(lost)} lost, {never} of them never begun, {twice} done twice, {again} begun again; "
        f"{working} of these {events} came while jobs were left"
    )


def migration(services: Services, folder: Path, fails: bool) -> str:
    """Ten tasks that start at once with a migration."""
    folder.mkdir()
    data = folder / "data"
    data.mkdir()
    data.chmod(0o1777)
    make = jobs.make_migration(
        jobs.MIGRATION.replace("op.create", "oops.create" if fails else "op.create")
    )
    volumes = {str(data): {"bind": "/data", "mode": "rw"}}
    manager = services.swarm.manager
    manager.containers.run(jobs.image(), make, volumes=volumes, remove=True)
    script = folder / "prestart.sh"
    script.write_text(f"flock /data/.migrate {jobs.MIGRATE}\n")
    mounts = [
        Mount("/data", str(data), type="bind"),
        Mount("/app/prestart.sh", str(script), type="bind", read_only=True),
    ]
    services.start("app", [], 10, mounts=mounts, restart_policy=RestartPolicy("none"))
    state = "failed" if fails else "running"
    wait_for(lambda: len(services.tasks("app", state)) == 10, 180, f"ten tasks that are {state}")
    logs = b"".join(manager.services.get("app").logs(stdout=True, stderr=True)).decode()
    services.remove("app")
    ran, served = logs.count("Running upgrade"), logs.count("serving app:app")
    return (
        f"10 tasks, the migration {'fails' if fails else 'works'}: ran {ran} times, {served} serve"
    )


def report(engine: Engine, image: str, folder: Path) -> None:
    """Run each row and print its result; image: that of tests.support.swarm."""
    services = Services(Swarm(engine, image, folder, nodes=3, images=[jobs.image()]))
    print(migration(services, folder / "works", fails=False), flush=True)
    print(migration(services, folder / "fails", fails=True), flush=True)
    for kind in REPLICAS:
        print(queue(services, kind), flush=True)
