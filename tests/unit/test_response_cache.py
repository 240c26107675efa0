"""The table of cached pages that the workers share, and what nginx is told about responses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docker_flask.worker import response_cache
from docker_flask.worker.response_cache import Page, Pages
from docker_flask.worker_options import WorkerOptions

PUBLIC = "public, max-age=60"


def headers(*cache_control: str, **others: str) -> list[tuple[str, str]]:
    given = {"Content-Length": "2", **{n.replace("_", "-"): value for n, value in others.items()}}
    return [*(("Cache-Control", value) for value in cache_control), *given.items()]


def request(found: str = "MISS/", path: str = "/", **more: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "HTTP_HOST": "test",
        "wsgi.url_scheme": "http",
        response_cache.CACHE_HEADER: found,
        **more,
    }


@pytest.fixture
def table() -> Iterator[int]:
    descriptor = os.memfd_create(response_cache.TABLE)
    yield descriptor
    os.close(descriptor)


def options(table: int, folder: Path, **more: Any) -> WorkerOptions:
    return WorkerOptions(
        cache_table_fd=table, cache_folder=str(folder), max_cached_page=1 << 20, **more
    )


def join(table: int, folder: Path, **more: Any) -> Pages:
    pages = response_cache.join(options(table, folder, **more))
    assert pages is not None
    return pages


@pytest.fixture
def pages(table: int, tmp_path: Path) -> Pages:
    return join(table, tmp_path)


def requested(pages: Pages, found: str = "MISS/", **more: str) -> Page:
    page = pages.page_of(request(found, **more))
    assert page is not None
    return page


def respond(page: Page, *cache_control: str, status: str = "200 OK", **others: str) -> list[str]:
    """Respond with a page; returns the names of the headers that this adds."""
    added = page.store(status, headers(*cache_control, **others))
    page.end(complete=True)
    return [name for name, _ in added]


def test_a_shared_response_is_marked_and_in_the_table(pages: Pages) -> None:
    first = requested(pages)
    assert first.look_again() is None
    assert respond(first, PUBLIC) == ["X-Accel-Expires", "Date"]
    assert requested(pages).look_again() == [("X-Accel-Redirect", "@application")]


def test_a_private_response_is_not(pages: Pages) -> None:
    assert respond(requested(pages), "private") == []
    assert requested(pages).look_again() is None


@pytest.mark.parametrize("said", ["", "/", "/200"])
def test_a_request_that_does_not_use_the_cache(pages: Pages, said: str) -> None:
    assert pages.page_of(request(said)) is None


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_only_get_is_shared(pages: Pages, method: str) -> None:
    assert pages.page_of(request(REQUEST_METHOD=method)) is None


def test_nginx_looks_again_only_once(pages: Pages) -> None:
    respond(requested(pages), PUBLIC)
    assert requested(pages, "MISS/200").look_again() is None


@pytest.mark.parametrize(
    "other", [{"path": "/b"}, {"HTTP_HOST": "other"}, {"wsgi.url_scheme": "https"}]
)
def test_pages_have_different_keys(pages: Pages, other: dict[str, str]) -> None:
    respond(requested(pages), PUBLIC)
    assert requested(pages, **other).look_again() is None


def test_variants_have_different_keys(pages: Pages) -> None:
    respond(requested(pages, HTTP_COOKIE="a"), PUBLIC, Vary="Cookie")
    assert requested(pages, HTTP_COOKIE="a").look_again()
    assert requested(pages, HTTP_COOKIE="b").look_again() is None
    assert requested(pages).look_again() is None


def test_a_response_that_was_cut_is_not_in_the_table(pages: Pages) -> None:
    page = requested(pages)
    page.store("200 OK", headers(PUBLIC))
    page.end(complete=False)
    assert requested(pages).look_again() is None


@pytest.mark.parametrize("name", ["HTTP_IF_NONE_MATCH", "HTTP_RANGE"])
def test_an_expired_page_is_requested_whole(pages: Pages, name: str) -> None:
    for said, kept in (("MISS/", True), ("EXPIRED/", False)):
        environ = request(said, **{name: "x"})
        assert pages.page_of(environ)
        assert (name in environ) is kept


def test_a_304_does_not_remove_a_page(pages: Pages) -> None:
    respond(requested(pages), PUBLIC)
    respond(expired(pages), PUBLIC, status="304 Not Modified")
    assert requested(pages).look_again()


def test_a_page_that_is_too_large_is_not_stored(pages: Pages) -> None:
    assert respond(requested(pages), PUBLIC, Content_Length=str(1 << 20)) != []
    assert respond(requested(pages), PUBLIC, Content_Length=str((1 << 20) + 1)) == []


def test_no_page_is_stored_on_a_full_disk(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    full = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda folder: full)
    assert respond(requested(pages), PUBLIC) == []


PROXIED = "\t".join(["MISS/", "https", "shop.test", "", "/shop"])
SEEN = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "shop.test"}


def test_behind_proxies_the_key_has_what_the_application_sees(table: int, tmp_path: Path) -> None:
    pages = join(table, tmp_path, trusted_proxies=("10.0.0.0/8",))
    assert pages.page_of(request(PROXIED, **SEEN, HTTP_X_FORWARDED_PREFIX="/shop"))
    assert pages.page_of(request("MISS/\t\t\t\t"))
    assert pages.page_of(request(PROXIED, **SEEN)) is None
    assert pages.page_of(request(PROXIED)) is None


def test_one_request_makes_a_page_and_others_wait(pages: Pages) -> None:
    respond(requested(pages), "s-maxage=1")
    maker = expired(pages)
    assert maker.look_again() is None
    waiting = expired(pages)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(waiting.look_again()))
    thread.start()
    time.sleep(0.05)
    assert found == []
    respond(maker, PUBLIC)
    thread.join()
    assert found == [[("X-Accel-Redirect", "@application")]]


def test_no_request_waits_for_a_page_that_is_not_shared_any_more(pages: Pages) -> None:
    respond(requested(pages), PUBLIC)
    maker, waiting = expired(pages), expired(pages)
    assert maker.look_again() is None
    thread = threading.Thread(target=waiting.look_again)
    thread.start()
    respond(maker, "private")
    thread.join()
    assert requested(pages).look_again() is None


def expired(pages: Pages) -> Page:
    """A page that is in the table, and too old."""
    page = requested(pages, "EXPIRED/")
    assert page.known is not None
    page.known = page.known._replace(fresh=0)
    return page


def test_an_expired_page_replaces_an_error(pages: Pages) -> None:
    respond(requested(pages), "public, max-age=1, stale-if-error=60")
    assert expired(pages).replace_error("500 X") == [("X-Accel-Redirect", "@stale")]
    assert expired(pages).replace_error("200 OK") is None
    assert expired(pages).replace_error("404 X") is None
    # nginx does not have the page.
    assert requested(pages).replace_error("500 X") is None


def test_an_expired_page_needs_permission_to_replace_an_error(pages: Pages) -> None:
    respond(requested(pages), "public, max-age=1")
    assert expired(pages).replace_error("500 X") is None


def test_a_worker_needs_the_table_and_the_folder(table: int, tmp_path: Path) -> None:
    assert response_cache.join(WorkerOptions(cache_table_fd=table)) is None
    assert response_cache.join(WorkerOptions(cache_folder=str(tmp_path))) is None
    assert response_cache.join(options(table, tmp_path)) is not None


def test_another_file_is_no_table(tmp_path: Path) -> None:
    with (tmp_path / "other").open("wb") as other:
        for number in (other.fileno(), 99):
            assert response_cache.join(options(number, tmp_path)) is None
    assert (tmp_path / "other").stat().st_size == 0
