"""Prints the application's metrics of all workers; process 1 runs it, as the application's user.

python -m docker_flask.worker.server.app_metrics_page FOLDER
"""

import glob
import os
import sys

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

# Bytes of a page, which process 1 reads in one piece.
MAX_PAGE = 8 << 20


class Files:
    """A collector (prometheus_client) of the files that can be read."""

    def __init__(self, files: list[str]) -> None:
        self._files = files

    def collect(self) -> list[Metric]:
        """The metrics of all files, merged."""
        return list(MultiProcessCollector.merge(self._files))


def main(folder: str) -> None:
    """Print the page; a damaged file costs its own rows."""
    files = []
    for name in filter(os.path.isfile, sorted(glob.glob(f"{folder}/*.db"))):  # a pipe would block
        try:
            list(MultiProcessCollector.merge([name]))
        except Exception as error:
            print(f"{name}: {error!r}", file=sys.stderr)
        else:
            files.append(name)
    registry = CollectorRegistry()
    registry.register(Files(files))
    page = generate_latest(registry)
    if len(page) > MAX_PAGE:
        sys.exit(f"they have more than {MAX_PAGE >> 20} MB")
    sys.stdout.buffer.write(page)


main(sys.argv[1])
