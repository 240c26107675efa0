"""The table of pains: none without a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.pains import PAINS, Pain

ROOT = Path(__file__).parents[2]


def test_all_of_them_are_there() -> None:
    assert [pain.number for pain in PAINS] == list(range(1, 41))


@pytest.mark.parametrize("pain", PAINS, ids=lambda pain: str(pain.number))
def test_each_has_a_test(pain: Pain) -> None:
    file, _, name = pain.test.partition("::")
    text = (ROOT / file).read_text()
    assert re.search(rf"^def {name}\(", text, re.MULTILINE) if name else text
