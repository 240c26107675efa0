"""A release: what is published in a registry of this machine, and how it is checked.

The registry is Debian's `docker-registry`. The images are stand-ins of a few kilobytes for two
platforms, and OSV is a stand-in, too. Real builds, for this platform, run at night.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import date
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree, which
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from release import cves
from release.layout import SBOM, Archive
from release.publish import Order, check_commit, committed, verify, version_of
from release.registry import ISSUER, SECONDS, Refused, Repository, digest_of, run
from tests.support import certificates
from tests.support.harness import BASE_IMAGE, ROOT, Derive, docker_client, wait_for
from tests.support.marks import at_night

PATH = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
pytestmark = pytest.mark.skipif(
    None in [which(name, path=PATH) for name in ("cosign", "docker-registry", "skopeo")],
    reason="`tools/install registry` installs what is missing",
)
BUILT = 1_800_000_000  # when the stand-ins are built: 2027-01-15 08:00:00
PLATFORMS = ("linux/amd64", "linux/arm64")
HERE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]
DAY, NEXT_WEEK, NEXT_YEAR = date(2026, 11, 30), date(2026, 12, 7), date(2099, 1, 5)
USER = "user:$2b$04$SIk6yji/6qY2QTstGzNpk.GsRfWTsVlV8JgfGIhqLTJSgR6Bzn5Va\n"  # secret
OF_ISSUER = "1.3.6.1.4.1.57264.1.1"  # in a certificate of Sigstore's: who knows the identity
CLIENT = """#!/bin/sh
echo "$@" >> {}
case "$*" in build\\ *) exec sleep 60 ;; *inspect*) echo linux/amd64 ;; esac
"""
UBUNTU = "pkg:deb/ubuntu/libssl3@3.0.13-1?distro=ubuntu-24.04&upstream=openssl%403.0.13-1"
NGINX = "pkg:deb/debian/nginx@1.22.1-9?distro=debian-12&upstream=nginx%401.22.1-9%2Bdeb12u9"


def sbom(**versions: str) -> dict[str, Any]:
    """A list of Python packages, Ubuntu's OpenSSL, Debian's nginx, and a Python in /usr/local."""
    purls = {f"pkg:pypi/{name}@{version}": version for name, version in versions.items()}
    purls |= {UBUNTU: "3.0.13-1", NGINX: "1.22.1-9", "pkg:generic/python@3.14.7": "3.14.7"}
    return {"components": [{"purl": key, "version": purls[key]} for key in purls]}


def packed(files: dict[str, tuple[bytes, int]]) -> bytes:
    """An archive of these files, each with its time."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w") as tar:
        for name, (content, written) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), written
            tar.addfile(member, io.BytesIO(content))
    return result.getvalue()


def saved(folder: Path, platform: str, packages: dict[str, Any], built: int) -> Archive:
    """What `docker save` writes for an image that was built at this time: a base, and a layer."""
    name, created = platform.removeprefix("linux/"), f"2027-01-15T08:00:{built - BUILT:02}.5Z"
    config = {
        **{"os": "linux", "architecture": name, "history": [{"created": created}]},
        "config": {"Labels": {"org.opencontainers.image.revision": "f00d"}},
    }
    own = {"old.py": (b"", 1000), "new": (b"", built), SBOM: (json.dumps(packages).encode(), built)}
    parts = {
        "base.tar": packed({"etc": (b"", 1000)}),
        "own.tar": packed(own),
        "config.json": json.dumps(config).encode(),
        "manifest.json": b'[{"Config": "config.json", "Layers": ["base.tar", "own.tar"]}]',
    }
    path = folder / f"{name}.tar"
    path.write_bytes(packed({name: (content, 0) for name, content in parts.items()}))
    return Archive(platform, path, BUILT, "base", "0" * 64)


def publish(order: Order, packages: dict[str, Any], built: int = BUILT, **changed: Any) -> None:
    """Publish two stand-ins with these packages."""
    folder = Path(order.key).parent
    archives = [saved(folder, platform, packages, built) for platform in PLATFORMS]
    replace(order, **changed).publish(archives)


def published(order: Order, tag: str) -> bytes | None:
    """What a tag is the name of."""
    return order.repository.manifest(f":{tag}")


def check(order: Order, key: str = "cosign.pub") -> None:
    """As `make verify` does."""
    verify(f"{order.repository.name}:{order.tags[1]}", str(Path(order.key).with_name(key)))


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Order]:
    """To publish in an empty registry, with new keys, without a question to OSV."""
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    run("cosign", "generate-key-pair", folder=tmp_path)
    with serving(tmp_path) as repository:
        yield Order(repository, ROOT, f"{tmp_path}/cosign.key", DAY, ask=None)


@contextmanager
def serving(folder: Path, **configuration: Any) -> Iterator[Repository]:
    """A registry on a free port, with its files in a folder, where another registry finds them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(folder / "registry")}}
    configuration |= {"version": 0.1, "storage": storage, "http": {"addr": address}}
    (folder / "registry.json").write_text(json.dumps(configuration))  # JSON is YAML, too
    command, log = ["docker-registry", "serve", f"{folder}/registry.json"], subprocess.DEVNULL
    with subprocess.Popen(command, stdout=log, stderr=log) as process:
        wait_for(partial(responds, address), 10, "the registry")
        yield Repository(f"{address}/docker-flask")
        process.terminate()


def responds(address: str) -> bool:
    """True if a registry does."""
    try:
        with urlopen(f"http://{address}/v2/", timeout=1):
            return True
    except URLError as error:
        return isinstance(error, HTTPError)  # it wants a login


def test_published_and_verified(order: Order, capsys: pytest.CaptureFixture[str]) -> None:
    dated, version, minor = order.tags
    assert (dated, minor) == (f"{version}-20261130", version.rpartition(".")[0])
    publish(order, sbom(flask="3.1.0"))
    manifest = published(order, dated)
    assert manifest
    assert manifest == published(order, version) == published(order, minor)
    # The times of the build are not in the image.
    other = replace(order, repository=Repository(f"{order.repository.name}/other"))
    publish(other, sbom(flask="3.1.0"), BUILT + 7)
    assert published(other, version) == manifest
    entries = json.loads(manifest)["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]

    capsys.readouterr()
    check(order)
    assert re.fullmatch(
        r"docker-flask: \S+ is sha256:\w{64}: signed with the key of \S+\n"
        r"docker-flask: 7 files have the checksums that are signed\n"
        rf"(docker-flask: linux/a\w+64 is sha256:\w{{64}}: {dated}, "
        r"signed list of 4 packages; built from f00d\n"
        r"docker-flask: linux/a\w+64: signed statements on vulnerabilities: .*5 fixed.*\n){2}",
        capsys.readouterr().out,
    )
    with pytest.raises(Refused, match="is published, and stays as it is"):
        publish(order, sbom(flask="3.1.1"))
    run(
        "cosign", "generate-key-pair", "--output-key-prefix", "other", folder=Path(order.key).parent
    )
    with pytest.raises(Refused, match="cosign verify failed: "):
        check(order, "other.pub")


WORKFLOWS = "https://github.com/Owner/docker-flask/.github/workflows"


def certify(folder: Path, identity: str) -> None:
    """Write a certificate for cosign.pub, as Sigstore's authority does for a workflow."""
    pem = certificates.ROOT.cert_pem.bytes()
    key = load_pem_private_key(certificates.ROOT.private_key_pem.bytes(), None)
    public = load_pem_public_key((folder / "cosign.pub").read_bytes())
    assert isinstance(key, EllipticCurvePrivateKey)
    assert isinstance(public, EllipticCurvePublicKey)
    issuer = x509.load_pem_x509_certificate(pem)
    certificate = x509.CertificateBuilder(
        issuer.subject,
        x509.Name([]),
        public,
        1,
        issuer.not_valid_before_utc,
        issuer.not_valid_after_utc,
        [
            x509.Extension(part.oid, False, part)
            for part in (
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]),
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
                x509.UnrecognizedExtension(x509.ObjectIdentifier(OF_ISSUER), ISSUER.encode()),
            )
        ],
    ).sign(key, SHA256())
    (folder / "ca.pem").write_bytes(pem)
    (folder / "workflow.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def test_without_a_key_the_workflow_signs(
    order: Order,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The authority that says who the workflow is, is this test's, and there is no public log."""
    repository = Repository(order.repository.name.replace("/", "/owner/"))
    order = replace(order, repository=repository)
    with pytest.raises(Refused, match=r"^set KEY=cosign\.key: only a workflow on GitHub signs "):
        replace(order, key="").check()
    authority = ["--ca-roots=ca.pem", "--insecure-ignore-tlog", "--insecure-ignore-sct"]
    own = ["--certificate=workflow.pem", "--certificate-chain=ca.pem", "--tlog-upload=false"]
    signer, signed_by = Repository._signer, Repository._signed_by
    monkeypatch.setattr(
        Repository, "_signer", lambda self, key: [*signer(self, key), "--key", order.key, *own]
    )
    monkeypatch.setattr(
        Repository, "_signed_by", lambda self, key: [*signed_by(self, key), *authority]
    )
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    certify(tmp_path, f"{WORKFLOWS}/test.yml@refs/heads/main")
    publish(order, sbom(flask="3.1.0"), key="")
    digest = digest_of(published(order, order.tags[0]) or b"")
    for identity in (
        f"{WORKFLOWS}/release.yml@refs/heads/another",
        f"{WORKFLOWS}/release.yml@refs/tags/v1".replace("/Owner/", "/other/"),
        f"https://example.org/?{WORKFLOWS}/release.yml@refs/tags/v1",
    ):
        certify(tmp_path, identity)
        repository.sign(digest, "")
        with pytest.raises(Refused, match="none of the expected identities matched"):
            repository.verify(digest, "")
    certify(tmp_path, f"{WORKFLOWS}/weekly.yml@refs/heads/main")
    publish(order, sbom(flask="3.1.1"), key="", today=NEXT_WEEK)
    capsys.readouterr()
    verify(f"{repository.name}:{order.tags[1]}", "")
    assert ": signed by the workflow on GitHub\n" in capsys.readouterr().out


@pytest.mark.nightly
def test_another_release_has_not_the_name(order: Order, tmp_path: Path) -> None:
    """A registry can give each name to anything that is signed."""
    publish(order, sbom(flask="3.1.0"))
    folder = tmp_path / "pulled"
    manifest = published(order, order.tags[0])
    assert manifest
    order.repository.pull(digest_of(manifest), folder)
    order.repository.push(folder, ":9.9.9")
    key = str(Path(order.key).with_name("cosign.pub"))
    for tag in order.tags:
        verify(f"{order.repository.name}:{tag}", key)
    with pytest.raises(Refused, match=f":9.9.9 is {order.tags[0]}, which is not published"):
        verify(f"{order.repository.name}:9.9.9", key)


def test_one_changed_byte_is_found(order: Order, tmp_path: Path) -> None:
    """In a layer, in the list, in the manifest of an image, in a statement about an image."""
    publish(order, sbom(flask="3.1.0"))
    files = list((tmp_path / "registry").rglob("blobs/sha256/*/*/data"))
    for mark in (b"\x1f\x8b", b'"manifests"', b"rootfs.diff", b"payloadType"):
        path = next(path for path in files if mark in path.read_bytes())
        before = path.read_bytes()
        changed = bytearray(before)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(Refused):
            check(order)
        path.write_bytes(before)
    check(order)


@pytest.mark.nightly
def test_a_rebuild_is_published_only_if_it_differs(
    order: Order, capsys: pytest.CaptureFixture[str]
) -> None:
    dated, version, _ = order.tags
    publish(order, sbom(flask="3.1.0"))
    first = published(order, dated)
    publish(order, sbom(flask="3.1.0"), BUILT + 7, today=NEXT_WEEK, if_changed=True)
    assert re.search(rf":{version} is sha256:\w+: nothing to publish\n$", capsys.readouterr().out)
    assert (published(order, version), published(order, f"{version}-20261207")) == (first, None)
    publish(order, sbom(flask="3.1.1"), today=NEXT_WEEK, if_changed=True)
    assert published(order, dated) == first
    assert first != published(order, version) == published(order, f"{version}-20261207")


FIXED = {
    **{"id": "UBUNTU-CVE-2026-1", "upstream": ["CVE-2026-1"]},
    "affected": [
        {
            "package": {"ecosystem": "Ubuntu:24.04:LTS", "name": "openssl"},
            "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.13-2"}]}
            ],
        }
    ],
}
OPEN = {"id": "GHSA-1", "aliases": ["CVE-2026-2"], "affected": []}


def ask(question: dict[str, Any]) -> dict[str, Any]:
    """What OSV responds, in two pages."""
    if question["package"] == {"ecosystem": "Debian:12", "name": "nginx"}:
        return {}
    assert question["version"] in {"3.0.13-1", "3.1.0"}
    known = FIXED if question["package"]["name"] == "openssl" else OPEN
    return {"vulns": [known]} if "page_token" in question else {"next_page_token": "2"}


@pytest.mark.parametrize(
    ("until", "problem"),
    [
        ("", "openssl 3.0.13-1 has CVE-2026-1, which 3.0.13-2 mends"),
        ("2026-11-30", ""),
        ("2026-11-29", "the exception for CVE-2026-1 ended on 2026-11-29: no TLS"),
    ],
)
def test_known_vulnerabilities(tmp_path: Path, until: str, problem: str) -> None:
    """One with an update stops the release, unless an exception allows it until its last day."""
    file = tmp_path / "exceptions.toml"
    entry = f'[[exception]]\nid = "CVE-2026-1"\nreason = "no TLS"\nuntil = {until}\n'
    file.write_text(entry if until else "")
    with pytest.raises(Refused, match=f"^{problem}$") if problem else nullcontext():
        assert cves.check([sbom(flask="3.1.0")] * 2, DAY, file, ask) == 1


def test_without_osv_the_line_says_what_to_do() -> None:
    with pytest.raises(Refused, match=r"^http://127.0.0.1:9 does not respond .* --without-cves "):
        cves.ask_osv({}, url="http://127.0.0.1:9")


@pytest.mark.parametrize("place", ["DOCKER_CONFIG", *at_night("HOME")])
def test_the_login_of_docker_is_enough(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder, users = tmp_path / ".docker", tmp_path / "htpasswd"
    monkeypatch.setenv(place, str(folder if place == "DOCKER_CONFIG" else tmp_path))
    users.write_text(USER)
    access = {"htpasswd": {"realm": "releases", "path": str(users)}}
    with serving(tmp_path, auth=access) as repository:
        order, registry = replace(order, repository=repository), repository.name.partition("/")[0]
        uses = partial(publish, order, sbom()), partial(check, order)

        def refused() -> None:
            for use in uses:
                with pytest.raises(Refused, match=f"refuses access .* `docker login {registry}` "):
                    use()

        refused()
        words = ("login", "--username", "user", "--password", "secret", registry)
        assert not docker_client("--config", str(folder), *words).returncode
        for use in uses:
            use()
        users.write_text(USER.replace("user", "other"))  # now, the login is a wrong one
        refused()


@pytest.mark.nightly
def test_a_registry_that_stops_between_two_names(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name that stays is the last one, so that the same command can be run again."""
    push = Repository.push
    with ExitStack() as stack, monkeypatch.context() as patch:
        stopped = stack.enter_context(serving(tmp_path))

        def push_and_stop(repository: Repository, folder: Path, reference: str) -> None:
            push(repository, folder, reference)
            if reference[0] == ":":
                stack.close()

        patch.setattr(Repository, "push", push_and_stop)
        with pytest.raises(Refused, match=r"^127\S+ does not respond: try again later "):
            publish(order, sbom(), repository=stopped)
    assert [bool(published(order, tag)) for tag in order.tags] == [False, False, True]
    publish(order, sbom())
    check(order)


def test_refused_before_the_build(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that is silent, a wrong password of the key."""
    monkeypatch.setitem(SECONDS, "inspect", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = Repository(f"127.0.0.1:{silent.getsockname()[1]}/docker-flask")
        with pytest.raises(Refused, match=r"^127\S+ does not respond: try again later "):
            replace(order, repository=other).build_and_publish(PLATFORMS, BUILT)
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong")
    with pytest.raises(Refused, match=r"^COSIGN_PASSWORD is not the password of the key "):
        order.build_and_publish(PLATFORMS, BUILT)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone without the tags of this one, and with the code that is tested."""
    folder = tmp_path / "clone"
    run("git", "clone", "--quiet", "--no-tags", ROOT, folder)
    copytree(ROOT / "release", folder / "release", dirs_exist_ok=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def test_the_commit_is_that_of_the_tag(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("release.publish.ROOT", clone)
    tag = f"v{version_of(clone)}"
    user = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    check_commit(clone)  # no tag yet
    run("git", *user, "tag", "--annotate", "--message=", tag, folder=clone)
    check_commit(clone)
    run("git", *user, "commit", "--allow-empty", "--message=another", folder=clone)
    with pytest.raises(Refused, match=f"^{tag} is another commit: `git checkout {tag}`"):
        check_commit(clone)


@pytest.mark.parametrize("number", [signal.SIGTERM, *at_night(signal.SIGINT)])
def test_an_interrupted_build_leaves_nothing(
    order: Order, clone: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A stand-in for docker builds for a minute."""
    temporary = Path(order.key).with_name("temporary")
    client, log = temporary.with_name("bin") / "docker", temporary.with_name("log")
    for folder in (client.parent, temporary):
        folder.mkdir()
    client.write_text(CLIENT.format(log))
    client.chmod(0o755)
    (clone / "README.md").write_text("changed")
    monkeypatch.setenv("PATH", f"{client.parent}:{PATH}")
    monkeypatch.setenv("BASE_IMAGE", "base")
    monkeypatch.setenv("TMPDIR", str(temporary))
    options = [order.repository.name, "--key", order.key, "--platforms", "linux/amd64"]
    # Background jobs of a shell, as CI may be one, ignore SIGINT.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "release", "publish", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=clone, stdout=pipe, stderr=pipe, text=True) as process:
        wait_for(lambda: log.exists() and "build --build-arg" in log.read_text(), 20, "the build")
        process.send_signal(number)
        # All of it: no process that is left has a pipe.
        out, err = process.communicate(timeout=20)
    assert out == "docker-flask: changes that are not committed are not in this release\n"
    assert (err.splitlines()[-1], process.returncode) == ("docker-flask: interrupted", 130)
    assert log.read_text().splitlines()[-1].startswith("image rm docker-flask-release-")
    assert not list(temporary.iterdir())
    assert len(run("git", "worktree", "list", folder=clone).splitlines()) == 1


def make(*words: str) -> str:
    """What a target of make prints."""
    made = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not made.returncode, made.stderr[-3000:]
    return made.stdout


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_make_release(
    order: Order,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    derive: Derive,
) -> None:
    """Twice the current commit, for this platform; an engine runs what the registry has.

    Then a rebuild after an update of a package.
    """
    options = [f"PLATFORMS={HERE}", f"KEY={order.key}", "OPTIONS=--without-cves"]
    names = [f"{order.repository.name.rpartition('/')[0]}/{name}" for name in ("one", "two")]
    version = version_of(ROOT)
    with archive(tmp_path) as (folder, address):
        line = f"deb [trusted=yes] http://{address} ./"
        recipe = f"FROM {BASE_IMAGE}\nRUN echo '{line}' > /etc/apt/sources.list.d/updates.list\n"
        monkeypatch.setenv("BASE_IMAGE", derive({"Dockerfile": recipe}))
        time.sleep(1)  # what is from the same second counts as made by the build
        outputs = [make("release", f"REGISTRY={name}", *options) for name in names]
        print(outputs[0])
        assert outputs[0].splitlines()[-1] == outputs[1].splitlines()[-1]
        image = f"{names[1]}/docker-flask:{version}"
        print(make("verify", f"IMAGE={image}", f"KEY={Path(order.key).with_suffix('.pub')}"))
        try:
            said = docker_client("run", "--rm", image, "--version").stdout
        finally:
            docker_client("rmi", image)
        commit = run("git", "rev-parse", "HEAD", folder=ROOT).strip()
        assert said == f"docker-flask {version} ({commit})\n"
        update(folder, "tzdata", "9:1")
        capsys.readouterr()
        with committed() as source:
            repository = Repository(f"{names[1]}/docker-flask")
            order = replace(order, repository=repository, source=source, today=NEXT_YEAR)
            replace(order, if_changed=True).build_and_publish([HERE], int(time.time()))
    print(capsys.readouterr().out)
    new = published(order, version)
    assert new
    assert new == published(order, f"{version}-{NEXT_YEAR:%Y%m%d}")
    assert digest_of(new) not in outputs[0]


@contextmanager
def archive(parent: Path) -> Iterator[tuple[Path, str]]:
    """An archive of packages for builds on this machine: its folder and its address."""
    folder = parent / "archive"
    folder.mkdir()
    (folder / "Packages").touch()
    form = "{{(index .IPAM.Config 0).Gateway}}"
    gateway = docker_client("network", "inspect", "bridge", "--format", form).stdout.strip()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer((gateway, 0), handler) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield folder, f"{gateway}:{server.server_port}"
        finally:
            server.shutdown()


def update(folder: Path, package: str, version: str) -> None:
    """Put a version of a package into the archive: an empty one."""
    control = folder / "content/DEBIAN/control"
    control.parent.mkdir(parents=True)
    fields = f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
    control.write_text(f"{fields}Maintainer: nobody\nDescription: an update\n")
    run("dpkg-deb", "--build", "content", "update.deb", folder=folder)
    content = (folder / "update.deb").read_bytes()
    fields += (
        f"Filename: ./update.deb\nSize: {len(content)}\nSHA256: {sha256(content).hexdigest()}\n"
    )
    (folder / "Packages").write_text(fields)
