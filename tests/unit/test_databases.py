"""The line about connections to a database, with SQLAlchemy's own pools."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine

from docker_flask.worker import databases


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    """Those of a test, which its end removes."""
    found: list[Engine] = []
    yield found
    found.clear()
    gc.collect()


def engine(url: str, **options: Any) -> Engine:
    """An engine that opens no connection, and so needs no driver."""
    driver = SimpleNamespace(paramstyle="pyformat", __version__="2.9")
    return create_engine(url, module=driver, **options)


def test_a_pool_in_each_of_many_workers(engines: list[Engine]) -> None:
    engines.append(engine("postgresql+pg8000://host/name"))
    assert databases.notes(6) == []
    (words,) = databases.notes(8)
    assert "120 connections to PostgreSQL (8 workers, each with a pool of 15)" in words
    assert "accept 97" in words


def test_pools_of_one_server_add_up(engines: list[Engine]) -> None:
    engines += [engine("postgresql+pg8000://a/b", pool_size=9, max_overflow=1) for _ in "ab"]
    assert databases.notes(4) == []
    assert "100 connections" in databases.notes(5)[0]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("postgresql+pg8000://host/name", {"poolclass": NullPool}),
        ("postgresql+pg8000://host/name", {"max_overflow": -1}),
        ("sqlite:///file.db", {}),
    ],
    ids=["no pool", "a pool without a maximum", "no server"],
)
def test_what_can_not_be_known(engines: list[Engine], url: str, options: dict[str, Any]) -> None:
    make = create_engine if url.startswith("sqlite") else engine
    engines.append(make(url, **options))
    assert databases.notes(1000) == []
