"""What `atexit` holds, the last traces for example, runs at every orderly end of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.harness import Engine, wait_for, write_files
from tests.support.servers import CHOSEN

APP = """
import atexit, os, time
from flask import Flask, request
app = Flask(__name__)

@atexit.register
def end():
    with open("/data/ends", "a") as file:
        file.write(f"{os.getpid()}\\n")

@app.get("/")
def page():
    return str(os.getpid())

@app.get("/hang")
def hang():
    time.sleep(60)
"""


def ends(folder: Path) -> set[str]:
    file = folder / "ends"
    return set(file.read_text().split()) if file.exists() else set()


@pytest.mark.timed
@pytest.mark.timeout(60)
def test_exit_functions_run_at_every_orderly_end(
    engine: Engine, app_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    container = engine.serve(
        app=write_files(app_folder, {"app.py": APP}),
        env={"REQUEST_TIMEOUT": "1", "MAX_REQUESTS": "20", "THREADS": "2"},
        volumes={str(data): {"bind": "/data", "mode": "rw"}},
    )
    # Recycling.
    seen = {container.get("/").text for _ in range(60)}
    wait_for(lambda: ends(data) & seen, 10, "an end after MAX_REQUESTS")
    # REQUEST_TIMEOUT.
    before = ends(data)
    assert container.get("/hang").status_code == 504
    wait_for(lambda: ends(data) - before, 10, "an end after REQUEST_TIMEOUT")
    # A reload.
    before, workers = ends(data), set(map(str, container.pids(CHOSEN.worker)))
    container.shell("docker-flask reload")
    wait_for(lambda: workers <= ends(data), 10, "the ends of the old generation")
    # A stop.
    workers = set(map(str, container.pids(CHOSEN.worker)))
    container.docker.stop()
    assert workers <= ends(data)
