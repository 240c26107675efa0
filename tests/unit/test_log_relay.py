"""What the relay of the log changes."""

from __future__ import annotations

import os

import pytest

from docker_flask.supervisor.log_relay import _Stream, without_controls


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("grüße 名字 😀\x1b[1m\n".encode(), "grüße 名字 😀\x1b[1m\n".encode()),
        (b"a\xc2\x9b31mb", b"a\\x9B31mb"),
        (b"a\x9b31mb", b"a\\x9B31mb"),
        (b"\x85\xff\n", b"\\x85\xff\n"),
    ],
)
def test_control_characters_beyond_ascii_are_shown(data: bytes, shown: bytes) -> None:
    assert without_controls(data) == shown


def test_a_character_may_come_in_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _Stream.__new__(_Stream)
    stream.buffer, stream._dropped, stream._cut = b"", 0, b""
    stream._edit = lambda data: data
    stream.source, writer = os.pipe()
    monkeypatch.setattr(_Stream, "write", lambda self: None)
    for block in (b"gr\xc3", b"\xbc\xf0\x9f", b"\x98\x80", b"\xe5\x90"):
        os.write(writer, block)
        assert stream.read()
    os.close(writer)
    assert not stream.read()
    assert stream.buffer == "grü😀".encode() + b"\xe5\x90"
    os.close(stream.source)
