"""Sizes of nginx that follow from the disk and the memory."""

from __future__ import annotations

import pytest

from docker_flask.plan import sizing
from tests.support import plans

MB, GB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("disk", "max_upload", "count"),
    [(80 * GB, "100m", 409), (80 * GB, "1g", 40), (80 * GB, "0", 40), (64 * MB, "100m", 16)],
)
def test_large_bodies_fit_into_half_of_the_disk(disk: int, max_upload: str, count: int) -> None:
    settings = plans.make(MAX_UPLOAD=max_upload).settings
    assert sizing.large_bodies(settings, disk) == count


@pytest.mark.parametrize(
    ("disk", "size"), [(80 * GB, 256 * MB), (GB, 16 * MB), (64 * MB, MB), (4 * MB, 0), (0, 0)]
)
def test_the_file_of_a_response(disk: int, size: int) -> None:
    assert sizing.response_file(disk) == size
