"""Reads a certificate with its chain and its key, and checks that nginx can serve with them."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_flask.shared import no_room
from docker_flask.shared.setting_error import SettingError

# The names in a folder, the certificate's and the key's: of Kubernetes, and of certbot.
NAMES = (("tls.crt", "tls.key"), ("fullchain.pem", "privkey.pem"))
# Of the copies that nginx reads.
CHAIN, KEY = "chain.pem", "key.pem"
MAX_SIZE = 64 << 10  # OpenSSL would be busy for seconds with all certificates of 1 MB
# Also the start of one whose end is missing.
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?(?:-----END CERTIFICATE-----|\Z)", re.S)

# Of both files: device, inode, size, time (ns) of the last change, also of their owner or mode.
Signature = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Files:
    """Where a certificate and its key are, and which settings say so."""

    certificate: Path
    key: Path
    settings: tuple[str, str] = ("TLS_CERTIFICATE", "TLS_KEY")

    def signature(self) -> Signature:
        """Differs after each change of the files, also behind symbolic links."""
        return tuple(_signature(path) for path in (self.certificate, self.key))


@dataclass(frozen=True)
class Certificate:
    """begins, ends: seconds since the epoch; names: the hosts that it is for."""

    begins: float
    ends: float
    names: frozenset[str]


def find(certificate: str, key: str | None) -> Files:
    """The files that TLS_CERTIFICATE and TLS_KEY mean; raises SettingError."""
    path = Path(os.path.abspath(certificate))
    if key:
        return Files(path, Path(os.path.abspath(key)))
    if not os.path.isdir(path):
        raise SettingError(
            f"TLS_CERTIFICATE={path} is no folder that uid {os.geteuid()} can read; "
            "a file needs TLS_KEY, the path of its key"
        )
    for names in NAMES:
        if all(os.path.lexists(path / name) for name in names):
            return Files(path / names[0], path / names[1], ("TLS_CERTIFICATE", "TLS_CERTIFICATE"))
    usual = ", or ".join(map(" and ".join, NAMES))
    raise SettingError(f"TLS_CERTIFICATE={path} is a folder without {usual}")


def take(files: Files, folder: Path) -> Certificate:
    """Check the files, and put copies for nginx into a folder; raises SettingError, OSError.

    Copies, because nginx reads its files again after a crash, when the originals may be half
    written. folder: nothing is there yet.
    """
    paths = zip(files.settings, (files.certificate, files.key), strict=True)
    of_chain, of_key = (f"{setting}={path}" for setting, path in paths)
    chain, key = _read(files.certificate, of_chain), _read(files.key, of_key)
    blocks = _CERTIFICATE.findall(chain)
    if not blocks:
        raise SettingError(
            f"{of_chain} has no certificate in PEM; is it the key, or DER? "
            "From DER: openssl x509 -inform DER -in FILE"
        )
    if b"PRIVATE KEY-----" not in key:
        raise SettingError(f"{of_key} has no private key in PEM")
    if b"ENCRYPTED" in key:
        raise SettingError(
            f"{of_key} is encrypted, and nobody can type its password here; decrypt it: "
            "openssl pkey -in FILE -out DECRYPTED_FILE"
        )
    folder.mkdir(mode=0o700)
    no_room.write(folder / KEY, key, 0o600)
    no_room.write(folder / CHAIN, b"\n".join(blocks), 0o600)
    return _checked(_decoded(folder, of_chain, of_key), of_chain)


def _read(path: Path, named: str) -> bytes:
    try:
        # A pipe without a writer would block.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(MAX_SIZE) or b""
    except PermissionError:
        raise SettingError(
            f"{named}: uid {os.geteuid()} can't read the file, which is also read after each "
            f"renewal; let a group: chgrp {os.getegid()} FILE && chmod 640 FILE, chmod 755 FOLDER"
        ) from None
    except OSError as error:
        raise SettingError(f"{named} can't be read: {error.strerror}") from None


def _decoded(folder: Path, of_chain: str, of_key: str) -> dict[str, Any]:
    """The first certificate; raises SettingError if OpenSSL does not take it with the key."""
    import _ssl  # Python has no public function that decodes a certificate
    import ssl  # slow to import, and only HTTPS needs it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / CHAIN, folder / KEY, "")
        return dict(_ssl._test_decode_cert(str(folder / CHAIN)))  # type: ignore[attr-defined]
    except (ssl.SSLError, UnicodeDecodeError) as error:
        # The last: the key is of another kind.
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise SettingError(f"{of_key} is not the key of {of_chain}") from None
        reason = f" ({error.reason})" if error.reason else ""
        raise SettingError(
            f"{of_chain} or {of_key} contains a damaged certificate or key{reason}"
        ) from None


def _checked(found: dict[str, Any], named: str) -> Certificate:
    """Raises SettingError if browsers would refuse the certificate today."""
    import ssl

    names = frozenset(v for kind, v in found.get("subjectAltName", ()) if kind == "DNS")
    begins, ends = map(ssl.cert_time_to_seconds, (found["notBefore"], found["notAfter"]))
    if ends <= time.time():
        raise SettingError(f"{named} has expired on {found['notAfter']}; renew it")
    if begins > time.time() + 300:  # an authority's clock may be ahead
        begin = f"is not valid before {found['notBefore']}"
        raise SettingError(f"{named} {begin}; is the clock of this machine right?")
    return Certificate(begins, ends, names)


def _signature(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
