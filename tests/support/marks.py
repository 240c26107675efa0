"""Marks that several modules of tests give."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.mark import ParameterSet


def at_night(*values: Any) -> list[ParameterSet]:
    """Values of a parameter that `make test-all` tries, and `make test` does not.

    A tuple has the values of several parameters.
    """
    cases = (value if isinstance(value, tuple) else (value,) for value in values)
    return [pytest.param(*case, marks=pytest.mark.nightly) for case in cases]
