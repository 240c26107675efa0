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
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

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

REBUILT, ADDED_MB = 3.0, 90  # seconds, megabytes: as promised
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "tests", "docs")
BUILD_SECONDS = 240


def locked(folder: str) -> set[str]:
    """The packages that a lock names, with their versions."""
    text = (ROOT / folder / "requirements.lock").read_text()
    return set(re.findall(r"^\S+==\S+", text, re.MULTILINE))


OWN = locked("docker_flask")
UNLOCKED = r'\d docker-flask: requirements.txt has changed since the last "make lock"'
COPIED = "\nCOPY --from=requirements /requirements.txt /\n"  # in the Dockerfile, before pip
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
    assert set(config["ExposedPorts"]) == {"80/tcp", "5000/tcp"}
    assert config["StopSignal"] == "SIGTERM"
    health = ["/usr/bin/python3", "-I", "-S", "/opt/docker-flask/docker_flask/health.py"]
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


CHECK_COMPILED = """
import importlib.util, struct, sys
from pathlib import Path
found, bad = 0, []
for path in (path for top in sys.argv[1:] for path in Path(top).rglob("*.pyc")):
    found += 1
    head = path.read_bytes()[:16]
    magic, flags, mtime, size = struct.unpack("<4sIII", head)
    source = Path(importlib.util.source_from_cache(path))
    if not source.exists() or magic != importlib.util.MAGIC_NUMBER:
        bad.append(path)
    elif flags and importlib.util.source_hash(source.read_bytes()) != head[8:]:
        bad.append(path)
    elif not flags and (mtime, size) != (int(source.stat().st_mtime), source.stat().st_size):
        bad.append(path)
print(found, "compiled,", len(bad), "bad", *bad)
"""


def test_compiled_files_are_those_of_their_sources(output: Callable[..., str]) -> None:
    """A start would compile the others again, each time, and in a place it can't write to."""
    out = output("/usr/bin/python3", "-I", "-c", CHECK_COMPILED, "/opt", "/usr/lib/python3")
    assert re.fullmatch(r"\d{3,} compiled, 0 bad\n", out), out


LIST_UNKNOWN = """
import glob, os, sys
known = set()
for name in glob.glob("/var/lib/dpkg/info/*.list"):
    with open(name) as paths:
        known |= {os.path.realpath(path.rstrip("\\n")) for path in paths}
for name in glob.glob("/opt/**/lib/python*/site-packages/*.dist-info/RECORD", recursive=True):
    folder = os.path.dirname(os.path.dirname(name))
    with open(name) as rows:
        known |= {os.path.realpath(os.path.join(folder, row.rsplit(",", 2)[0])) for row in rows}
found = 0
for folder, _, names in (step for top in ("/usr", "/opt", "/app") for step in os.walk(top)):
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                if file.read(4) == b"\\x7fELF":
                    found += 1
                    if path not in known:
                        print(path)
print(found > 100)
"""


@pytest.mark.nightly
def test_scanners_find_what_is_installed(output: Callable[..., str]) -> None:
    """A package of Debian's or of Python's, with its version, for each program and library."""
    out = output("python3", "-c", LIST_UNKNOWN)
    names = ("threads_plugin.so",)
    own = [f"/opt/docker-flask/{name}" for name in names]
    assert sorted(out.splitlines()) == [*own, "True"]
    assert re.search(r"^nginx\t\S*\d", output("dpkg-query", "-W"), re.MULTILINE)
    installed = output("pip", "freeze", "--exclude", "docker-flask")
    assert sorted(installed.lower().splitlines()) == sorted(OWN | locked("."))


def test_uwsgi_is_built_for_the_python_that_runs_it(output: Callable[..., str]) -> None:
    built_for = output("/opt/docker-flask/packages/bin/uwsgi", "--python-version").split()[0]
    runs = output("python3", "-c", "import platform; print(platform.python_version())").strip()
    assert built_for == runs
    linked = output("ldd", "/opt/docker-flask/packages/bin/uwsgi.so")
    assert "libpcre2" in linked
    assert "not found" not in linked
    # That of python3 is faster (docker_flask/launch/uwsgi_program.py).
    assert "libpython" not in linked


def test_uwsgi_has_internal_routing(engine: Engine) -> None:
    route = ["--route", r"^/from/(\d+)$ redirect:/to/$1"]
    container = engine.run(["uwsgi", "--http-socket", ":80", "--master", *route])
    answer = container.wait_until_serving("/from/42", status=302)
    assert answer.headers["Location"] == "/to/42"
    assert "no internal routing" not in container.logs()


# --- the image's own list of its packages: its SBOM --------------------------------------------


@pytest.fixture(scope="module")
def sbom(output: Callable[..., str]) -> dict[str, Any]:
    return json.loads(output("cat", "/opt/docker-flask/sbom.json"))


def listed(sbom: dict[str, Any], kind: str) -> list[str]:
    """Names and versions of one kind of packages, sorted."""
    packages = [part for part in sbom["components"] if part["purl"].startswith(f"pkg:{kind}/")]
    return sorted(f"{part['name']}=={part['version']}" for part in packages)


def test_the_sbom_lists_all_packages(sbom: dict[str, Any], output: Callable[..., str]) -> None:
    """But for that of the image itself, which no index has."""
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    described = sbom["metadata"]["component"]
    version = (ROOT / "VERSION").read_text().strip()
    assert (described["name"], described["version"]) == ("docker-flask", version)
    found = listed(sbom, "deb")
    assert found == sorted(output("dpkg-query", "-W", "-f", "${Package}==${Version}\n").split())
    assert len(found) > 50
    installed = output("pip", "list", "--format=freeze", "--exclude=docker-flask")
    assert listed(sbom, "pypi") == sorted(installed.lower().split())
    (flask,) = [part for part in sbom["components"] if part["name"] == "flask"]
    assert flask["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]


# --- install-os.sh, without an engine --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("one two\nthree\n", ["one", "two", "three"]),
        ("# nothing\none # the first, not two\n#three\n", ["one"]),
        ("# for Windows\r\none two\r\nthree # more\r\n", ["one", "two", "three"]),
        ("libpq5:amd64 g++ libx-1.0=1.2~3+b1\n", ["libpq5:amd64", "g++", "libx-1.0=1.2~3+b1"]),
        ("# only a comment\n\n", None),
    ],
)
def test_format_of_requirements_os(tmp_path: Path, text: str, packages: list[str] | None) -> None:
    calls = run_install_os(tmp_path, text)
    if packages is None:
        assert calls == []
        return
    update, install = calls
    assert update[-1] == "update"
    at = install.index("install")
    assert install[at + 1 :] == ["-y", "--no-install-recommends", *packages]


def test_install_os_takes_names_beside_files_and_fails_as_apt_does(tmp_path: Path) -> None:
    *_, install = run_install_os(tmp_path, "one\n", "two", "^three[0-9]+$")
    assert install[-3:] == ["one", "two", "^three[0-9]+$"]
    with pytest.raises(AssertionError, match="exit 100"):
        run_install_os(tmp_path, "one\n", fail=True)


def run_install_os(folder: Path, text: str, *more: str, fail: bool = False) -> list[list[str]]:
    """The calls of apt-get that install-os.sh makes; nothing of this machine is touched."""
    programs, calls = folder / "bin", folder / "calls"
    programs.mkdir(exist_ok=True)
    calls.write_text("")
    fake = f'#!/bin/bash\nprintf "%s\\0" "$@" >> {calls}\nprintf "\\n" >> {calls}\n'
    (programs / "apt-get").write_text(fake + ("exit 100\n" if fail else ""))
    (programs / "rm").write_text("#!/bin/bash\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    (folder / "requirements_os.txt").write_bytes(text.encode())
    result = subprocess.run(
        [ROOT / "docker_flask/install-os.sh", folder / "requirements_os.txt", *more],
        env={"PATH": f"{programs}:/usr/bin:/bin", "CA_BUNDLE": str(folder / "none")},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0, f"exit {result.returncode}: {result.stderr}"
    return [line.split("\0")[:-1] for line in calls.read_text().splitlines()]


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
    """The packages of Python in a container, but for the image's own code."""
    return set(container.shell("pip freeze --exclude docker-flask").lower().splitlines())


def steps(log: str) -> dict[str, bool]:
    """The Dockerfile's instructions in a build's log -> whether they came from the cache."""
    names = dict(re.findall(r"^#(\d+) (\[.+)$", log, re.MULTILINE))
    cached = set(re.findall(r"^#(\d+) CACHED$", log, re.MULTILINE))
    return {name: number in cached for number, name in names.items()}


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


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_change_in_requirements_installs_no_packages_of_the_system_again(
    builder: Builder, context: Path, engine: Engine
) -> None:
    before, _ = builder.build(context)
    assert not re.search(UNLOCKED, before)
    with (context / "requirements.txt").open("a") as file:
        file.write(f"six==1.17.0  # {FRESH}\n")
    log, _ = builder.build(context)
    found = steps(log)
    installs = {name: cached for name, cached in found.items() if "install-os.sh" in name}
    runs = {name: cached for name, cached in installs.items() if "RUN" in name}
    assert len(runs) >= 4, found
    assert all(runs.values()), runs
    pip = {name: cached for name, cached in found.items() if "install-python.sh /" in name}
    again = [name.split("install-python.sh ")[1] for name, cached in pip.items() if not cached]
    assert (len(pip), again) == (3, ["/requirements.txt"]), "the image's own packages stay"
    assert re.search(UNLOCKED, log)
    assert {*OWN, "flask==3.1.3", "six==1.17.0"} <= frozen(engine.serve(image=builder.tag))


@pytest.mark.timeout(300)
def test_version(builder: Builder, context: Path, engine: Engine) -> None:
    """In the labels and by `--version`, also of an image that is built on this one."""
    version = (ROOT / "VERSION").read_text().strip()
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
    """In place of the image's: neither a server nor Flask is in them, but checksums are.

    The system's packages are also where Python packages are built.
    """
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
    """Its packages and no others are installed; an edit of the application installs nothing."""
    shutil.copytree(APPS / "locked" / tool, context, dirs_exist_ok=True)
    (context / "app" / "app.py").write_text(f"{PLAIN}# {FRESH}\n")
    log, _ = builder.build(context)
    assert f"requirements.txt is ignored, because {TOOLS[tool]} names the packages" in log
    container = engine.serve(image=builder.tag)
    assert container.get().text == "1.16.0"
    assert frozen(container) == {*OWN, "six==1.16.0"}
    assert container.execute("find", "/", "-xdev", *OF_TOOLS.split()) == (0, "")

    (context / "app" / "app.py").write_text(f"{PLAIN}# edited {FRESH}\n")
    log, _ = builder.build(context)
    installs = [cached for name, cached in steps(log).items() if "install-" in name]
    assert len(installs) > 5
    assert all(installs)

    lock = context / TOOLS[tool]
    lock.write_text(lock.read_text().replace("8abb2f1d", "00000000").replace("1e61c374", "0" * 8))
    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        builder.build(context)


def recipe(word: str) -> str:
    """The Dockerfile of docs/building.md with this word, for the image under test."""
    page = (ROOT / "docs" / "building.md").read_text()
    (found,) = [
        text for text in re.findall(r"```dockerfile\n(.*?)```", page, re.DOTALL) if word in text
    ]
    # As the recipe is, but behind the machine's proxy.
    if CA_BUNDLE.is_file():
        trust = "--mount=type=secret,id=ca export PIP_CERT=/run/secrets/ca;"
        found = found.replace("RUN ", f"RUN {trust} ")
    return re.sub(r"^FROM docker-flask\b", f"FROM {IMAGE}", found, flags=re.MULTILINE)


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tool", TOOLS)
def test_built_upon_with_a_lock_file(engine: Engine, derive: Derive, tool: str) -> None:
    files = {path.name: path.read_text() for path in (APPS / "locked" / tool).iterdir()}
    text = recipe("uv.lock")
    assert "COPY pyproject.toml uv.lock " in text
    text = text.replace("pyproject.toml uv.lock", " ".join(files))
    image = derive({**files, "app/app.py": PLAIN, "Dockerfile": text})
    container = engine.serve(image=image)
    assert container.get().text == "1.16.0"
    assert container.execute("find", "/", "-xdev", *OF_TOOLS.split()) == (0, "")


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_built_upon_with_a_package_that_needs_a_compiler(engine: Engine, derive: Derive) -> None:
    requirements = "--no-binary bitarray\nbitarray==3.12.3\n"
    app = PLAIN.replace("six.__version__", "bitarray.__file__").replace("six", "bitarray")
    files = {"requirements.txt": requirements, "app/app.py": app, "Dockerfile": recipe("gcc")}
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
        *("app.db", "app.db-journal", "shop/shop.sqlite", "shop.sqlite3", "shop.sqlite3-wal"),
        *("instance/shop.sqlite", "shop/instance/config.py", "logs/shop.log", "logs/shop.log.1"),
        *(".env", "shop/.env", ".git/config", ".venv/pyvenv.cfg", "venv/pyvenv.cfg"),
        *("__pycache__/hello.pyc", "shop/old.pyc", ".pytest_cache/README", ".mypy_cache/x"),
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


# Files that may differ between two builds, each with its reason.
DIFFERS: dict[str, str] = {}
FROM_NOTHING_SECONDS = 900


@pytest.mark.nightly
@pytest.mark.timeout(2 * FROM_NOTHING_SECONDS + 100)
def test_two_builds_have_the_same_files(
    builder: Builder, context: Path, tmp_path: Path, engine: Engine
) -> None:
    """From folders whose files have other times, and without what an earlier build has left."""
    dockerfile = context / "Dockerfile"
    text, caches = re.subn(r" *--mount=type=cache,\S+ \\\n", "", dockerfile.read_text())
    assert caches > 1
    dockerfile.write_text(text)
    builds = []
    for age in (0, 100_000):
        for path in context.rglob("*"):
            os.utime(path, (time.time() - age, time.time() - age))
        builder.build(context, "--no-cache", seconds=FROM_NOTHING_SECONDS)
        builds.append(files_of(engine, builder.tag, tmp_path))
    one, two = builds
    print(f"{len(one)} files, folders and links")
    assert len(one) > 3000
    assert sorted(set(one) ^ set(two)) == []
    assert sorted(path for path in one if one[path] != two[path] and path not in DIFFERS) == []


def files_of(engine: Engine, tag: str, folder: Path) -> dict[str, tuple[Any, ...]]:
    """Each file, folder and link: its type, mode and owner, and the checksum of what is in it."""
    archive = folder / "files.tar"
    created = engine.client.containers.create(tag)
    with archive.open("wb") as file:
        for chunk in created.export():
            file.write(chunk)
    created.remove(v=True)
    found: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            checksum = sha256(content.read()).hexdigest() if content else member.linkname
            found[member.name] = (member.type, member.mode, member.uid, member.gid, checksum)
    return found


# --- what must not stay in it ----------------------------------------------------------------


def with_password(url: str, password: str) -> str:
    """The same address with a user and a password, which servers that ask for none ignore."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{password}:{password}@{parts.netloc.split('@')[-1]}"))


def mirrors(engine: Engine) -> tuple[str, str]:
    """Where the base image gets its packages from, and its security updates."""
    show = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null; true"
    container = engine.run(["-c", show], image=BASE_IMAGE, entrypoint="/bin/sh")
    _, out, _ = container.finish()
    lines = [line for line in out.splitlines() if not line.lstrip().startswith("#")]
    urls = re.findall(r"https?://[^\s\]]+", "\n".join(lines))
    if not urls:
        pytest.skip(f"{BASE_IMAGE} gets its packages from no address of its own")
    return urls[0], next((url for url in urls if "security" in url), urls[0])


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
    packages, security = mirrors(engine)
    public = "https://pypi.org/simple"
    index = os.environ.get("PIP_INDEX_URL") or public
    # Set for every step and used by none, as a proxy with a password would be.
    direct = {urlsplit(url).hostname or "" for url in (packages, security, index, public)}
    direct |= {"files.pythonhosted.org"}
    arguments = {
        "APT_MIRROR": with_password(packages, marks["apt"]),
        "APT_SECURITY_MIRROR": with_password(security, marks["sec"]),
        "PIP_INDEX_URL": with_password(index, marks["pip"]),
        "http_proxy": with_password("http://127.0.0.1:9", marks["proxy"]),
        "https_proxy": with_password("http://127.0.0.1:9", marks["proxy"]),
        "no_proxy": ",".join(sorted(direct)),
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
    log, took = builder.build(context, *options)
    print(f"built from nothing but pip's cache: {took:.0f} s")
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
    # And it is the same image as ever: it serves.
    assert engine.run(image=builder.tag).wait_until_serving().status_code == 200
