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


def asked(pages: Pages, found: str = "MISS/", **more: str) -> Page:
    page = pages.asked(request(found, **more))
    assert page is not None
    return page


def answer(page: Page, *cache_control: str, status: str = "200 OK", **others: str) -> list[str]:
    """Answer it; returns the names of the headers that this adds."""
    added = page.answered(status, headers(*cache_control, **others))
    page.end(complete=True)
    return [name for name, _ in added]


def test_a_shared_answer_is_marked_and_known(pages: Pages) -> None:
    first = asked(pages)
    assert first.elsewhere() is None
    assert answer(first, PUBLIC) == ["X-Accel-Expires", "Date"]
    assert asked(pages).elsewhere() == [("X-Accel-Redirect", "@application")]


def test_another_answer_is_not(pages: Pages) -> None:
    assert answer(asked(pages), "private") == []
    assert asked(pages).elsewhere() is None


@pytest.mark.parametrize("said", ["", "/", "/200"])
def test_where_the_cache_has_no_say_nothing_is_shared(pages: Pages, said: str) -> None:
    assert pages.asked(request(said)) is None


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_only_get_is_shared(pages: Pages, method: str) -> None:
    assert pages.asked(request(REQUEST_METHOD=method)) is None


def test_who_came_back_in_vain_is_answered(pages: Pages) -> None:
    answer(asked(pages), PUBLIC)
    assert asked(pages, "MISS/200").elsewhere() is None


@pytest.mark.parametrize(
    "other", [{"path": "/b"}, {"HTTP_HOST": "other"}, {"wsgi.url_scheme": "https"}]
)
def test_pages_are_told_apart(pages: Pages, other: dict[str, str]) -> None:
    answer(asked(pages), PUBLIC)
    assert asked(pages, **other).elsewhere() is None


def test_variants_are_told_apart(pages: Pages) -> None:
    answer(asked(pages, HTTP_COOKIE="a"), PUBLIC, Vary="Cookie")
    assert asked(pages, HTTP_COOKIE="a").elsewhere()
    assert asked(pages, HTTP_COOKIE="b").elsewhere() is None
    assert asked(pages).elsewhere() is None


def test_an_answer_that_was_broken_off_is_not_known(pages: Pages) -> None:
    page = asked(pages)
    page.answered("200 OK", headers(PUBLIC))
    page.end(complete=False)
    assert asked(pages).elsewhere() is None


@pytest.mark.parametrize("name", ["HTTP_IF_NONE_MATCH", "HTTP_RANGE"])
def test_an_old_page_is_made_whole(pages: Pages, name: str) -> None:
    for said, kept in (("MISS/", True), ("EXPIRED/", False)):
        environ = request(said, **{name: "x"})
        assert pages.asked(environ)
        assert (name in environ) is kept


def test_a_part_does_not_make_it_unknown(pages: Pages) -> None:
    answer(asked(pages), PUBLIC)
    answer(expired(pages), PUBLIC, status="304 Not Modified")
    assert asked(pages).elsewhere()


def test_too_large_a_page_is_not_kept(pages: Pages) -> None:
    assert answer(asked(pages), PUBLIC, Content_Length=str(1 << 20)) != []
    assert answer(asked(pages), PUBLIC, Content_Length=str((1 << 20) + 1)) == []


def test_no_page_is_kept_on_a_full_disk(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    full = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda folder: full)
    assert answer(asked(pages), PUBLIC) == []


PROXIED = "\t".join(["MISS/", "https", "shop.test", "", "/shop"])
SEEN = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "shop.test"}


def test_behind_proxies_the_key_says_what_the_application_sees(table: int, tmp_path: Path) -> None:
    pages = join(table, tmp_path, trusted_proxies=("10.0.0.0/8",))
    assert pages.asked(request(PROXIED, **SEEN, HTTP_X_FORWARDED_PREFIX="/shop"))
    assert pages.asked(request("MISS/\t\t\t\t"))
    assert pages.asked(request(PROXIED, **SEEN)) is None
    assert pages.asked(request(PROXIED)) is None


def test_one_makes_a_page_and_others_wait(pages: Pages) -> None:
    answer(asked(pages), "s-maxage=1")
    maker = expired(pages)
    assert maker.elsewhere() is None
    waiting = expired(pages)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(waiting.elsewhere()))
    thread.start()
    time.sleep(0.05)
    assert found == []
    answer(maker, PUBLIC)
    thread.join()
    assert found == [[("X-Accel-Redirect", "@application")]]


def test_nobody_waits_for_a_page_that_is_shared_no_longer(pages: Pages) -> None:
    answer(asked(pages), PUBLIC)
    maker, waiting = expired(pages), expired(pages)
    assert maker.elsewhere() is None
    thread = threading.Thread(target=waiting.elsewhere)
    thread.start()
    answer(maker, "private")
    thread.join()
    assert asked(pages).elsewhere() is None


def expired(pages: Pages) -> Page:
    """A page that is known, and too old."""
    page = asked(pages, "EXPIRED/")
    assert page.known is not None
    page.known = page.known._replace(fresh=0)
    return page


def test_a_page_stands_in_for_an_error(pages: Pages) -> None:
    answer(asked(pages), "public, max-age=1, stale-if-error=60")
    assert expired(pages).stand_in("500 X") == [("X-Accel-Redirect", "@stale")]
    assert expired(pages).stand_in("200 OK") is None
    assert expired(pages).stand_in("404 X") is None
    # nginx has none.
    assert asked(pages).stand_in("500 X") is None


def test_not_without_leave(pages: Pages) -> None:
    answer(asked(pages), "public, max-age=1")
    assert expired(pages).stand_in("500 X") is None


def test_a_worker_joins_if_there_is_a_table(table: int, tmp_path: Path) -> None:
    assert response_cache.join(WorkerOptions(cache_table_fd=table)) is None
    assert response_cache.join(WorkerOptions(cache_folder=str(tmp_path))) is None
    assert response_cache.join(options(table, tmp_path)) is not None


def test_another_file_is_no_table(tmp_path: Path) -> None:
    with (tmp_path / "other").open("wb") as other:
        for number in (other.fileno(), 99):
            assert response_cache.join(options(number, tmp_path)) is None
    assert (tmp_path / "other").stat().st_size == 0
