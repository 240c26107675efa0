"""Which responses all clients may share."""

from __future__ import annotations

import pytest

from docker_flask.worker.middleware import cache_policy

PUBLIC = "public, max-age=60"


def headers(*cache_control: str, **others: str) -> list[tuple[str, str]]:
    given = {"Content-Length": "2", **{n.replace("_", "-"): value for n, value in others.items()}}
    return [*(("Cache-Control", value) for value in cache_control), *given.items()]


@pytest.mark.parametrize(
    ("given", "fresh"),
    [
        (headers(PUBLIC), 60),
        (headers("s-maxage=5"), 5),
        (headers("max-age=60, s-maxage=5"), 5),
        (headers(" public ,, max-age=60,"), 60),
        (headers("public, max-age=60, immutable, must-revalidate"), 60),
        (headers("public, max-age=1, stale-while-revalidate=5"), 1),
        (headers("public, max-age=1, stale-while-revalidate=5, stale-if-error=9"), 1),
        (headers("public, max-age=999999999"), cache_policy.MAX_AGE),
        (headers(PUBLIC, Vary="Accept-Encoding, Cookie"), 60),
    ],
)
def test_all_clients_may_share(given: list[tuple[str, str]], fresh: int) -> None:
    assert cache_policy.fresh_for("200 OK", given) == fresh


@pytest.mark.parametrize(
    "given",
    [
        headers(),
        headers("public"),
        headers("public, max-age=0"),
        headers("private, max-age=60, public"),
        headers('public, max-age=60, private="x"'),
        headers("public, max-age=60, no-store"),
        headers("public, max-age=60, no-cache"),
        headers(PUBLIC, "private"),
        headers("public", "max-age=60"),
        headers('public, max-age=60, extension="private, no-store"'),
        headers('max-age=60, extension="a, public, b"'),
        # These only look like it.
        headers('public="x", max-age=60'),
        headers('x="public", max-age=60'),
        headers("x-s-maxage=60"),
        # These can't be read, or contradict themselves.
        headers("public, max-age=60, max-age=5"),
        headers("public, max-age=x"),
        headers('public, max-age="60"'),
        headers("public max-age=60"),
        headers('public, max-age=60, "'),
        headers("public, max-age=60, stale-if-error"),
        headers("public, max-age=60, must-revalidate, stale-if-error=5"),
        # Other headers.
        headers(PUBLIC, Set_Cookie="a=b"),
        headers(PUBLIC, Vary="*"),
        headers(PUBLIC, Vary="x" * 200),
        # nginx does not know such a header, or sees another value than the application.
        headers(PUBLIC, Vary="X_User"),
        headers(PUBLIC, Vary="X-Forwarded-For"),
        headers(PUBLIC, Vary="Accept, x-real-ip"),
        headers(PUBLIC, Vary="Authorization"),
        [*headers(PUBLIC), ("Vary", "Cookie"), ("Vary", "Accept")],
        [("Cache-Control", PUBLIC)],  # ends with the connection
        headers(PUBLIC, X_Large="x" * 33000),
    ],
)
def test_only_its_client_may_have(given: list[tuple[str, str]]) -> None:
    assert cache_policy.fresh_for("200 OK", given) == 0


def test_statuses() -> None:
    for status in ("206", "304", "500", "502", "503", "401", "403", "100"):
        assert cache_policy.fresh_for(f"{status} X", headers(PUBLIC)) == 0
    for status in ("200", "301", "404", "410"):
        assert cache_policy.fresh_for(f"{status} X", headers(PUBLIC)) == 60
