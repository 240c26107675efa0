"""Which vulnerabilities concern an image, and which do not: OpenVEX (https://openvex.dev).

The statements come from exceptions.toml and from the table of nginx's faults in SECURITY.md.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .cves import query_of
from .registry import Refused

ROW = re.compile(r"(?m)^\| (CVE-[^|]+) \| ([^|]+) \| (\S+) \| (\S+) \|$")
COLUMNS = {"Debian:12": 0, "Debian:13": 1}  # the table's versions with a fix
ABSENT = "not in the image's configuration"
UNUSED = "vulnerable_code_not_in_execute_path"
# What OpenVEX allows as the reason why an image is not affected.
JUSTIFICATIONS = {
    UNUSED,
    "component_not_present",
    "inline_mitigations_already_exist",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "vulnerable_code_not_present",
}


def document(source: Path, sbom: Any, product: str, today: date) -> dict[str, Any]:
    """The statements about an image, ghcr.io/owner/docker-flask@sha256:..., with these packages."""
    repository, _, digest = product.partition("@")
    # A package's address names the repository's last part.
    name = repository.rpartition("/")[2]
    purl = f"pkg:oci/{name}@{quote(digest, safe='')}?repository_url={quote(repository, safe='')}"
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": f"https://{product}",
        "author": repository,
        "timestamp": f"{today}T00:00:00Z",
        "version": 1,
        "statements": [
            {"vulnerability": {"name": cve}, "products": [{"@id": purl}], **status}
            for cve, status in statements(source, sbom)
        ],
    }


def statements(source: Path, sbom: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """The status of each vulnerability that a maintainer has judged."""
    text = (source / "release/exceptions.toml").read_text()
    for one in tomllib.loads(text).get("exception", []):
        yield one["id"], of_exception(one)
    purls = [part["purl"] for part in sbom["components"] if part["purl"].startswith("pkg:deb/")]
    nginx = {query_of(purl) for purl in purls if query_of(purl)[1] == "nginx"}
    for system, _, version in nginx:
        for cves, pattern, *fixed in ROW.findall((source / "SECURITY.md").read_text()):
            needed = fixed[COLUMNS[system]] if system in COLUMNS else ""
            for cve in cves.split(", "):
                yield cve, of_nginx(pattern, version, needed)


def of_exception(one: dict[str, Any]) -> dict[str, str]:
    """An exception with a justification says that the image is not affected."""
    justification = one.get("justification")
    if not justification:
        action = f"{one['reason']}; an image with the update follows until {one['until']}"
        return {"status": "affected", "action_statement": action}
    if justification not in JUSTIFICATIONS:
        allowed = ", ".join(sorted(JUSTIFICATIONS))
        raise Refused(f"{one['id']}: justification {justification!r} is none of: {allowed}")
    reason = one["reason"]
    return {"status": "not_affected", "justification": justification, "impact_statement": reason}


def of_nginx(pattern: str, version: str, needed: str) -> dict[str, str]:
    """A fault of nginx: mended in the package, absent, or neither; `needed` may be unknown."""
    compare = ["dpkg", "--compare-versions", version, "ge", needed]
    if needed and subprocess.run(compare, check=False).returncode == 0:
        return {"status": "fixed"}
    if ABSENT in pattern:
        return {"status": "not_affected", "justification": UNUSED, "impact_statement": pattern}
    if needed:
        return {"status": "affected", "action_statement": f"update nginx to {needed}"}
    return {"status": "under_investigation"}
