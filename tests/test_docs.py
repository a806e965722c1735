"""The docs run: every python block in order, one namespace a file; what is generated is up to date."""

import doctest
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from unittest import mock

import pytest
import yaml

import samplewise
from samplewise import recipes

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TEST_COMMAND = "./dev test"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Homepage"]
BLOB = f"{REPOSITORY}/blob/main"
RAW = REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main"


@dataclass(frozen=True)
class Block:
    """The code of one fence, and the line of the page it begins at (0-based)."""

    code: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    for fence in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield Block(fence[1], text[: fence.start(1)].count("\n"))


def run(block: Block, page: Path, namespace: dict[str, object]) -> None:
    if not block.code.startswith(">>>"):
        code = compile("\n" * block.line + block.code, str(page), "exec")
        exec(code, namespace)
        return
    test = doctest.DocTestParser().get_doctest(block.code, namespace, page.name, str(page), block.line)
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=said.append, clear_globs=False)
    assert not result.failed, "".join(said)
    namespace.update(test.globs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A real module, so that what a page defines can be pickled.
    module = types.ModuleType(f"docs_{page.stem.lower()}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with mock.patch.dict(recipes.REGISTRY):
        for block in blocks(page.read_text()):
            run(block, page, module.__dict__)


def test_a_wrong_result_in_a_page_is_found():
    page = "Text.\n\n```python\nx = 1\n```\n\n```python\n>>> x + 1\n3\n```\n"
    first, second = blocks(page)
    namespace: dict[str, object] = {}
    run(first, Path("page.md"), namespace)
    with pytest.raises(AssertionError, match=r"Expected:\n +3\n +Got:\n +2"):
        run(second, Path("page.md"), namespace)


def test_what_is_generated_is_up_to_date():
    # In a process of its own: under pytest, shape checks wrap the signatures that the pages show.
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert not checked.returncode, checked.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_and_sections_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        local = re.fullmatch(rf"(?:{BLOB}|{RAW})/(.+)", target)
        if target.startswith("https://") and not local:
            continue
        file, _, section = (local[1] if local else target).partition("#")
        there = (ROOT if local else page.parent) / file if file else page
        assert there.exists(), f"{target} in {page.name}"
        if section:
            assert section in sections(there), f"{target} in {page.name}"


def sections(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_glossary_has_each_word_once_and_its_names_exist():
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = [word for cell in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for word in cell.split(", ")]
    words = [word for word in words if word not in ("word", "---")]
    assert len(words) == len(set(words))
    assert {"plan", "pass", "observe", "narrow", "`keep`", "ledger"} <= set(words)
    for name in re.findall(r"`sw\.(\w+)[.(`]", text):
        assert hasattr(samplewise, name), name


def test_the_files_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`([\w/]+(?:\.py|/))`", text)
    missing = [
        name
        for name in named
        if not re.search("NAME|FILE", name)
        and not any((root / name).exists() for root in (ROOT, ROOT / "src" / "samplewise"))
    ]
    assert len(named) > 30
    assert not missing


MODULES = ("", ".recipes", ".schedules", ".trackers", ".pickers", ".signals", ".testing")


@pytest.mark.parametrize("module", [f"samplewise{part}" for part in MODULES])
def test_every_public_name_is_in_the_docs(module):
    text = "\n".join(page.read_text() for page in PAGES)
    words = set(re.findall(r"\w+", text))
    missing = [name for name in importlib.import_module(module).__all__ if name not in words]
    assert not missing


def test_dev_names_its_commands_when_given_another():
    called = subprocess.run([str(ROOT / "dev"), "tests"], capture_output=True, text=True)
    assert called.returncode == 1
    assert called.stderr == (
        "dev: usage: ./dev train [options], ./dev test [--torch VERSION] [options], ./dev docs [--serve] "
        "or ./dev release-check\n"
    )


@pytest.mark.parametrize("version", ["", "newest", "2.14.1; rm", "../2.14"])
def test_dev_refuses_a_torch_that_is_no_version(version):
    for given in (["--torch", version], [f"--torch={version}"]):
        called = subprocess.run([str(ROOT / "dev"), "test", *given], capture_output=True, text=True)
        assert called.returncode == 1
        assert called.stderr == f"dev: --torch must be a version such as 2.14.1, got '{version}'\n"


def test_a_release_is_checked_only_where_all_is_committed_and_named(tmp_path):
    def called(*given):
        done = subprocess.run(
            [str(tmp_path / "dev"), "release-check", *given], capture_output=True, text=True
        )
        assert done.returncode == 1
        return done.stderr

    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "src/samplewise/files").mkdir(parents=True)
    (tmp_path / "src/samplewise/files/versions.py").write_text('VERSION = "9.9.9"\n')
    (tmp_path / "CHANGELOG.md").write_text("## Unreleased\n")
    shutil.copy(ROOT / "dev", tmp_path)
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert called() == "dev: release-check needs a clean tree: commit or remove the changes\n"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "all"], check=True)
    assert called() == "dev: CHANGELOG.md has no heading '## 9.9.9'\n"
    assert called("--quick") == "dev: release-check takes no options, got '--quick'\n"


def test_every_extra_is_explained_on_the_page_about_installing():
    explained = re.findall(r"^\| `(\w+)` \| ", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(PROJECT["optional-dependencies"])


def test_every_method_has_a_page_and_no_page_is_left_of_another():
    ours = {made.name for made in recipes.all().values() if made.__module__.startswith("samplewise.")}
    assert {page.stem for page in (ROOT / "docs" / "methods").iterdir()} == ours


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    wanted = {"cff-version", "message", "title", "authors", "version", "license", "repository-code", "type"}
    assert wanted <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == samplewise.__version__
    assert (citation["license"], citation["repository-code"]) == (PROJECT["license"], REPOSITORY)
    assert f"version = {{{samplewise.__version__}}}" in (ROOT / "docs" / "cite.md").read_text()


def test_constraints_pin_every_dependency_exactly():
    wanted = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    names = {re.match(r"[\w-]+", line)[0] for line in wanted} - {"samplewise"}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    older = r"(; python_version (<|>=) \"3\.12\")?"  # some packages make no more releases for Python 3.11
    assert all(re.fullmatch(rf"[\w.-]+==[\w.]+{older}", line) for line in lines)
    pinned = {line.partition("==")[0].replace("_", "-").lower() for line in lines}
    assert names <= pinned
