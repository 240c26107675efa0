"""Publish the image, or verify what is published.

python3 -m release publish REGISTRY [--key cosign.key]
python3 -m release verify IMAGE [--key cosign.pub]
python3 -m release notes
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from datetime import UTC, datetime

from . import readmes
from .build import base_of
from .cves import ask_osv
from .publish import ROOT, Order, check_commit, committed, notes_of, verify
from .registry import Refused, Repository

PLATFORMS = "linux/amd64,linux/arm64"


def publish(options: argparse.Namespace) -> None:
    """Build the current commit, and publish the image."""
    platforms = options.platforms.split(",")
    for platform in platforms:
        base_of(ROOT, platform)  # before the build starts: what is older than that keeps its times
    started, today = int(time.time()), datetime.now(UTC).date()
    repository = Repository(f"{options.registry}/docker-flask")
    ask = None if options.without_cves else ask_osv
    with committed() as source:
        check_commit(source)
        readmes.check(source)
        order = Order(repository, source, options.key, today, options.if_changed, ask)
        order.build_and_publish(platforms, started)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="release")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("publish", help="build the current commit and publish it")
    command.add_argument("registry", help="for example ghcr.io/owner")
    command.add_argument("--platforms", default=PLATFORMS, help=PLATFORMS)
    command.add_argument("--key", default="", help="a private key; without, the workflow signs")
    command.add_argument(
        "--if-changed", action="store_true", help="only if a file in the image differs"
    )
    command.add_argument("--without-cves", action="store_true", help="do not ask OSV")
    command = commands.add_parser("verify", help="check a published image")
    command.add_argument("image")
    command.add_argument("--key", default="", help="a public key; without, the workflow signed")
    commands.add_parser("notes", help="print the text of the release")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing stays behind
    try:
        if options.command == "publish":
            publish(options)
        elif options.command == "verify":
            verify(options.image, options.key)
        else:
            print(notes_of(ROOT))
    except KeyboardInterrupt:
        print("docker-flask: interrupted", file=sys.stderr)
        return 130
    except (Refused, OSError) as error:  # OSError: the disk is full, a program is missing
        for line in str(error).splitlines():
            print(f"docker-flask: {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
