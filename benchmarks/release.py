"""Time, size, packages and digests of clean builds, for each base: `make measure WHAT=release`.

python -m benchmarks.release --builds 2 --bases bookworm trixie ubuntu:24.04
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks import common
from release import cves
from release.build import build
from release.layout import Image, Layout
from release.publish import committed
from release.registry import Refused, run
from tests.support.harness import ROOT


def built(platform: str) -> tuple[Image, float]:
    """The image of the current commit, and the minutes that its build took."""
    started = int(time.time())
    with committed() as source, common.folder() as folder, common.folder() as files:
        layout = Layout(files, epoch=0)
        layout.add(build(source, platform, folder, started))
        return layout.images[0], (time.time() - started) / 60


def known(image: Image) -> str:
    """How many known vulnerabilities the packages have."""
    try:
        found = set(cves.findings([image.sbom]))
    except Refused:
        return "unknown: OSV does not respond"
    return f"{len(found)}, {sum(bool(one.fixed) for one in found)} with an update"


def main() -> None:
    """Build, and print a row for each base."""
    parser = common.parser(__doc__, builds=2)
    parser.add_argument("--bases", nargs="+", default=["bookworm", "trixie"])
    parser.add_argument(
        "--platform", default=f"linux/{run('dpkg', '--print-architecture').strip()}"
    )
    options = parser.parse_args()
    common.print_head("base", "minutes", "download, MB", "packages", "vulnerabilities", "digests")
    for base in options.bases:
        os.environ["BASE_IMAGE"] = run(Path(ROOT, "tools/base-image"), base).strip()
        images, minutes = zip(
            *(built(options.platform) for _ in range(options.builds)), strict=True
        )
        digests = {image.digest[:19] for image in images}
        size, packages = f"{images[0].size / 1e6:.1f}", len(images[0].sbom["components"])
        spent = common.spread(minutes)
        common.print_row(base, spent, size, packages, known(images[0]), " ".join(sorted(digests)))


if __name__ == "__main__":
    main()
