"""Fixtures that all tests share."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harness import Engine


@pytest.fixture(scope="session")
def session_engine() -> Iterator[Engine]:
    """The engine; at the end nothing of the tests may be left: container, network or volume."""
    engine = Engine(secrets.token_hex(4))
    yield engine
    engine.remove_containers()
    left = engine.leftovers()
    engine.client.close()
    assert not left, f"the tests left behind: {left}"


@pytest.fixture
def engine(session_engine: Engine) -> Iterator[Engine]:
    """The engine for one test, whose containers are removed while the next one begins."""
    yield session_engine
    session_engine.begin_to_remove_containers()


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    """An empty folder to write an application into, readable by the container's user."""
    folder = tmp_path / "app"
    folder.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.name.startswith("pytest"):
            parent.chmod(0o755)
    return folder


@pytest.fixture
def sample_app(app_folder: Path) -> Path:
    """A copy of the sample application, to be edited."""
    source = Path(__file__).parents[1] / "app"
    shutil.copytree(
        source, app_folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    return app_folder
