"""Fixtures that all tests share, and the rules that all of them follow."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import loss
from tests.support.harness import (
    IMAGE,
    Derive,
    Engine,
    build_image,
    docker_client,
    write_files,
)
from tests.support.servers import NOT_APPLICABLE

# Set in CI: what this machine lacks is a failure there, and not a skip.
REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"


class Times:
    """A plug-in of pytest that writes a line for each test: seconds, number of tries and name."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tries: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of a test: set-up, call or tear-down."""
        self._seconds[report.nodeid] += report.duration
        self._tries[report.nodeid] += report.when == "setup"

    def pytest_sessionfinish(self) -> None:
        """Append the lines."""
        with self._file.open("a") as file:
            for name, seconds in self._seconds.items():
                file.write(f"{seconds:.2f} {self._tries[name]} {name}\n")


def pytest_configure(config: pytest.Config) -> None:
    """Note the times of all tests for tools/test."""
    file = os.environ.get("TEST_TIMES")
    if file and not hasattr(config, "workerinput"):  # not in the processes of pytest-xdist
        config.pluginmanager.register(Times(Path(file)))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with long tests, keep those that share a container in one process."""
    items.sort(key=seconds_alone, reverse=True)
    for item in items:
        if "module_engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
        if counts_losses(item):  # with RERUNS=1, a loss is no reason for a second try
            reruns = item.config.getoption("reruns") or 0
            item.add_marker(pytest.mark.flaky(reruns=reruns, only_rerun=["TooSlow"]))


def counts_losses(item: pytest.Item) -> bool:
    """True if the module of the test has a load that counts what is lost: one loss is a failure."""
    module = item.getparent(pytest.Module)
    names = vars(module.obj) if module else {}
    return names.get("Load") is loss.Load or names.get("Service") is loss.Service


def seconds_alone(item: pytest.Item) -> float:
    """For how long a test may keep one process busy after all others have ended."""
    timeout = item.get_closest_marker("timeout")
    shares = "module_engine" in getattr(item, "fixturenames", ())
    return float(timeout.args[0]) if timeout and not shares else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With REQUIRE_ALL=1, let a test fail that is skipped because something is missing."""
    report = yield
    if REQUIRE_ALL and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(NOT_APPLICABLE):
            report.outcome, report.longrepr = "failed", f"REQUIRE_ALL=1 allows no skip: {reason}"
    return report


@pytest.fixture(scope="session")
def session_engine() -> Iterator[Engine]:
    """The engine; at the end nothing of the tests may be left: container, network or volume."""
    engine = Engine(secrets.token_hex(4))
    yield engine
    engine.remove_containers()
    left = engine.leftovers()
    engine.client.close()
    assert not left, f"the tests left behind: {left}"


@pytest.fixture(scope="module")
def module_engine(session_engine: Engine) -> Iterator[Engine]:
    """The engine for containers that the tests of a module share."""
    engine = session_engine.part()
    yield engine
    engine.begin_to_remove_containers()


@pytest.fixture
def engine(session_engine: Engine) -> Iterator[Engine]:
    """The engine for one test, whose containers are removed while the next one begins."""
    engine = session_engine.part()
    yield engine
    engine.begin_to_remove_containers()


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    """An empty folder to write an application into, readable by the container's user."""
    return readable(tmp_path)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the tests of a module."""
    return readable(tmp_path_factory.mktemp("module"))


def readable(parent: Path) -> Path:
    """A folder that the container's user can read."""
    folder = parent / "app"
    folder.mkdir(mode=0o755)
    for each in (parent, *parent.parents):
        if each.name.startswith("pytest"):
            each.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def derive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Derive]:
    """Builds images from files, which are removed at the end; THEIRS is the image under test."""
    tags: list[str] = []

    def build(files: Mapping[str, str]) -> str:
        folder = write_files(tmp_path_factory.mktemp("derived"), files)
        dockerfile = folder / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace("THEIRS", IMAGE))
        tags.append(f"docker-flask-test-{secrets.token_hex(4)}")
        return build_image(tags[-1], folder)

    yield build
    for tag in tags:
        docker_client("rmi", "--force", tag)


@pytest.fixture
def sample_app(app_folder: Path) -> Path:
    """A copy of the sample application, to be edited."""
    source = Path(__file__).parents[1] / "app"
    shutil.copytree(
        source, app_folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    return app_folder
