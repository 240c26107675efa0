"""Fixtures of the tests with applications of other projects."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.support.foreign_apps import FOLDER, Application, Serve, Served, build
from tests.support.harness import Engine


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of an application in one process: they share its image."""
    for item in items:
        if FOLDER in item.path.parents:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            item.add_marker(pytest.mark.xdist_group(parameters.get("name", item.path.stem)))


@pytest.fixture
def serve(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Makes ready to serve an application in a mode; `Served.start` starts it."""
    made: list[Served] = []
    base = tmp_path_factory.getbasetemp()

    def serve(application: Application, mode: str) -> Served:
        folder = base / f"build-{application.name}"
        image = build(application, folder)
        source = None
        if (folder / "app").exists():
            source = tmp_path_factory.mktemp("source") / "app"
            shutil.copytree(folder / "app", source)
            if os.geteuid() == 0:  # as on a developer's machine
                for path in (source, *source.rglob("*")):
                    os.chown(path, 1000, 1000)
            for parent in (base, *base.parents, source.parent):
                if parent.name.startswith(("pytest", "source")):
                    parent.chmod(0o755)
        made.append(Served(engine.part(), application, mode, image, source))
        return made[-1]

    yield serve
    for served in made:
        served.close()
