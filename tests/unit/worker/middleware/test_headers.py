"""What an application may give to `start_response`: nothing that a client could misunderstand."""

from __future__ import annotations

from typing import Any

import pytest

from docker_flask.worker.middleware import headers
from docker_flask.worker.middleware.headers import checked

CONTROLS = [chr(code) for code in (*range(32), 127) if code != 9]


@pytest.mark.parametrize(
    ("status", "given"),
    [
        ("200 OK", []),
        ("200", []),
        ("404 Nicht gefunden, f\xfcr alle", []),
        ("999 Own", []),
        ("200 OK", [("X-Own", ""), ("X-Own", " two "), ("x_own.~!#$%&'*+^`|", "\t1")]),
        ("200 OK", [("Location", "/\u20ac".encode().decode("latin-1"))]),  # as Werkzeug sends it
        ("204 No Content", [("Content-Length", "0")]),
        ("200 OK", [["X-Own", "a list"]]),
    ],
)
def test_allowed(status: str, given: Any) -> None:
    for _ in range(2):  # names are known the second time
        found, names = checked(status, given)
        assert found == [*given]
        assert found is not given, "the application may change its own list later"
        assert names == [name.lower() for name, _ in given]


@pytest.mark.parametrize(
    "status",
    [
        "",
        " 200 OK",
        "OK",
        "20 OK",
        "2000 OK",
        "200OK",
        "200\tOK",
        "0200 OK",
        "1e2 OK",
        "-200",
        "000 Zero",
        "100 Continue",
        "101 Switching Protocols",
        "103 Early Hints",
        "199 Other",
        "\u0662\u0660\u0660 OK",
        "200 \u20ac",
        *(f"200 OK{control}X-Own: 1" for control in ("\r\n", *CONTROLS)),
        "200 OK\n",
        "200\r\n",
        "200\n",
        None,
        200,
        b"200 OK",
    ],
)
def test_no_status(status: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"status|str"):
        checked(status, [])


@pytest.mark.parametrize("place", ["{}X", "X{}Own", "X{}"])
@pytest.mark.parametrize("text", ["\r\nSet-Cookie: a=b\r\nX", *CONTROLS, "\t", *' ":;,()/{}@\xfc'])
def test_no_name(place: str, text: str) -> None:
    with pytest.raises(ValueError, match="header"):
        checked("200 OK", [("X-Good", "1"), (place.format(text), "1"), ("X-Good", "1")])


@pytest.mark.parametrize("text", ["1\r\nSet-Cookie: a=b", "1\r\n", *CONTROLS, "\u20ac", "\ud800"])
def test_no_value(text: str) -> None:
    with pytest.raises(ValueError, match="header"):
        checked("200 OK", [("X-Good", "1"), ("X-Own", text), ("X-Good", "1")])


def test_too_large() -> None:
    assert checked("200 OK", [("X-Own", "x" * 65_000)])
    assert checked("200 OK", [(f"X-{'x' * 900}-{number}", "1") for number in range(70)])
    with pytest.raises(ValueError, match="take 89,991 bytes"):
        checked("200 OK", [(f"X-{'x' * 900}-{number:02}", "") for number in range(99)])
    with pytest.raises(ValueError, match="has 1 to 1,000"):
        checked("200 OK", [("X" * 1001, "1")])
    with pytest.raises(ValueError, match=r"take 70,016 bytes, 'X-Large' alone 60,000; allowed"):
        checked("200 OK", [("X", "x" * 10_000), ("X-Large", "x" * 60_000)])


def test_names_of_an_application_that_invents_them() -> None:
    for number in range(3000):
        assert checked("200 OK", [(f"X-{number}", "1")])[1] == [f"x-{number}"]
    assert len(headers._names) <= headers.MAX_NAMES


def test_headers_that_describe_another_connection_are_dropped() -> None:
    given = [("transfer-Encoding", "chunked"), ("X-Own", "1"), ("X-Accel-Redirect", "/secret")]
    assert checked("200 OK", given) == ([("X-Own", "1")], ["x-own"])


@pytest.mark.parametrize("lengths", [["1", "1"], ["+1"], ["\u0661"], [""], ["1" * 19], ["1 "]])
def test_a_length_that_is_none(lengths: list[str]) -> None:
    with pytest.raises(ValueError, match=r"one Content-Length|Latin-1"):
        checked("200 OK", [("content-Length", length) for length in lengths])
