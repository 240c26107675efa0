"""The README and docs/: what they name exists, and what they quote is printed by the code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *ROOT.glob("benchmarks/*.md")])
WRAPPED = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted(DOCS.glob("*.md")),
]
WORDS, COLUMNS = 24_000, 100
OF_OTHER_PROGRAMS = {
    'Conflict. The container name "/flaskapp" is already in use',
    "sorry, too many clients already",
    "Error: pg_config executable not found.",
    "curl: (56) Recv failure: Connection reset by peer",
    "SQLite objects created in a thread can only be used in that same thread",
    "Exception: you need a C compiler to build uWSGI",
    "cannot open shared object file",
    "unsupported locale setting",
    "ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?",
    "No 'Access-Control-Allow-Origin' header is present on the requested resource",
    "The data value transmitted exceeds the capacity limit.",
    "unable to open database file",
    "error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'",
    "Cannot connect to the Docker daemon",
    "permission denied while trying to connect to the Docker daemon socket",
    "the --mount option requires BuildKit",
    "'compose' is not a docker command",
    "pull access denied for docker-flask",
    'failed to do request: Head "https://registry-1.docker.io/v2/library/ubuntu/manifests/24.04"',
    "HTTPSConnectionPool(host='files.pythonhosted.org', port=443): Read timed out.",
    "Bind for 0.0.0.0:8091 failed: port is already allocated",
    "Could not find a version that satisfies the requirement flask (from versions: none)",
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)
    linked = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in linked]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere_and_commands_of_make_exist(page: Path) -> None:
    files = (ROOT / "Makefile", ROOT / "tools/measure-and-release.mk")
    targets = re.findall(r"(?m)^([a-z0-9-]+):", "".join(file.read_text() for file in files))
    if page.name != "CHANGELOG.md":
        assert not set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.M)) - {*targets}
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose(page)):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_lists_every_page() -> None:
    readme = ROOT / "README.md"
    for page in DOCS.glob("*.md"):
        assert f"](docs/{page.name}" in readme.read_text()


def test_the_pages_are_short() -> None:
    """What is new takes the place of what says the same, or of what only repeats a message."""
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    assert sum(len(page.read_text().split()) for page in pages) <= WORDS


@pytest.mark.parametrize("page", WRAPPED, ids=named)
def test_lines_of_prose_are_short(page: Path) -> None:
    """Apart from tables, pictures, and code in a line, which can't be broken."""
    for line in prose(page).splitlines():
        breakable = " " in re.sub("`[^`]*`|!?\\[[^]]*\\]\\([^)]*\\)", "", line.strip(" -"))
        assert len(line) <= COLUMNS or line.startswith("|") or not breakable, line


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=named)
def test_files_of_the_repository_exist(page: Path) -> None:
    """Those that are named in backticks by their path, and the tests in them."""
    folders = "|".join(p.name for p in ROOT.iterdir() if p.is_dir() and p.name[0] != ".")
    for path, name in re.findall(rf"`((?:{folders})/[\w./-]*)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"


def test_what_the_architecture_names_exists() -> None:
    """Files, folders, classes and functions in backticks."""
    package = ROOT / "docker_flask"
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    names = re.findall(r"`([^`\n]+)`", (DOCS / "architecture.md").read_text())
    for name in set(names) - {"prestart.sh"}:  # the user's
        if re.fullmatch(r"(?!/|.*NAME)[\w./-]+(\.(py|c|sh|conf|md)|/)", name):
            assert (ROOT / name).exists() or any(package.rglob(name)), name
        elif re.fullmatch(r"(\w+\.)*\w+\(\)|[A-Z]\w*[a-z]\w*(\.\w+)?", name):
            last = name.removesuffix("()").rpartition(".")[2]
            assert re.search(rf"\b(class|def) {last}\b|\bself\.{last}\b", source), name


@cache
def code() -> str:
    """What may hold a message: literals that are split over lines are joined."""
    folders = (ROOT / "docker_flask", ROOT / "tools", ROOT / "entry-point.sh")
    files = [path for folder in folders for path in (folder, *folder.glob("**/*"))]
    texts = [path.read_text() for path in files if path.is_file() and path.suffix != ".pyc"]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(texts))


def own_words(message: str) -> list[str]:
    """The longest runs of words of a message in which no value is filled in."""
    runs = re.split(r"[\d'\"/=<>:;,.()`]+\S*|\b[A-Z_]{3,}\b|\.\.\.", message)
    return [run.strip() for run in runs if len(run.split()) >= 3]


@pytest.mark.parametrize("page", ["troubleshooting.md", "zh/troubleshooting.md"])
def test_messages_that_are_explained_are_those_of_the_code(page: str) -> None:
    """Headings in backticks."""
    text = (DOCS / page).read_text()
    for message in re.findall(r"^### `([^`]+)`$", text, re.MULTILINE):
        if message not in OF_OTHER_PROGRAMS and (words := own_words(message)):
            assert any(run in code() for run in words), message


def test_all_metrics_and_facts_are_explained() -> None:
    """docs/operating.md: the names in /metrics, and the fields of `docker-flask status --json`."""
    page = (DOCS / "operating.md").read_text()
    supervisor = ROOT / "docker_flask/supervisor"
    metrics, status = ((supervisor / name).read_text() for name in ("metrics.py", "status.py"))
    made = r'_(?:one|metric|histogram)\(\s*"(\w+)"|^        "(\w+)": \('
    names = {one or other for one, other in re.findall(made, metrics, re.MULTILINE)}
    names |= set(re.findall(r'^ +"(\w+)": ', status, re.MULTILINE))
    assert "http_requests_total" in names
    assert "requests_waiting" in names
    assert "mean_wait" in names
    assert not {name for name in names if f"`{name}`" not in page}
