"""Fits the pages to the site: links out of docs/, pages and pictures from outside, hidden code, the API.

The pages are written for the repository, where `../studies/x.toml` leads somewhere. On the site a link to
a page stays a link to the page, a picture is copied, and everything else leads to the repository. The API
pages are made here: one for each module of docs/reference.md, with the whole docstrings and types.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/samplewise/samplewise"
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages outside of docs/, and where they are on the site."""
BOOST = {
    "choose.md": 3,
    "quickstart.md": 2,
    "when-not.md": 2,
    "faq.md": 2,
    "errors.md": 2,
    "api/": 0.5,
    "changelog.md": 0.3,
}
"""How much a page counts in the search, by the beginning of its path. Others count 1."""
PICTURES = (".png", ".svg")
LINK = re.compile(r"\[([^][]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the methods, by level, and those of the API into the navigation."""
    rows = re.findall(
        r"^\| \[`\w+`\]\((methods/\w+\.md)\) \| ([\w+]+) \|", _text("docs/methods.md"), re.MULTILINE
    )
    levels: dict[str, list[str]] = {}
    for page, level in rows:
        levels.setdefault(f"Level {level}", []).append(page)
    added = {"methods.md": [{level: pages} for level, pages in levels.items()]}
    added["reference.md"] = [{module: f"api/{module}.md"} for module in _modules()]
    for entry in config.nav or ():
        for pages in entry.values() if isinstance(entry, dict) else ():
            for first, more in added.items():
                if pages[0] == first:
                    pages += more
    return config


def _text(path: str) -> str:
    return (ROOT / path).read_text()


def _modules() -> dict[str, list[str]]:
    """The modules of docs/reference.md with the paths of their names. A module is no name."""
    sections = re.split(r"^## (samplewise[\w.]*)$", _text("docs/reference.md"), flags=re.MULTILINE)[1:]
    found = {}
    for module, text in zip(sections[::2], sections[1::2], strict=True):
        rows = re.findall(r"^\| `(\w+)(\(?)", text.partition("\n## ")[0], re.MULTILINE)
        folder = ROOT / "src" / module.replace(".", "/")
        paths = []
        for name, called in rows:
            taken = (folder / name).is_dir() or (folder / f"{name}.py").exists()
            if called or not taken:
                # A function in a file of the same name is found in that file only.
                paths.append(f"{module}.{name}.{name}" if taken else f"{module}.{name}")
        found[module] = paths
    return {module: paths for module, paths in found.items() if paths}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the pictures outside of docs/ that a page shows."""
    for name, there in ROOT_PAGES.items():
        files.append(File.generated(config, there, abs_src_path=str(ROOT / name)))
    for module, paths in _modules().items():
        text = "\n\n".join([f"# {module}", *(f"::: {path}" for path in paths)])
        files.append(File.generated(config, f"api/{module}.md", content=text))
    shown = {
        path
        for file in files.documentation_pages()
        for path in _linked(file.content_string, _home(file.src_uri))
        if path.endswith(PICTURES) and not path.startswith("docs/")
    }
    for path in sorted(shown):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Remove what only tests read, mark sessions as such, fit the links, and rank the page in the search."""
    markdown = re.sub(r"^<!--.*?-->\n", "", markdown, flags=re.DOTALL | re.MULTILINE)
    markdown = markdown.replace("```python\n>>>", "```pycon\n>>>")
    here = page.file.src_uri
    boosts = [boost for path, boost in BOOST.items() if here.startswith(path)]
    page.meta["search"] = {"boost": boosts[0] if boosts else 1}
    return LINK.sub(lambda link: _fitted(link, here), markdown)


def _home(site: str) -> str:
    """Where a page of the site is in the repository."""
    return next((name for name, there in ROOT_PAGES.items() if there == site), f"docs/{site}")


def _resolved(target: str, home: str) -> str | None:
    """The path in the repository that a link leads to, or None."""
    if "://" in target:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(home), target))
    return path if not path.startswith("..") and (ROOT / path).exists() else None


def _linked(markdown: str, home: str) -> set[str]:
    found = (_resolved(link[2], home) for link in LINK.finditer(markdown))
    return {path for path in found if path}


def _fitted(link: re.Match[str], here: str) -> str:
    """The link as the site needs it. One that leads nowhere stays, so that the strict build names it."""
    text, target, section = link[1], link[2], link[3] or ""
    path = _resolved(target, _home(here))
    if path is None:
        return link[0]
    if text == posixpath.basename(path) and path.endswith(".md"):
        text = _title(path)
    if path in ROOT_PAGES or (path.startswith("docs/") and not path.endswith(".py")):
        there = ROOT_PAGES.get(path, path.removeprefix("docs/"))
    elif path.endswith(PICTURES):
        there = path
    else:
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"[{text}]({REPOSITORY}/{kind}/main/{path}{section})"
    return f"[{text}]({posixpath.relpath(there, posixpath.dirname(here) or '.')}{section})"


def _title(path: str) -> str:
    """The heading of a page: a reader of the site does not know its file."""
    return (ROOT / path).read_text().partition("\n")[0].removeprefix("# ")
