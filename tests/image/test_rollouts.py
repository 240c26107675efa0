"""What docs/deploying.md shows, with fewer tries: a Swarm of three engines behind HAProxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import rollouts
from tests.support import swarm
from tests.support.harness import Engine

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def programs(module_engine: Engine) -> Iterator[str]:
    with swarm.programs(module_engine) as image:
        yield image


@pytest.fixture(scope="module")
def site(
    programs: str, module_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> rollouts.Site:
    folder = tmp_path_factory.mktemp("swarm")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    return rollouts.Site(module_engine, programs, folder, nodes=3)


def test_rolling_updates_lose_nothing(site: rollouts.Site) -> None:
    (row,) = rollouts.update(site, 2)
    assert (row.lost, row.backwards) == (0, 0)


def test_bad_versions_are_taken_back_and_lose_nothing(site: rollouts.Site) -> None:
    assert [row.lost for row in rollouts.rollback(site, 1)] == [0, 0]
