"""A registry, its images and their signatures: skopeo and cosign, with the options of a release.

The keys are a pair of files (`cosign generate-key-pair`), and no signature goes into a public log:
a release needs no service but the registry.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

SBOM, PROVENANCE = "cyclonedx", "slsaprovenance1"  # cosign's names
SIGN = ["--tlog-upload=false", "--yes"]
VERIFY = ["--insecure-ignore-tlog=true"]


class Refused(Exception):
    """Why there is no release: one line."""


def run(*command: str | Path, folder: Path | None = None) -> str:
    """What a program prints; if it fails, its last line is the reason."""
    # Without a terminal, cosign takes the password from COSIGN_PASSWORD only.
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines() or ["no output"]
        reason = lines[-1].partition(" msg=")[2].strip('"') or lines[-1]  # without skopeo's time
        raise Refused(f"{Path(command[0]).name} {command[1]} failed: {reason}")
    return result.stdout


@dataclass(frozen=True)
class Repository:
    """The images of one name in a registry: ghcr.io/owner/docker-flask."""

    name: str

    def manifest(self, reference: str) -> bytes | None:
        """The manifest of a tag (:0.2.0) or a digest (@sha256:...), None if there is none."""
        command = ["skopeo", "inspect", self._tls(""), "--raw", f"docker://{self.name}{reference}"]
        try:
            return run(*command).encode()
        except Refused as error:
            if "manifest unknown" in str(error) or "name unknown" in str(error):
                return None
            raise

    def push(self, folder: Path, reference: str) -> None:
        """Upload the files of a folder."""
        target = f"docker://{self.name}{reference}"
        options = ["--all", "--preserve-digests", self._tls("dest-")]
        run("skopeo", "copy", *options, f"dir:{folder}", target)

    def pull(self, digest: str, folder: Path) -> None:
        """Download all files of a list of images; skopeo compares them with their checksums."""
        source = f"docker://{self.name}@{digest}"
        run("skopeo", "copy", "--all", self._tls("src-"), source, f"dir:{folder}")

    def sign(self, digest: str, key: str) -> None:
        """Sign a list of images, and each image."""
        run("cosign", "sign", "--recursive", *SIGN, "--key", key, f"{self.name}@{digest}")

    def verify(self, digest: str, key: str) -> None:
        """Fail unless this key has signed what has this digest."""
        run("cosign", "verify", *VERIFY, "--key", key, f"{self.name}@{digest}")

    def public_key(self, key: str) -> str:
        """The public key of a private key."""
        return run("cosign", "public-key", "--key", key)

    def attest(self, digest: str, kind: str, statement: Any, key: str) -> None:
        """Attach a signed statement about an image."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(statement, file)
            file.flush()
            options = [*SIGN, "--key", key, "--type", kind, "--predicate", file.name]
            run("cosign", "attest", *options, f"{self.name}@{digest}")

    def attested(self, digest: str, kind: str, key: str) -> Any:
        """The newest statement of this kind that this key has signed."""
        options = [*VERIFY, "--key", key, "--type", kind]
        lines = run("cosign", "verify-attestation", *options, f"{self.name}@{digest}").splitlines()
        return json.loads(base64.b64decode(json.loads(lines[-1])["payload"]))["predicate"]

    def _tls(self, prefix: str) -> str:
        """A registry of this machine needs no TLS."""
        local = self.name.startswith(("127.0.0.1:", "localhost:"))
        return f"--{prefix}tls-verify={str(not local).lower()}"


def digest_of(manifest: bytes) -> str:
    """The name of a manifest that never changes."""
    return f"sha256:{sha256(manifest).hexdigest()}"


def platforms_of(manifest: bytes) -> dict[str, str]:
    """The digest of the image for each platform."""
    entries = json.loads(manifest).get("manifests")
    if not entries:
        raise Refused("this is no list of images, as `make release` publishes it")
    return {
        f"{entry['platform']['os']}/{entry['platform']['architecture']}": entry["digest"]
        for entry in entries
    }
