"""Variables whose names are almost those of settings."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

# The lowest at which no variable in tests/unit/foreign_variables.txt resembles a setting.
SIMILARITY = 0.92


def sentences(names: Iterable[str], known: Collection[str]) -> list[str]:
    """One sentence for each name that is probably a typing error of a known name."""
    words = {_plain(name): name for name in known}
    found = []
    for name in names:
        plain = _plain(name)
        # Letters in another order, as in TRHEADS, are less similar than some names of others.
        near = [word for word in words if sorted(word) == sorted(plain)]
        near += difflib.get_close_matches(plain, words, 1, SIMILARITY)
        if near and name not in known:
            found.append(f"{name} is not a setting: is {words[near[0]]} meant?")
    return found


def _plain(name: str) -> str:
    return name.upper().replace("_", "").replace("-", "")
