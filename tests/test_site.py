"""The documentation site: it builds without a warning, asks no other host for anything, has every page."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "object": "data"}
LINKED = {"stylesheet", "icon", "preconnect", "preload", "modulepreload", "dns-prefetch", "prefetch"}


class Read(HTMLParser):
    """What a page loads, the links in it, and the places that links can lead to."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.links, self.places, self.text = [], [], set(), []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag in LOADED and found.get(LOADED[tag]):
            self.loads.append(found[LOADED[tag]])
        if tag == "link" and set(found.get("rel", "").split()) & LINKED:
            self.loads.append(found["href"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. `strict` in mkdocs.yml makes a warning an error: a lost page, link or anchor."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Read(path) for path in sorted(site.rglob("*.html"))}


def test_every_page_of_docs_is_on_the_site(site, pages):
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        there = name.parent if name.name == "index" else name
        assert site / there / "index.html" in pages, page
    assert site / "changelog" / "index.html" in pages


def test_no_page_loads_anything_from_another_host(site, pages):
    loads = {target for page in pages.values() for target in page.loads}
    assert len(loads) > 10
    assert not [target for target in loads if re.match("(?:[a-z]+:)?//", target)]
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)[\s\"']*(?:[a-z]+:)?//", sheet.read_text()), sheet


def test_every_link_leads_to_a_page_and_a_place_on_it(site, pages):
    count = 0
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links begin at the root of the host
        for link in {*page.links, *page.loads}:
            target, _, place = link.partition("#")
            if re.match("[a-z]+:", target):
                continue
            there = (path.parent / target).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            assert there.exists(), f"{link} in {path.relative_to(site)}"
            if place and not place.startswith("__"):
                assert place in pages[there].places, f"{link} in {path.relative_to(site)}"
            count += 1
    assert count > 1000


def test_links_out_of_docs_lead_to_the_repository_and_pictures_are_copied(site, pages):
    evidence = pages[site / "evidence" / "index.html"]
    assert "https://github.com/samplewise/samplewise/blob/main/studies/web.toml" in evidence.links
    assert "../studies/web/accuracy-cost.png" in evidence.loads
    assert "../changelog/" in pages[site / "reliability" / "index.html"].links


def test_the_search_ranks_answers_above_lists(site):
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    ranks = {entry["location"]: entry.get("boost", 1) for entry in entries}
    assert (
        ranks["choose/"] > ranks["errors/"] > ranks["loop/"] > ranks["api/samplewise/"] > ranks["changelog/"]
    )


def test_what_only_tests_read_is_not_shown(pages):
    for path, page in pages.items():
        assert not re.search("begin [a-z]+: written by|Written by docs/generate", "".join(page.text)), path


def test_the_api_has_every_public_name_with_its_types(site, pages):
    reference = (ROOT / "docs" / "reference.md").read_text()
    count = 0
    for module, section in re.findall(r"^## (samplewise[\w.]*)$(.*?)(?=^## |\Z)", reference, re.M | re.S):
        for name in re.findall(r"^\| `(\w+)\(", section, re.MULTILINE):
            page = pages[site / "api" / module / "index.html"]
            assert {f"{module}.{name}", f"{module}.{name}.{name}"} & page.places, f"{module}.{name}"
            count += 1
    assert count > 200
    selector = "".join(pages[site / "api" / "samplewise" / "index.html"].text)
    assert "batch_size:Annotated[int|None,Range(1)]=None" in re.sub(r"\s", "", selector)
    assert ">>> batch = Batch(torch.arange(5)" in selector
