"""A list of what is in the image, in the form of CycloneDX: its SBOM.

The Dockerfile runs this program while it builds the image, with a Python that does not stay there.
It describes this image only: an image that is built on it adds packages that are not in the list.

    python make.py VERSION_FILE FOLDER... > sbom.json
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

FIELDS = (
    "db:Status-Status",
    "Package",
    "Version",
    "Architecture",
    "source:Package",
    "source:Version",
)
QUERY = "\t".join(f"${{{name}}}" for name in FIELDS) + "\n"


def os_packages() -> Iterator[Component]:
    """The packages that dpkg has installed, with the names by which scanners know their faults."""
    release = platform.freedesktop_os_release()
    query = ["/usr/bin/dpkg-query", "-W", "-f", QUERY]
    listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        status, name, version, architecture, source, source_version = line.split("\t")
        if status != "installed":
            continue
        qualifiers = {
            "arch": architecture,
            "distro": f"{release['ID']}-{release.get('VERSION_ID', release['VERSION_CODENAME'])}",
            "upstream": f"{source}@{source_version}",
        }
        yield component(PackageURL("deb", release["ID"], name, version, qualifiers))


def own_python() -> Iterator[Component]:
    """The base's own Python in /usr/local, which is no package of dpkg's."""
    if sys.base_prefix != "/usr":
        yield component(PackageURL("generic", None, "python", platform.python_version()))


def python_packages(*folders: str) -> Iterator[Component]:
    """The packages that pip has installed, with the licenses that they name."""
    places = [str(path) for top in folders for path in Path(top).glob("lib/python*/site-packages")]
    for found in distributions(path=places):
        purl = PackageURL("pypi", None, found.name.lower(), found.version)
        yield component(purl, license_of(found))


def license_of(found: Distribution) -> str:
    """The license that a package names, nothing if it has a whole text there."""
    fields = found.metadata.json
    kinds = [text for text in fields.get("classifier", []) if text.startswith("License ::")]
    named = " ".join(text.rpartition(" :: ")[2] for text in kinds)
    text = str(fields.get("license_expression") or named or fields.get("license", ""))
    return "" if "\n" in text else text


def component(purl: PackageURL, license_text: str = "") -> Component:
    """A package."""
    return Component(
        name=purl.name,
        version=purl.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=[LicenseFactory().make_from_string(license_text)] if license_text else [],
    )


def main(version_file: str, *folders: str) -> None:
    """Print the list."""
    bom = Bom(components=[*os_packages(), *own_python(), *python_packages(*folders)])
    bom.metadata.component = Component(
        name="docker-flask",
        version=Path(version_file).read_text().strip(),
        type=ComponentType.CONTAINER,
        bom_ref="docker-flask",
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    # Without a number and a time of its own: the same packages give the same file.
    bom.serial_number = None  # type: ignore[assignment]
    bom.metadata.timestamp = None  # type: ignore[assignment]
    print(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
