"""What a worker tells nginx's cache about a response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.middleware import cache
from docker_flask.worker.middleware.cache import Cache
from docker_flask.worker.middleware.exchange import Exchange

PROXIED = "MISS\thttps\tshop.example\t\t"
SEEN = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "shop.example"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def exchange(
    folder: Path, found: str = "MISS", control: str = "public, max-age=60", **more: Any
) -> Exchange:
    """A request after its way in and out; found: what nginx says."""
    environ = {"REQUEST_METHOD": "GET", cache.CACHE_HEADER: found, **more.pop("environ", {})}
    size, status = more.pop("size", 2), more.pop("status", "200 OK")
    tested = Exchange(environ, lambda *_: None)
    options = WorkerOptions(cache_folder=str(folder), max_cached_page=1 << 20, **more)
    handler = Cache(lambda _: [], options)
    handler.handle(tested)
    tested.start(status, [("Cache-Control", control), ("Content-Length", str(size))])
    handler.mark(tested, {name.lower() for name, _ in tested.headers})
    return tested


def marks(tested: Exchange) -> list[str]:
    return [name for name, _ in tested.headers[2:]]


@pytest.mark.parametrize(
    "changed",
    [
        {"control": "private"},
        {"found": ""},
        {"environ": {"REQUEST_METHOD": "HEAD"}},
        {"size": 2 << 20},
        {"status": "500 Oh"},
    ],
    ids=["private", "no cache", "HEAD", "too large", "error"],
)
def test_other_responses_are_not_marked(folder: Path, changed: dict[str, Any]) -> None:
    assert marks(exchange(folder, **changed)) == []


@pytest.mark.parametrize("name", ["HTTP_IF_NONE_MATCH", "HTTP_RANGE"])
@pytest.mark.parametrize(("found", "stays"), [("MISS", True), ("EXPIRED", False), ("", True)])
def test_an_expired_page_is_requested_whole(
    folder: Path, name: str, found: str, stays: bool
) -> None:
    assert (name in exchange(folder, found, environ={name: "x"}).environ) is stays


@pytest.mark.parametrize(
    ("found", "environ", "is_marked"),
    [
        (PROXIED, SEEN, True),
        ("MISS\t\t\t\t", {}, True),
        ("\thttps\tshop.example\t\t", SEEN, False),
        (PROXIED, {}, False),
        (PROXIED, {**SEEN, "HTTP_X_FORWARDED_HOST": "other.example"}, False),
    ],
)
def test_behind_proxies_the_key_has_what_the_application_sees(
    folder: Path, found: str, environ: dict[str, str], is_marked: bool
) -> None:
    tested = exchange(folder, found, environ=environ, trusted_proxies=("10.0.0.0/8",))
    assert bool(marks(tested)) is is_marked
