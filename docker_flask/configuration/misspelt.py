"""Variables whose names look like misspelt settings."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# A shorter name is too likely to be a variable of another program.
_SHORTEST = 6
# A name of at least so many letters may have so many errors. A wrong letter counts twice: it often
# makes another word of a short name, such as FLASK_API and STATIC_URI.
_ERRORS = ((14, 3), (_SHORTEST, 1))
_WRONG_LETTER = 2


def sentences(names: Iterable[str], known: Collection[str]) -> list[str]:
    """One sentence for each of the names that is probably a misspelt known name."""
    words = {_plain(name): name for name in known}
    found = []
    for name in names:
        if name not in known and (meant := _meant(_plain(name), words)):
            found.append(f"{name} is not a setting: is {meant} meant?")
    return found


def _plain(name: str) -> str:
    """A name without what does not tell two names apart: case and separators."""
    return name.upper().replace("_", "").replace("-", "")


def _meant(plain: str, words: dict[str, str]) -> str:
    """The known name that is the nearest; empty if none is near."""
    if plain in words:
        return words[plain]
    near = [
        (count, name)
        for word, name in words.items()
        for length, errors in _ERRORS
        if len(word) >= length and (count := _errors(plain, word, errors)) <= errors
    ]
    return min(near)[1] if near else ""


def _errors(one: str, other: str, most: int) -> int:
    """How many letters are missing, too many, wrong, or exchanged with their neighbour.

    Returns a larger number than `most` if there are more. This is a weighted "optimal string
    alignment" distance: https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance
    """
    too_many = most + 1
    # At least one end is intact in most misspelt names, and this check is fast.
    if abs(len(one) - len(other)) > most or (one[:2] != other[:2] and one[-2:] != other[-2:]):
        return too_many
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(
                before[j] + 1, row[j - 1] + 1, before[j - 1] + _WRONG_LETTER * (letter != wanted)
            )
            if last and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return too_many
    return row[-1]
