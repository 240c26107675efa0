"""The image: what is in it, what is not, and how it is built again."""

from __future__ import annotations

import gzip
import json
import os
import re
import secrets
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from release.publish import version_of
from tests.support.harness import (
    APPS,
    BASE_IMAGE,
    CA_BUNDLE,
    DEBUG,
    DEBUG_PORT,
    HELLO,
    IMAGE,
    PRODUCTION_PORT,
    ROOT,
    Container,
    Derive,
    Engine,
    docker_client,
)
from tests.support.pages import recipe

REBUILT, ADDED_MB = 3.0, 90  # seconds, megabytes: as promised
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "tests", "docs")
BUILD_SECONDS = 240


def locked(folder: str) -> set[str]:
    """The packages that a lock names, with their versions."""
    text = (ROOT / folder / "requirements.lock").read_text()
    return set(re.findall(r"^\S+==\S+", text, re.MULTILINE))


OWN = {package for package in locked("docker_flask") if not package.startswith("gunicorn==")}
COPIED = "\nCOPY --from=requirements /requirements.txt /\n"  # in the Dockerfile, before pip
WINDOWS = ["one", "two", "libpq5:amd64", "g++", "libx-1.0=1.2~3+b1"]
# Makes a step one that no earlier run of the tests has left in the build cache.
FRESH = secrets.token_hex(8)


# --- what is in it ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(session_engine: Engine) -> dict[str, Any]:
    """What `docker inspect` says."""
    return session_engine.client.api.inspect_image(IMAGE)


@pytest.fixture(scope="module")
def output(module_engine: Engine) -> Callable[..., str]:
    """What a command in a container prints; it must succeed."""
    container = module_engine.run(["sleep", "infinity"])

    def run(*command: str) -> str:
        code, out = container.execute(*command)
        assert code == 0, out
        return out

    return run


def test_metadata(image: dict[str, Any]) -> None:
    config = image["Config"]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert config["Labels"][f"org.opencontainers.image.{name}"]
    assert set(config["ExposedPorts"]) == {"80/tcp", "443/tcp", "5000/tcp"}
    assert config["StopSignal"] == "SIGTERM"
    health = ["/usr/bin/python3", "-I", "-S", "/opt/docker-flask/docker_flask/cli/health.py"]
    assert config["Healthcheck"]["Test"] == ["CMD", *health, "--watch"]
    assert list(config["Volumes"]) == ["/data"]
    assert config["WorkingDir"] == "/app"
    assert not config["User"], "privileges are dropped by process 1, after the port is bound"


def test_size(session_engine: Engine) -> None:
    """Layers of this Dockerfile, which begin with its labels; below them is the base."""
    added = 0
    for row in session_engine.client.images.get(IMAGE).history():
        added += row["Size"]
        if "org.opencontainers.image.title" in row["CreatedBy"]:
            break
    else:
        pytest.fail("no labels in the history")
    print(f"added to the base: {added / 1e6:.1f} MB")
    assert 0 < added / 1e6 <= ADDED_MB


# What must not be in the image, and where `find` looks for it.
HAS_NO = {
    "compilers": "/usr/bin /usr/local/bin /opt ( -name gcc* -o -name cc -o -name c++ -o "
    "-name g++* -o -name ld -o -name as -o -name make ) -print",
    "servers for logins": "/usr /opt -type f ( -name sshd -o -name dropbear -o -name *telnetd -o "
    "-name sudo -o -name doas ) -print",
    "headers": "/usr/include ( -name Python.h -o -name stdio.h -o -name pcre2.h ) -print",
    "caches of pip": "/root /home /opt ( -path */.cache/pip -o -name *.whl ) -print",
    "package lists": "/var/lib/apt/lists -type f -print",
    "package archives": "/var/cache/apt -type f -print",
    "logs of the build": "/var/log ( -path */apt/* -o -name dpkg.log* ) -type f -print",
    "setuid or setgid programs": "/ -xdev -type f -perm /6000 -print",
    "compiled files of the application": "/app ( -name *.pyc -o -name __pycache__ ) -print",
    "what anybody may change": "/ -xdev -perm /0002 -not -type l "
    "-not ( -type d -perm /1000 ) -print",
    "what the service user may change": "/ -xdev ( -user www-data -o -group www-data ) "
    "-not -path /run/docker-flask -print",
    "histories and credentials": "/ -xdev ( -name .*_history -o -name .netrc -o -name .pypirc "
    "-o -name .git-credentials -o -name pip.conf -o -path */.ssh/id_* ) -print",
    "the generator of the SBOM": "/ -xdev -iname *cyclonedx* -print",
    "sites of nginx's package": "/etc/nginx/sites-enabled -mindepth 1 -print",
    "an application": "/app -mindepth 1 -print",
    "secrets of the build": "/run/secrets /sources -type f -print",
}


@pytest.mark.parametrize("what", HAS_NO)
def test_has_no(output: Callable[..., str], what: str) -> None:
    assert output("find", *HAS_NO[what].split()) == ""


def test_compiled_files_have_no_time_of_the_build(output: Callable[..., str]) -> None:
    """Two builds of one commit would differ: an import writes the time of the source."""
    files = "Path('/opt/docker-flask/docker_flask').rglob('*.pyc')"
    code = f"from pathlib import Path; print([str(p) for p in {files} if p.read_bytes()[4] != 1])"
    assert output("/usr/bin/python3", "-c", code).strip() == "[]"


def test_uwsgi_has_internal_routing(engine: Engine) -> None:
    route = ["--route", r"^/from/(\d+)$ redirect:/to/$1"]
    container = engine.run(["uwsgi", "--http-socket", ":80", "--master", *route])
    answer = container.wait_until_serving("/from/42", status=302)
    assert answer.headers["Location"] == "/to/42"
    assert "no internal routing" not in container.logs()


# --- the image's own list of its packages: its SBOM --------------------------------------------


def test_the_sbom_lists_all_packages(output: Callable[..., str]) -> None:
    """But for that of the image itself, which no index has."""
    sbom = json.loads(output("cat", "/opt/docker-flask/sbom.json"))
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    described = sbom["metadata"]["component"]
    version = version_of(ROOT)
    assert (described["name"], described["version"]) == ("docker-flask", version)
    found = {
        kind: sorted(
            f"{part['name']}=={part['version']}"
            for part in sbom["components"]
            if part["purl"].startswith(f"pkg:{kind}/")
        )
        for kind in ("deb", "pypi")
    }
    installed = output("dpkg-query", "-W", "-f", "${Package}==${Version}\n")
    assert found["deb"] == sorted(installed.split())
    assert len(found["deb"]) > 50
    installed = output("pip", "list", "--format=freeze")
    assert found["pypi"] == sorted(installed.lower().split())
    (flask,) = [part for part in sbom["components"] if part["name"] == "flask"]
    assert flask["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]


# --- install-os.sh, without an engine --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("libpq5\npython3-jinja2-\n", None),  # apt would remove it
        ("# nothing\none two# not three\n#four\n", ["one", "two"]),
        ("# for Windows\r\none two\r\nlibpq5:amd64 g++ libx-1.0=1.2~3+b1\r\n", WINDOWS),
        ("# only a comment\n\n", None),
    ],
)
def test_format_of_requirements_os(tmp_path: Path, text: str, packages: list[str] | None) -> None:
    """Shown by the calls of apt-get; nothing of this machine is touched."""
    calls = tmp_path / "calls"
    calls.touch()
    for name, line in {"apt-get": f'printf "%s\\n" "$*" >> {calls}', "rm": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "requirements_os.txt").write_bytes(text.encode())
    script = [ROOT / "docker_flask/install-os.sh", tmp_path / "requirements_os.txt"]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CA_BUNDLE": "/none"}
    code = subprocess.run(script, env=env, timeout=20, check=False).returncode
    assert code == (78 if "-\n" in text else 0)
    if packages is None:
        assert calls.read_text() == ""
    else:
        wanted = " ".join(["install", "-y", "--no-install-recommends", "--", *packages])
        assert calls.read_text().endswith(f"{wanted}\n")


# --- how it is built -------------------------------------------------------------------------


class Builder:
    """Builds under a tag of its own."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.ca = CA_BUNDLE

    def build(self, folder: Path, *options: str, seconds: int = BUILD_SECONDS) -> tuple[str, float]:
        """Build; returns the log and how long it took."""
        secret = ["--secret", f"id=ca,src={self.ca}"] if self.ca.is_file() else []
        begun = time.monotonic()
        arguments = ["build", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}", *secret, "-t", self.tag]
        result = docker_client(*arguments, *options, str(folder), seconds=seconds)
        took = time.monotonic() - begun
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stderr + result.stdout, took


@pytest.fixture
def builder(session_engine: Engine) -> Iterator[Builder]:
    """A builder whose image is removed after the test."""
    made = Builder(f"docker-flask-test-{secrets.token_hex(4)}")
    if "--secret" not in docker_client("build", "--help").stdout:
        pytest.skip("the docker client can't build with BuildKit: name one that can in DOCKER")
    here = docker_client("image", "inspect", BASE_IMAGE).returncode == 0
    if not here and docker_client("pull", BASE_IMAGE, seconds=BUILD_SECONDS).returncode:
        pytest.skip(f"{BASE_IMAGE} can't be pulled: name another base in BASE_IMAGE")
    yield made
    docker_client("rmi", "--force", made.tag)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A copy of what the image is built from, to be changed."""
    folder = tmp_path / "context"
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    return folder


def frozen(container: Container) -> set[str]:
    """The packages of Python in a container."""
    return set(container.shell("pip freeze").lower().splitlines())


@pytest.mark.timeout(300)
@pytest.mark.timed
def test_a_change_in_the_application_rebuilds_quickly(
    builder: Builder, context: Path, engine: Engine
) -> None:
    builder.build(context)
    times = []
    for number in range(3):
        with (context / "app" / "app.py").open("a") as file:
            file.write(f"\n\n@app.get('/added-{number}')\ndef added_{number}():\n")
            file.write(f"    return {FRESH!r}\n")
        times.append(builder.build(context)[1])
    print("rebuilt after an edit:", " ".join(f"{took:.2f}" for took in times), "s")
    assert sorted(times)[1] <= REBUILT
    container = engine.run(image=builder.tag)
    assert container.wait_until_serving("/added-2").text == FRESH


@pytest.mark.timeout(300)
def test_version(builder: Builder, context: Path, engine: Engine) -> None:
    """In the labels and by `--version`, also of an image that is built on this one."""
    version = version_of(ROOT)
    (context / "derived").mkdir()
    (context / "derived" / "Dockerfile").write_text(f"FROM {builder.tag}\nRUN echo {FRESH}\n")
    for options, revision in (([], "unknown"), (["--build-arg", f"REVISION={FRESH}"], FRESH)):
        builder.build(context, *options)
        labels = engine.client.images.get(builder.tag).labels
        assert labels["org.opencontainers.image.version"] == version
        assert labels["org.opencontainers.image.revision"] == revision
        ended = engine.run(["--version"], image=builder.tag).finish()
        assert ended == (0, f"docker-flask {version} ({revision})\n", "")
    builder.build(context / "derived")
    assert engine.run(["--version"], image=builder.tag).finish() == ended


PLAIN = """
def application(environ, start_response):
    import six
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [six.__version__.encode()]
"""
# pip installs six only from a file with this checksum.
HASHED = "six==1.16.0 --hash=sha256:{}\n".format(
    "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"  # pragma: allowlist secret
)


@pytest.mark.timeout(300)
def test_own_requirements_files(builder: Builder, context: Path, engine: Engine) -> None:
    """In place of the image's: neither a server nor Flask is in them, but checksums are."""
    (context / "requirements_os.txt").write_text("hello ca-certificates # two\r\n")
    (context / "requirements.txt").write_text(HASHED)
    (context / "requirements.lock").unlink()
    shutil.rmtree(context / "app")
    (context / "app").mkdir()
    (context / "app" / "app.py").write_text(PLAIN)
    dockerfile = context / "Dockerfile"
    text = dockerfile.read_text()
    assert COPIED in text
    dockerfile.write_text(text.replace(COPIED, f"\nRUN hello # {FRESH}{COPIED}"))
    log, _ = builder.build(context)
    assert "Hello, world!" in log
    for command, port in (([], PRODUCTION_PORT), (DEBUG, DEBUG_PORT)):
        container = engine.run(command, image=builder.tag)
        assert container.wait_until_serving(inside=port).text == "1.16.0"
        assert container.execute("hello") == (0, "Hello, world!\n")
        assert frozen(container) == {*OWN, "six==1.16.0"}


TOOLS = {"uv": "uv.lock", "poetry": "poetry.lock", "pipenv": "Pipfile.lock"}
# What an installed tool would leave.
OF_TOOLS = "-path /app -prune -o ( -iname *pipenv* -o -iname *poetry* -o -name uv ) -print"


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tool", TOOLS)
def test_a_lock_file_in_place_of_requirements(
    builder: Builder, context: Path, engine: Engine, tool: str
) -> None:
    """Its packages and no others are installed, and only with its checksums."""
    shutil.copytree(APPS / "locked" / tool, context, dirs_exist_ok=True)
    (context / "app" / "app.py").write_text(f"{PLAIN}# {FRESH}\n")
    log, _ = builder.build(context)
    assert f"requirements.txt is ignored, because {TOOLS[tool]} names the packages" in log
    container = engine.serve(image=builder.tag)
    assert container.get().text == "1.16.0"
    assert frozen(container) == {*OWN, "six==1.16.0"}
    assert container.execute("find", "/", "-xdev", *OF_TOOLS.split()) == (0, "")

    lock = context / TOOLS[tool]
    lock.write_text(lock.read_text().replace("8abb2f1d", "00000000").replace("1e61c374", "0" * 8))
    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        builder.build(context)


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tool", TOOLS)
def test_built_upon_with_a_lock_file(engine: Engine, derive: Derive, tool: str) -> None:
    files = {path.name: path.read_text() for path in (APPS / "locked" / tool).iterdir()}
    text = recipe("building.md", "uv.lock")
    assert "COPY pyproject.toml uv.lock " in text
    text = text.replace("pyproject.toml uv.lock", " ".join(files))
    image = derive({**files, "app/app.py": PLAIN, "Dockerfile": text})
    container = engine.serve(image=image)
    assert container.get().text == "1.16.0"
    assert container.execute("find", "/", "-xdev", *OF_TOOLS.split()) == (0, "")


# The lines of uv's own guide, where its image can't be pulled.
UV_SYNC = """FROM THEIRS
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=ca if [ -r /run/secrets/ca ]; \\
 then export PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca; fi \\
 && pip install -q --root-user-action=ignore --target /uv uv==0.13.9 \\
 && PYTHONPATH=/uv python -m uv sync --frozen --no-dev --no-install-project
COPY app /app
"""


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_uv_sync_installs_into_the_environment_of_the_image(engine: Engine, derive: Derive) -> None:
    files = {path.name: path.read_text() for path in (APPS / "locked/uv").iterdir()}
    image = derive({**files, "app/app.py": PLAIN, "Dockerfile": UV_SYNC})
    container = engine.serve(image=image)
    assert container.get().text == "1.16.0"
    assert container.execute("test", "-e", "/app/.venv")[0] == 1


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_built_upon_with_a_package_that_needs_a_compiler(engine: Engine, derive: Derive) -> None:
    requirements = "--no-binary bitarray\nbitarray==3.12.3\n"
    app = PLAIN.replace("six.__version__", "bitarray.__file__").replace("six", "bitarray")
    files = {"requirements.txt": requirements, "app/app.py": app}
    files["Dockerfile"] = recipe("building.md", "gcc")
    container = engine.run(image=derive(files))
    assert container.wait_until_serving().text.startswith("/opt/venv/")
    for what in ("compilers", "headers"):
        assert container.execute("find", *HAS_NO[what].split()) == (0, "")


@pytest.mark.timeout(300)
def test_only_the_application_is_in_app(builder: Builder, context: Path, engine: Engine) -> None:
    """Neither the sample nor what an application writes in development."""
    shutil.rmtree(context / "app")
    kept = {"hello.py", ".flaskenv", "towns.csv", "shop/logs/__init__.py", "shop/environment.py"}
    written = {
        "app.db-journal",
        "shop/shop.sqlite",
        "shop.sqlite3-wal",
        "instance/shop.sqlite",
        "logs/shop.log.1",
        "shop/.env",
        ".git/config",
        "venv/pyvenv.cfg",
        "shop/old.pyc",
    }
    for name in kept | written:
        (context / "app" / name).parent.mkdir(parents=True, exist_ok=True)
        (context / "app" / name).write_text("")
    (context / "app" / "hello.py").write_text(HELLO)
    builder.build(context)
    find = ["find", "/app", "/opt/docker-flask/sample", "-type", "f", "-printf", "%P\n"]
    _, out, err = engine.run(find, image=builder.tag).finish()
    assert set(out.split()) == kept
    assert "/opt/docker-flask/sample" in err, "it is not there"
    assert engine.run(image=builder.tag).wait_until_serving().text == "hello"


# --- what must not stay in it ----------------------------------------------------------------


def image_bytes(engine: Engine, tag: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that leaves the machine with the image: names and contents, layers unpacked."""
    archive = folder / "image.tar"
    with archive.open("wb") as file:
        for chunk in engine.client.images.get(tag).save(named=True):
            file.write(chunk)
    with tarfile.open(archive) as outer:
        for member in outer:
            if member.isfile():
                content = outer.extractfile(member).read()
                if content[:2] == b"\x1f\x8b":
                    content = gzip.decompress(content)
                yield member.name, content


@pytest.mark.nightly  # a minute and more
@pytest.mark.timeout(300)
def test_nothing_of_the_build_stays_in_the_image(
    builder: Builder, context: Path, engine: Engine, tmp_path: Path
) -> None:
    """Passwords in mirrors and proxies, and the certificate authorities, each with a marker."""
    marks = {name: f"mark{secrets.token_hex(12)}" for name in ("apt", "sec", "pip", "proxy", "ca")}

    def with_password(url: str, name: str) -> str:
        """The address with a user and a password, which servers that ask for none ignore."""
        rest = urlsplit(url).netloc.split("@")[-1]
        return urlsplit(url)._replace(netloc=f"{marks[name]}:{marks[name]}@{rest}").geturl()

    show = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v '^ *#'"
    sources = engine.run(["-c", show], image=BASE_IMAGE, entrypoint="/bin/sh").finish()[1]
    mirrors = re.findall(r"https?://[^\s\]]+", sources)
    security = next((url for url in mirrors if "security" in url), mirrors[0])
    public = "https://pypi.org/simple"
    index = os.environ.get("PIP_INDEX_URL") or public
    # Set for every step and used by none, as a proxy with a password would be.
    direct = {urlsplit(url).hostname or "" for url in (mirrors[0], security, index, public)}
    proxy = with_password("http://127.0.0.1:9", "proxy")
    arguments = {
        "APT_MIRROR": with_password(mirrors[0], "apt"),
        "APT_SECURITY_MIRROR": with_password(security, "sec"),
        "PIP_INDEX_URL": with_password(index, "pip"),
        "http_proxy": proxy,
        "https_proxy": proxy,
        "no_proxy": ",".join(sorted({*direct, "files.pythonhosted.org"})),
    }
    bundle = CA_BUNDLE.read_text() if CA_BUNDLE.is_file() else ""
    builder.ca = tmp_path / "ca.crt"
    builder.ca.write_text(f"{bundle}\n# {marks['ca']}\n")
    # Inside a step each of them is there, or nothing would be shown by its absence later.
    dockerfile = context / "Dockerfile"
    check = (
        "RUN --mount=type=bind,from=sources,source=/sources,target=/sources "
        "--mount=type=secret,id=ca cat /sources/* /run/secrets/ca > /tmp/all; env >> /tmp/all; "
        + "; ".join(f"grep -q {mark} /tmp/all && echo SEEN-{name}" for name, mark in marks.items())
    )
    text = dockerfile.read_text()
    assert COPIED in text
    dockerfile.write_text(text.replace(COPIED, f"\n{check}{COPIED}"))
    options = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
    log, _ = builder.build(context, *options)
    assert [name for name in marks if not re.search(rf"\d SEEN-{name}$", log, re.M)] == []

    wanted = [mark.encode() for mark in marks.values()]
    history = docker_client("history", "--no-trunc", "--format", "{{json .}}", builder.tag).stdout
    inspected = json.dumps(engine.client.api.inspect_image(builder.tag))
    assert [mark for mark in wanted if mark in (history + inspected).encode()] == []
    found, size = [], 0
    for name, content in image_bytes(engine, builder.tag, tmp_path):
        size += len(content)
        found += [(name, mark) for mark in wanted if mark in content]
    assert size > 50_000_000, "the whole image was looked through"
    assert found == []
