"""What the relay of the log changes."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from docker_flask.supervisor.log_relay import _Stream


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [
        (["grüße 名字 😀\x1b[1m\n".encode()], "grüße 名字 😀\x1b[1m\n"),
        ([b"a\xc2\x9b31mb"], "a\\u009b31mb"),
        ([b"a\xc2\x80b"], "a\\u0080b"),
        ([b"a\x9b31mb"], "a\\x9b31mb"),
        ([b"\x1b[31;1mred\x1b[0m\ta\r\n"], "\x1b[31;1mred\x1b[0m\ta\r\n"),
        (
            [b"\x1b]0;title\x07 \x1b[2J\x00\x08\x7f"],
            "\\u001b]0;title\\u0007 \\u001b[2J\\u0000\\u0008\\u007f",
        ),
        ([b"a\x1b", b"[2J", b"forged\rline\r", b"\n"], "a\\u001b[2Jforged\\u000dline\r\n"),
        ([b"\x85\xff\n"], "\\x85\\xff\n"),
        ([b"gr\xc3", b"\xbc\xf0\x9f", b"\x98\x80", b"\xe5\x90"], "grü😀\\xe5\\x90"),
        ([b"gr\xc3", b"ab\n"], "gr\\xc3ab\n"),
    ],
)
def test_control_characters_are_shown(
    monkeypatch: pytest.MonkeyPatch, blocks: list[bytes], shown: str
) -> None:
    stream, writer = stream_without_reader(monkeypatch)
    for block in blocks:
        os.write(writer, block)
        assert stream.read()
    os.close(writer)
    assert not stream.read()
    assert stream.buffer.decode() == shown
    os.close(stream.source)


def test_what_is_dropped_is_said_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, writer = stream_without_reader(monkeypatch)
    for _ in range(20):
        os.write(writer, b"x" * (1 << 16))
        assert stream.read()
    assert stream.buffer == b"x" * (17 << 16) + b"\n"
    stream.buffer = b""  # the reader has read it all
    os.write(writer, b"the next\n")
    assert stream.read()
    said = b"docker-flask: dropped 196608 bytes of log output: the reader is too slow\n"
    assert stream.buffer == said + b"the next\n"
    os.close(writer)
    os.close(stream.source)


def stream_without_reader(monkeypatch: pytest.MonkeyPatch) -> tuple[_Stream, int]:
    """A stream, and the pipe whose text the stream reads."""
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(_Stream, "write", lambda _: None)
    stream = _Stream(2, SimpleNamespace(shows_all=False))  # type: ignore[arg-type]
    stream.source, writer = os.pipe()
    return stream, writer
