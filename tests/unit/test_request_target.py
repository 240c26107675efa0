"""How debug mode reads the target of a request: as nginx 1.26 was seen to do."""

from __future__ import annotations

import pytest

from docker_flask.debug.request_target import read, same_host


@pytest.mark.parametrize(
    ("target", "uri", "path", "query"),
    [
        ("/", "/", "/", ""),
        ("/a%20b?x=%26", "/a%20b?x=%26", "/a b", "x=%26"),
        ("/x%2Fy/../z", "/x%2Fy/../z", "/x/z", ""),
        ("/..x/../y", "/..x/../y", "/y", ""),
        ("/a/.", "/a/.", "/a/", ""),
        ("/a/..", "/a/..", "/", ""),
        ("/a/./b", "/a/./b", "/a/b", ""),
        ("/a/%2e%2E/b", "/a/%2e%2E/b", "/b", ""),
        ("/a//../b", "/a//../b", "/a/b", ""),
        ("/a//b", "/a//b", "/a//b", ""),
        ("//../b", "//../b", "/b", ""),
        ("/%C3%A4/%C3%B6%3F", "/%C3%A4/%C3%B6%3F", "/\xc3\xa4/\xc3\xb6?", ""),
        ("/\xc3\xa4?\xc3", "/\xc3\xa4?\xc3", "/\xc3\xa4", "\xc3"),
        ("/%E4", "/%E4", "/\xe4", ""),
        ("/;x", "/;x", "/;x", ""),
        ("/a?", "/a?", "/a", ""),
        ("/a??b", "/a??b", "/a", "?b"),
        ("/a#b?c", "/a#b?c", "/a", ""),
        ("/a?x#y", "/a?x#y", "/a", "x"),
        ("http://me.example/a?b", "/a?b", "/a", "b"),
        ("http://me.example", "/", "/", ""),
    ],
)
def test_what_nginx_accepts(target: str, uri: str, path: str, query: str) -> None:
    assert read(target)[:3] == (uri, path, query)


@pytest.mark.parametrize(
    "target",
    ["/../b", "/a/../..", "/%00", "/%zz", "/%", "*", "a", "/\x7f", "/%2Fa", "/x/..//a", "//\\a"],
)
def test_what_nginx_refuses(target: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read(target)


@pytest.mark.parametrize(
    ("target", "header", "same"),
    [
        ("http://me.example/", "Me.example:8080", True),
        ("http://me.example:80/", "me.example.", True),
        ("http://me.example/", "other.example", False),
        ("http://me.example/", None, True),
        ("/", "me.example", True),
    ],
)
def test_two_hosts(target: str, header: str | None, same: bool) -> None:
    assert same_host(read(target).host, header) is same


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//", "/"),
        ("///a//b?c=//d", "/a//b?c=//d"),
        ("http://me.example//a", "/a"),
        ("//a/../b", "/a/../b"),
        ("/a//b", ""),
    ],
)
def test_several_slashes_at_the_beginning(target: str, location: str) -> None:
    assert read(target).redirect == location
