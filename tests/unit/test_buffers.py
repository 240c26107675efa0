"""nginx's buffers fit into the container's memory, and slow clients of each kind with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from docker_flask.configuration import buffers, sizing
from tests.support import plans

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize("memory", [64 * MB, 256 * MB, 512 * MB, GB, 2 * GB, 4 * GB, 64 * GB])
def test_each_kind_of_slow_client_fits_into_the_memory(memory: int) -> None:
    plan = plans.make(replace(plans.LIMITS, memory=memory, cpus=1))
    size, found = plan.sizing, plan.sizing.buffers
    request = 7 * KB + 2 * found.header
    response = request + found.first + 8 * found.buffer
    room = memory * 3 // 4
    assert size.nginx_workers * size.nginx_connections * request <= room + 256 * request
    assert size.admitted_requests * response <= room
    assert size.admitted_bodies * (response + 16 * KB) <= max(room, 16 * (response + 16 * KB))
    assert found.files * (request + 32 * KB) <= room
    assert found.files < 65_536
    # What nginx itself demands.
    assert found.first <= 7 * found.buffer


@pytest.mark.parametrize(
    ("memory", "header", "headers"),
    [(128 * MB, 8, 16), (512 * MB, 8, 16), (GB, 16, 32), (2 * GB, 32, 64), (64 * GB, 64, 64)],
)
def test_large_headers_need_memory(memory: int, header: int, headers: int) -> None:
    found = buffers.compute(memory)
    assert (found.header, found.headers) == (header * KB, headers * KB)


def test_4384_slow_readers_leave_places_at_512_mb() -> None:
    limits = replace(plans.LIMITS, memory=512 * MB, cpus=1)
    assert sizing.compute(plans.make(limits).settings, limits).admitted_requests > 4384 + 100
