"""Which certificates the image takes, and the line for each that it does not take."""

from __future__ import annotations

import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from trustme import CA, KeyType, LeafCert

from docker_flask.shared import certificate
from docker_flask.shared.certificate import Files
from docker_flask.shared.setting_error import SettingError

ROOT = CA()
BETWEEN = ROOT.create_child_ca()
GOOD = BETWEEN.create_child_ca().issue_cert("shop.example", "*.shop.example")
RSA = ROOT.issue_cert("shop.example", key_type=KeyType.RSA)
BLOCKS = [pem.bytes() for pem in GOOD.cert_chain_pems]
LOCKED = b"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n"
CHAIN, KEY = b"".join(BLOCKS), GOOD.private_key_pem.bytes()


def issued(begins: int, ends: int) -> LeafCert:
    """Valid from one day to another, counted from today."""
    now = datetime.now(UTC)
    return ROOT.issue_cert(
        "a.test", not_before=now + timedelta(begins), not_after=now + timedelta(ends)
    )


def pair(leaf: LeafCert) -> tuple[bytes, bytes]:
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes()


def encrypted(form: PrivateFormat) -> bytes:
    key = load_pem_private_key(KEY, None)
    return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode().strip())


def write(folder: Path, chain: bytes, key: bytes) -> Path:
    (folder / "tls.crt").write_bytes(chain)
    (folder / "tls.key").write_bytes(key)
    return folder


def take(folder: Path, key: Path | None = None) -> certificate.Certificate:
    """As a start does, from a folder or from two files."""
    files = certificate.find(str(folder), str(key) if key else None)
    return certificate.take(files, folder.parent / "taken")


NO_TEXT = der(BLOCKS[0]).replace(b"shop.", b"\xff\xfe\x80..")
CHAINS = {
    "as it should be": CHAIN,
    "the last lines without their ends": b"".join(map(bytes.rstrip, BLOCKS)),
    "with its root": CHAIN + ROOT.cert_pem.bytes(),
    "with the key": KEY + CHAIN,
    "lines of Windows": CHAIN.replace(b"\n", b"\r\n"),
    "words between": b"Bag Attributes\n".join([b"\xef\xbb\xbf", *BLOCKS, b"end"]),
    "2 MB": CHAIN + bytes(2 << 20),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_copy_of_a_chain_is_clean(tmp_path: Path, chain: bytes) -> None:
    (folder := tmp_path / "certs").mkdir()
    found = take(write(folder, chain, KEY))
    assert found.names == {"shop.example", "*.shop.example"}
    taken = tmp_path / "taken"
    ends, text = b"-----END CERTIFICATE-----", (taken / "chain.pem").read_bytes()
    copy = [der(block + ends) for block in text.split(ends)[:-1]]
    assert ends + b"-----BEGIN" not in text
    assert copy[: len(BLOCKS)] == list(map(der, BLOCKS))
    assert set(copy[len(BLOCKS) :]) <= {der(ROOT.cert_pem.bytes())}
    modes = {path.name: path.stat().st_mode & 0o777 for path in (taken, *taken.iterdir())}
    assert modes == {"taken": 0o700, "chain.pem": 0o600, "key.pem": 0o600}


BAD = {
    "an encrypted key": (CHAIN, encrypted(PrivateFormat.PKCS8), "tls.key is encrypted, .*pkey"),
    "in its old form": (CHAIN, encrypted(PrivateFormat.TraditionalOpenSSL), "tls.key is encrypted"),
    "DER": (der(BLOCKS[0]), KEY, "tls.crt has no certificate in PEM; .* -inform DER"),
    "swapped": (KEY, CHAIN, "tls.crt has no certificate in PEM; is it the key"),
    "of another": (
        CHAIN,
        ROOT.issue_cert("a.test").private_key_pem.bytes(),
        "not the key of .*crt",
    ),
    "reversed": (b"".join(reversed(BLOCKS)), KEY, "tls.key is not the key of .*tls.crt"),
    "EC and RSA": (CHAIN, RSA.private_key_pem.bytes(), "tls.key is not the key of .*tls.crt"),
    "RSA and EC": (pair(RSA)[0], KEY, "tls.key is not the key of .*tls.crt"),
    "expired": (*pair(issued(-9, -1)), "tls.crt has expired on .*; renew it"),
    "early": (*pair(issued(2, 9)), "tls.crt is not valid before .*; is the clock"),
    "empty": (b"", b"", "tls.crt has no certificate in PEM"),
    "an empty key": (CHAIN, b"", "tls.key has no private key in PEM"),
    "half a key": (CHAIN, KEY[:150], ".*tls.crt or .*tls.key contains a damaged"),
    "half its chain": (CHAIN[:-200], KEY, "tls.crt or .*tls.key contains a damaged certificate"),
    "half its certificate": (BLOCKS[0][:200], KEY, ".*tls.key contains a damaged"),
    "no text": (ssl.DER_cert_to_PEM_cert(NO_TEXT).encode(), KEY, ".*a damaged"),
    "encrypted": (BLOCKS[0].replace(b"E-----\n", b"E-----\n" + LOCKED, 1), KEY, ".*a damaged"),
    "1 MB of others": (RSA.cert_chain_pems[0].bytes() * 900, KEY, "(.*a damaged|.*is not the key)"),
    "no certificate": (CHAIN.replace(BLOCKS[1], BLOCKS[1][:70] + BLOCKS[2]), KEY, "a damaged"),
}


@pytest.mark.parametrize(("chain", "key", "wanted"), BAD.values(), ids=BAD)
def test_one_line_says_what_is_wrong(tmp_path: Path, chain: bytes, key: bytes, wanted: str) -> None:
    (folder := tmp_path / "certs").mkdir()
    begun = time.process_time()
    with pytest.raises(SettingError, match=f"TLS_CERTIFICATE={folder}/{wanted}|{wanted}") as said:
        take(write(folder, chain, key))
    assert time.process_time() - begun < 0.5, "process 1 does nothing else meanwhile"
    assert str(folder) in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", ["fifo", "folder", "loop", "nowhere", "/dev/zero", "/dev/null"])
def test_files_that_are_no_files(tmp_path: Path, name: str) -> None:
    (folder := tmp_path / "certs").mkdir()
    write(folder, CHAIN, KEY)
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    for files in ((folder / name, folder / "tls.key"), (folder / "tls.crt", folder / name)):
        setting = ("TLS_CERTIFICATE", "TLS_KEY")[files.index(folder / name)]
        with pytest.raises(SettingError, match=f"^{setting}={folder / name} (can't be|has no )"):
            certificate.take(Files(*files), tmp_path / "taken")


def test_folders(tmp_path: Path) -> None:
    for path, wanted in (
        ("", "is a folder without tls.crt and tls.key, or fullchain"),
        ("x", "is no"),
    ):
        with pytest.raises(SettingError, match=f"^TLS_CERTIFICATE={tmp_path / path} {wanted}"):
            certificate.find(str(tmp_path / path), None)
    write(tmp_path, CHAIN, KEY)
    with pytest.raises(SettingError, match=r"is no folder .* a file needs TLS_KEY"):
        certificate.find(str(tmp_path / "tls.crt"), None)
