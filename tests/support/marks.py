"""Marks that several modules of tests give."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.mark import ParameterSet


def at_night(*values: Any) -> list[ParameterSet]:
    """Values of a parameter that `make test-all` tries, and `make test` does not."""
    return [pytest.param(value, marks=pytest.mark.nightly) for value in values]
