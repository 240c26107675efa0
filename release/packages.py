"""What differs between two images: the packages of their SBOMs."""

from __future__ import annotations

from typing import Any


def packages(sbom: Any) -> dict[str, str]:
    """The version of each package, by kind and name: deb/debian/openssl, pypi/flask."""
    found = {}
    for part in sbom["components"]:
        kind = part["purl"].removeprefix("pkg:").rpartition("@")[0]
        found[kind] = part["version"]
    return found


def changes(old: Any, new: Any) -> list[str]:
    """A line for each package that is new, gone, or has another version."""
    before, after = packages(old), packages(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        was, is_now = before.get(name), after.get(name)
        if was != is_now:
            lines.append(f"{name}: {was or 'not installed'} -> {is_now or 'removed'}")
    return lines
