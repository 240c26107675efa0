"""What an application may give to `start_response`: nothing that a client could misunderstand."""

from __future__ import annotations

from typing import Any

import pytest

from docker_flask.worker.middleware.headers import checked

CONTROLS = [chr(code) for code in (*range(32), 127) if code != 9]


@pytest.mark.parametrize(
    ("status", "headers"),
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
def test_allowed(status: str, headers: Any) -> None:
    found = checked(status, headers)
    assert found == [*headers]
    assert found is not headers, "the application may change its own list later"


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
    with pytest.raises(ValueError, match=r"take 70,016 bytes, 'X-Large' alone 60,000; allowed"):
        checked("200 OK", [("X", "x" * 10_000), ("X-Large", "x" * 60_000)])
