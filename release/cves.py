"""Known vulnerabilities of the packages in an image, from OSV (https://osv.dev).

An image that lacks an update is not published. Vulnerabilities without an update are counted:
nobody can remove them here. An exception in exceptions.toml has a reason and an end.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote
from urllib.request import Request, urlopen

from .registry import Refused

OSV = "https://api.osv.dev"
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
SECONDS = 30
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Finding:
    """A vulnerability of a package in the image."""

    package: str
    version: str
    names: frozenset[str]  # all names of the vulnerability: CVE-..., DEBIAN-CVE-..., GHSA-...
    fixed: str  # in this version; empty if there is no update

    @property
    def cve(self) -> str:
        """The name that readers know."""
        return next(iter(sorted(self.names, key=lambda name: (not name.startswith("CVE"), name))))


def query_of(purl: str) -> tuple[str, str, str]:
    """Ecosystem, name and version in OSV, which has the source packages of distributions."""
    path, _, query = purl.removeprefix("pkg:").partition("?")
    kind, _, rest = path.partition("/")
    if kind == "pypi":
        name, _, version = rest.partition("@")
        return "PyPI", unquote(name), unquote(version)
    fields = parse_qs(query)
    name, _, version = fields["upstream"][0].partition("@")
    system, _, release = fields["distro"][0].partition("-")
    suffix = ":LTS" if system == "ubuntu" else ""
    return f"{system.capitalize()}:{release}{suffix}", name, version


def ask_osv(question: dict[str, Any], url: str = OSV) -> dict[str, Any]:
    """What OSV knows about a version of a package."""
    body = json.dumps(question).encode()
    request = Request(f"{url}/v1/query", body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            return dict(json.load(response))
    except OSError as error:
        raise Refused(f"{url} does not respond ({error}); --without-cves skips this") from None


def findings(sboms: Iterable[Any], ask: Ask = ask_osv) -> Iterator[Finding]:
    """The vulnerabilities of all packages, each once."""
    purls = {part["purl"] for sbom in sboms for part in sbom["components"]}
    # OSV does not know a Python in /usr/local by its version.
    parts = {query_of(purl) for purl in purls if not purl.startswith("pkg:generic/")}
    for ecosystem, name, version in sorted(parts):
        package = {"ecosystem": ecosystem, "name": name}
        question: dict[str, Any] = {"package": package, "version": version}
        while question:
            response = ask(question)
            for entry in response.get("vulns", []):
                names = {entry["id"], *entry.get("aliases", []), *entry.get("upstream", [])}
                yield Finding(name, version, frozenset(names), fixed_in(entry, package))
            token = response.get("next_page_token")
            question = {**question, "page_token": token} if token else {}


def fixed_in(entry: dict[str, Any], package: dict[str, str]) -> str:
    """The newest version that an entry names as the update of this package."""
    fixed = [
        event["fixed"]
        for affected in entry.get("affected", [])
        if package.items() <= affected["package"].items()
        for part in affected.get("ranges", [])
        if part["type"] != "GIT"
        for event in part["events"]
        if "fixed" in event
    ]
    return str(fixed[-1]) if fixed else ""


def check(
    sboms: Iterable[Any], today: date, exceptions: Path = EXCEPTIONS, ask: Ask = ask_osv
) -> int:
    """Print what is known; raise Refused if an update is missing, or an exception has ended.

    Returns the number of vulnerabilities without an update.
    """
    allowed = tomllib.loads(exceptions.read_text()).get("exception", [])
    problems = [
        f"the exception for {one['id']} ended on {one['until']}: {one['reason']}"
        for one in allowed
        if one["until"] < today
    ]
    accepted = {one["id"] for one in allowed}
    without = set()
    for found in findings(sboms, ask):
        if not found.fixed:
            without.add((found.package, found.cve))
        elif not found.names & accepted:
            where = f"{found.package} {found.version}"
            problems.append(f"{where} has {found.cve}, which {found.fixed} mends")
    if problems:
        raise Refused("\n".join(sorted(set(problems))))
    return len(without)
