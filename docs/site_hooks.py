"""Fits the pages to the site: links that leave docs/, pages and pictures from outside of it, hidden code.

The pages are written for the repository, where `../studies/x.toml` leads somewhere. On the site a link to
a page stays a link to the page, a picture is copied, and everything else leads to the repository.
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
PICTURES = (".png", ".svg")
LINK = re.compile(r"\[([^][]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the pictures outside of docs/ that a page shows."""
    for name, there in ROOT_PAGES.items():
        files.append(File.generated(config, there, abs_src_path=str(ROOT / name)))
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
    """Remove what only tests read, mark sessions as such, and fit the links."""
    markdown = re.sub(r"^<!--.*?-->\n", "", markdown, flags=re.DOTALL | re.MULTILINE)
    markdown = markdown.replace("```python\n>>>", "```pycon\n>>>")
    here = page.file.src_uri
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
