"""The sizes of WebSocket messages, read from the heads of their frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol

from docker_flask.worker.server import frames

SIZES = (0, 1, 125, 126, 65_535, 65_536)


def message(size: int, parts: int = 1) -> bytes:
    """A message in this number of frames, with a ping between each two."""
    protocol, each = FrameProtocol(client=True, extensions=[]), size // parts
    data = b"".join(
        protocol.send_data(b"x" * each, fin=False) + protocol.ping(b"p" * 100)
        for _ in range(parts - 1)
    )
    return data + protocol.send_data(b"x" * (size - each * (parts - 1)), fin=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("parts", [1, 3])
def test_a_message_fits_up_to_its_last_byte(size: int, parts: int) -> None:
    assert not frames.Messages(max(size - 1, 1)).fit(message(max(size, 2), parts))
    messages = frames.Messages(max(size, 1))
    for _ in range(3):
        assert messages.fit(message(size, parts)), "each message counts by itself"


@given(cuts=st.lists(st.integers(1, 200)))
def test_bytes_come_in_any_parts(cuts: list[int]) -> None:
    messages, data = frames.Messages(300), message(300, 3) + message(126) + message(301)
    for cut in cuts:
        part, data = data[:cut], data[cut:]
        if not messages.fit(part):
            assert len(data) <= 305, "at the head of the last message"
            return
    assert not messages.fit(data)


def test_the_head_of_a_message_is_enough() -> None:
    assert not frames.Messages(1 << 20).fit(b"\x82\xff" + (100 << 20).to_bytes(8) + b"mask")
    assert frames.Messages(0).fit(b"\x82\xff" + (1 << 40).to_bytes(8) + b"mask"), "0: no limit"


def test_close_frames() -> None:
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(frames.close(frames.GOING_AWAY))
    (frame,) = protocol.received_frames()
    assert frame.payload == (CloseReason.GOING_AWAY, "")
