"""A registry, its images and their signatures: skopeo and cosign, with the options of a release.

Without a key, the workflow on GitHub signs with its own identity, and Sigstore's public log has
each signature. With a key pair (`cosign generate-key-pair`), a release needs only the registry.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

SBOM, PROVENANCE, VEX = "cyclonedx", "slsaprovenance1", "openvex"  # cosign's names
ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOWS = r"/\.github/workflows/(release|weekly)\.yml@refs/(heads/main|tags/v[^/]+)$"
SECONDS = {"inspect": 60, "copy": 3600}  # without a limit, skopeo waits forever
# What to do, by words of skopeo and cosign.
ADVICE = {
    r"unauthorized|\bdenied: |403 .?Forbidden": "{0} refuses access to {1}: run `docker login {0}`",
    r"dial tcp|deadline exceeded|connection reset|\bEOF$": "{0} does not respond: try again later",
    "decryption failed": "COSIGN_PASSWORD is not the password of the key",
}


class Refused(Exception):
    """Why there is no release, in a line; several problems have a line each."""


def run(*command: str | Path, folder: Path | None = None) -> str:
    """What a program prints; if it fails, its last line is the reason."""
    # Without a terminal, cosign takes the password from COSIGN_PASSWORD only.
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=folder
    )
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines() or ["no output"]
        # Without skopeo's time, and without what cosign writes before each reason.
        reason = lines[-1].rpartition(" msg=")[2].strip('"').replace('\\"', '"')
        reason = reason.removeprefix("error during command execution: ")
        raise Refused(f"{Path(command[0]).name} {command[1]} failed: {reason}")
    return result.stdout


@dataclass(frozen=True)
class Repository:
    """The images of one name in a registry: ghcr.io/owner/docker-flask."""

    name: str

    def manifest(self, reference: str) -> bytes | None:
        """The manifest of a tag (:0.2.0) or a digest (@sha256:...), None if there is none."""
        image = f"docker://{self.name}{reference}"
        try:
            return self._skopeo("inspect", "", "--raw", image).encode()
        except Refused as error:
            if "manifest unknown" in str(error) or "name unknown" in str(error):
                return None
            raise

    def push(self, folder: Path, reference: str) -> None:
        """Upload the files of a folder."""
        target = f"docker://{self.name}{reference}"
        self._skopeo("copy", "dest-", "--all", "--preserve-digests", f"dir:{folder}", target)

    def pull(self, digest: str, folder: Path) -> None:
        """Download all files of a list of images; skopeo compares them with their checksums."""
        source = f"docker://{self.name}@{digest}"
        self._skopeo("copy", "src-", "--all", source, f"dir:{folder}")

    def check_signer(self, key: str) -> None:
        """Fail if this key, or without a key this machine, can sign nothing."""
        if not key and "ACTIONS_ID_TOKEN_REQUEST_URL" not in os.environ:
            raise Refused("set KEY=cosign.key: only a workflow on GitHub signs without a key")
        if key and "COSIGN_PASSWORD" not in os.environ:
            raise Refused("set COSIGN_PASSWORD to the password of the key; it may be empty")
        if key:
            self._run("cosign", "public-key", "--key", key)

    def sign(self, digest: str, key: str) -> None:
        """Sign a list of images, and each image."""
        self._run("cosign", "sign", "--recursive", *self._signer(key), f"{self.name}@{digest}")

    def verify(self, digest: str, key: str) -> None:
        """Fail unless this key, or without a key the workflow, has signed this digest."""
        self._run("cosign", "verify", *self._signed_by(key), f"{self.name}@{digest}")

    def attest(self, digest: str, kind: str, statement: Any, key: str) -> None:
        """Attach a signed statement about an image."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(statement, file)
            file.flush()
            options = [*self._signer(key), "--type", kind, "--predicate", file.name]
            self._run("cosign", "attest", *options, f"{self.name}@{digest}")

    def attested(self, digest: str, kind: str, key: str) -> Any:
        """The newest statement of this kind that this key, or the workflow, has signed."""
        options = [*self._signed_by(key), "--type", kind, f"{self.name}@{digest}"]
        lines = self._run("cosign", "verify-attestation", *options).splitlines()
        return json.loads(base64.b64decode(json.loads(lines[-1])["payload"]))["predicate"]

    def _signer(self, key: str) -> list[str]:
        """Cosign's options to sign; without a key, cosign asks GitHub who this workflow is."""
        return ["--yes", *(["--key", key, "--tlog-upload=false"] if key else [])]

    def _signed_by(self, key: str) -> list[str]:
        """Cosign's options to verify: ghcr.io/OWNER/docker-flask is from OWNER/docker-flask."""
        if key:
            return ["--key", key, "--private-infrastructure"]
        _, _, repository = self.name.partition("/")
        # A registry has the owner's name in small letters.
        identity = rf"(?i)^https://github\.com/{re.escape(repository)}{WORKFLOWS}"
        return ["--certificate-identity-regexp", identity, "--certificate-oidc-issuer", ISSUER]

    def _skopeo(self, command: str, side: str, *words: str) -> str:
        """Run skopeo; a registry of this machine needs no TLS."""
        tls = str(not self.name.startswith(("127.0.0.1:", "localhost:"))).lower()
        options = f"--{side}tls-verify={tls}", f"--command-timeout={SECONDS[command]}s"
        return self._run("skopeo", command, *options, *words)

    def _run(self, *command: str) -> str:
        """Run a program; if it fails, say what to do."""
        try:
            return run(*command)
        except Refused as error:
            for words, advice in ADVICE.items():
                if re.search(words, str(error), re.IGNORECASE):
                    line = advice.format(self.name.partition("/")[0], self.name)
                    raise Refused(f"{line} ({error})") from None
            raise


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
