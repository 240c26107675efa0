"""How debug mode reads the path of a request: as nginx 1.26 was seen to do."""

from __future__ import annotations

import pytest

from docker_flask.debug.server import path_of


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/", "/"),
        ("/a%20b?x=%26", "/a b"),
        ("/x%2Fy/../z", "/x/z"),
        ("/..x/../y", "/y"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/../../c/./d", "/c/d"),
        ("/a/%2e%2E/b", "/b"),
        ("/a//../b", "/a/b"),
        ("/a//b", "/a//b"),
        ("/%C3%A4/%C3%B6%3F", "/\xc3\xa4/\xc3\xb6?"),
        ("/\xc3\xa4?\xc3", "/\xc3\xa4"),
        ("/%E4;x", "/\xe4;x"),
        ("/a??b", "/a"),
        ("/a#b?c", "/a"),
    ],
)
def test_the_path_of_an_address(uri: str, path: str) -> None:
    assert path_of(uri) == path
