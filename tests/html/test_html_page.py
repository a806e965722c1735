"""The page: nothing of data is markup or code, nothing is loaded, all sections are there."""

import base64
import hashlib
import json
from html.parser import HTMLParser

import pytest

from samplewise.html import libraries
from samplewise.html.facts import Comparison, Facts, Run
from samplewise.html.page import as_json
from samplewise.html.write import SECTIONS, render, write
from tests.html.made import NAMES, facts, table


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and the text outside scripts."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.scripts, self.inside = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = tag
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def parsed():
    return Parsed(render(facts()).decode())


def test_text_from_data_is_text(parsed):
    tags = [tag for tag, _ in parsed.elements]
    assert tags.count("script") == 4  # data, the table's library, charts, glue
    assert "img" not in tags
    text = "".join(parsed.text)
    for name in NAMES[:5]:
        assert name in text


def test_no_element_has_a_handler_or_an_address_outside(parsed):
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:"))


def test_data_in_the_script_are_what_they_were(parsed):
    data = next(
        json.loads(script)
        for script, (_, attributes) in zip(
            parsed.scripts,
            [element for element in parsed.elements if element[0] in ("script", "style")],
            strict=True,
        )
        if attributes.get("id") == "facts"
    )
    (rows,) = data["tables"].values()
    assert {row[2] for row in rows["data"]} == {name.replace("\udcff", "\\udcff") for name in NAMES}
    assert len(data["charts"]) >= 8


def test_only_the_scripts_of_the_page_may_run(parsed):
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "script-src 'unsafe" not in policy
    modules = [
        script
        for script, (tag, attributes) in zip(
            parsed.scripts,
            [element for element in parsed.elements if element[0] in ("script", "style")],
            strict=True,
        )
        if tag == "script" and attributes.get("type") == "module"
    ]
    for script in modules:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert len(modules) == 2


@pytest.mark.parametrize("value", ["</script>", "<!--", "\u2028", "\udcff", '"\\', "&amp;"])
def test_json_survives_a_script_element(value):
    written = as_json({"a": [value, float("inf")]})
    assert json.loads(written) == {"a": [value.replace("\udcff", "\\udcff"), None]}
    assert not {"<", ">", "&", "\u2028"} & set(written)


def test_a_library_cannot_end_its_script():
    for script in (libraries.charts_script(), libraries.table_script()):
        assert "</script" not in script.lower()
        assert "<!--" not in script


def test_the_licences_are_inside(parsed):
    text = "".join(parsed.text)
    for holder in (
        "University of Washington Interactive Data Lab",
        "SpryMedia",
        "OpenJS Foundation",
        "Marc Wouts",
    ):
        assert holder in text


def test_every_section_has_its_heading(parsed):
    anchors = [a["id"] for tag, a in parsed.elements if tag == "section"]
    assert len(anchors) == len(SECTIONS) == len(set(anchors))


def test_what_is_absent_is_said_in_every_section():
    page = Parsed(render(Facts("empty", [Comparison("nothing", ["No run has finished yet."])])).decode())
    text = " ".join("".join(page.text).split())
    for said in (
        "No run has finished yet.",
        "there is no picture of results against cost",
        "No result during training is known.",
        "there is nothing to compare",
        "No run with scores of single samples is given.",
        "No configuration is known.",
    ):
        assert said in text


def test_a_run_without_table_history_labels_or_samples_says_so():
    bare = [
        Run("one", None, lacks={"table": "scores-one-0.parquet is missing."}),
        Run("two", table(labels=False, history=False)),
    ]
    text = "".join(Parsed(render(Facts("bare", [], bare)).decode()).text)
    for said in (
        "scores-one-0.parquet is missing.",
        "kept no history",
        "No labels are known",
        "only their ids",
        "nearest neighbours cannot be found",
    ):
        assert said in text


def test_every_section_that_is_empty_has_a_sentence():
    for empty in (Facts("x"), Facts("x", [], [Run("one")])):
        for part in SECTIONS:
            found = part.section(empty)
            assert found.blocks, found.heading


def test_a_failed_write_leaves_the_old_page(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="at least 2 samples"):
        write(Facts("x", [], [Run("one", table(), features=table().ids.numpy()[:1, None])]), path)
    assert path.read_text() == "old"


def test_a_missing_library_names_its_extra(monkeypatch):
    libraries.table_script.cache_clear()
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "itables", None)
    with pytest.raises(ImportError, match=r"samplewise\[html\]"):
        libraries.table_script()
