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
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(_Stream, "write", lambda _: None)
    stream = _Stream(2, SimpleNamespace(shows_all=False))  # type: ignore[arg-type]
    source, writer = os.pipe()
    stream.source = source
    for block in blocks:
        os.write(writer, block)
        assert stream.read()
    os.close(writer)
    assert not stream.read()
    assert stream.buffer.decode() == shown
    os.close(source)
