"""The files of a registry, from archives of `docker save`: the same bytes for the same image.

Two builds of one commit have the same files, but the layers contain the times at which the build
wrote them. Here, they become the time of the commit: BuildKit's own `rewrite-timestamp` needs an
exporter that an engine without buildx does not have. The times of files from packages stay, because
compiled files of Python contain the time of their source.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from .registry import Refused

# Docker's own types and not OCI's: with those, Podman drops the health check.
TYPES = "application/vnd.docker"
LIST = f"{TYPES}.distribution.manifest.list.v2+json"
MANIFEST = f"{TYPES}.distribution.manifest.v2+json"
CONFIG = f"{TYPES}.container.image.v1+json"
LAYER = f"{TYPES}.image.rootfs.diff.tar.gzip"
SBOM = "opt/docker-flask/sbom.json"


@dataclass(frozen=True)
class Archive:
    """What `docker save` has written for one platform."""

    platform: str
    path: Path
    started: int  # The build wrote all files that are not older, in seconds since 1970.
    base: str  # the name of the base image, and its checksum
    base_sha256: str


@dataclass(frozen=True)
class Image:
    """An image of the list."""

    archive: Archive
    digest: str
    size: int  # of what a client downloads, in bytes
    labels: dict[str, str]
    sbom: Any


class Layout:
    """A folder that skopeo reads and writes as `dir:`."""

    def __init__(self, folder: Path, epoch: int) -> None:
        self.folder = folder
        self.images: list[Image] = []
        self._epoch = epoch
        self._entries: list[dict[str, Any]] = []
        (folder / "version").write_text("Directory Transport Version: 1.1\n")

    def add(self, archive: Archive) -> None:
        """Add the image of a platform."""
        with tarfile.open(archive.path) as tar:

            def read(name: str) -> IO[bytes]:
                return cast("IO[bytes]", tar.extractfile(name))

            (saved,) = json.load(read("manifest.json"))
            config = json.load(read(saved["Config"]))
            found = f"{config['os']}/{config['architecture']}"
            if found != archive.platform:
                raise Refused(f"the image for {archive.platform} is one for {found}")
            layers, checksums, sbom = [], [], None
            for name in saved["Layers"]:
                with self._own_times(read(name), archive.started) as layer:
                    checksums.append(digest_of(layer))
                    layers.append(self._add_layer(layer))
                    sbom = read_sbom(layer) or sbom
        config = self._without_times(config, archive.started)
        config["rootfs"] = {"type": "layers", "diff_ids": checksums}
        entry = self._add_file(CONFIG, as_json(config))
        parts = {"mediaType": MANIFEST, "config": entry, "layers": layers, "schemaVersion": 2}
        manifest = self._add_file(MANIFEST, as_json(parts), ".manifest.json")
        system, architecture = archive.platform.split("/")
        manifest["platform"] = {"os": system, "architecture": architecture}
        self._entries.append(manifest)
        size = sum(part["size"] for part in (entry, manifest, *layers))
        labels = config["config"]["Labels"]
        self.images.append(Image(archive, manifest["digest"], size, labels, sbom))

    def finish(self) -> str:
        """Write the list of the images; return its digest."""
        parts = {"mediaType": LIST, "manifests": self._entries, "schemaVersion": 2}
        content = as_json(parts)
        (self.folder / "manifest.json").write_bytes(content)
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    @contextmanager
    def _own_times(self, file: IO[bytes], started: int) -> Iterator[IO[bytes]]:
        """The layer without times of the build. A layer of the base has none, and stays equal."""
        start = file.read(2)
        file.seek(0)
        with tempfile.TemporaryFile() as old, tempfile.TemporaryFile() as new:
            # The newest engines save compressed layers.
            plain = gzip.GzipFile(fileobj=file) if start == b"\x1f\x8b" else file
            shutil.copyfileobj(plain, old)
            result = new if self._copy(old, new, started) else old
            result.seek(0)
            yield result

    def _copy(self, old: IO[bytes], new: IO[bytes], started: int) -> bool:
        """Copy a layer with the commit's time in place of times of the build: true if any."""
        changed = False
        old.seek(0)
        with tarfile.open(fileobj=old) as source, tarfile.open(fileobj=new, mode="w") as target:
            for member in source:
                headers = cast("dict[str, str]", member.pax_headers)
                for name in ("mtime", "atime", "ctime"):  # fractions of seconds
                    headers.pop(name, None)
                if member.mtime >= started:
                    member.mtime = self._epoch
                    changed = True
                content = source.extractfile(member) if member.isreg() else None
                target.addfile(member, content)
        return changed

    def _without_times(self, config: dict[str, Any], started: int) -> dict[str, Any]:
        """What a container needs, and the history, with the commit's time."""
        since, created = iso(started), iso(self._epoch)
        kept = ("architecture", "variant", "os", "config", "history")
        config = {key: config[key] for key in kept if key in config}
        for step in config["history"]:
            if step["created"][: len("2026-11-30T00:00:00")] >= since[:-1]:
                step["created"] = created
        return {**config, "created": created}

    def _add_layer(self, layer: IO[bytes]) -> dict[str, Any]:
        path = self.folder / "layer"
        layer.seek(0)
        with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as compressed:
            shutil.copyfileobj(layer, compressed)
        with path.open("rb") as written:
            digest = digest_of(written)
        entry = {"mediaType": LAYER, "digest": digest, "size": path.stat().st_size}
        path.rename(self.folder / digest.removeprefix("sha256:"))
        return entry

    def _add_file(self, kind: str, content: bytes, suffix: str = "") -> dict[str, Any]:
        checksum = hashlib.sha256(content).hexdigest()
        (self.folder / f"{checksum}{suffix}").write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{checksum}", "size": len(content)}


def read_sbom(layer: IO[bytes]) -> Any:
    """The list of packages, if it is in this layer."""
    layer.seek(0)
    with tarfile.open(fileobj=layer) as tar:
        found = next((member for member in tar if member.name == SBOM), None)
        return json.load(cast("IO[bytes]", tar.extractfile(found))) if found else None


def digest_of(file: IO[bytes]) -> str:
    """The checksum of a file, as registries write it."""
    file.seek(0)
    return f"sha256:{hashlib.file_digest(cast('Any', file), 'sha256').hexdigest()}"


def as_json(value: Any) -> bytes:
    """The same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def iso(seconds: int) -> str:
    """A time in the form in which the history has it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
