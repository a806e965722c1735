"""Reports in a headless Chromium: drawn, sorted, filtered, exported, light, dark, small, printed."""

import csv
import re
import time

import pytest

from samplewise.html.write import write
from tests.html import browser
from tests.html.made import NAMES, N, facts

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is a browser")
BUTTON = "return [...document.querySelectorAll('.dt-button')].find(b => b.textContent.includes('{}')).click()"
CELLS = "return [...document.querySelectorAll('table.rows tbody tr')].map(r => r.cells[{}].textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(facts(), tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as opened:
        yield opened


def test_charts_and_rows_are_drawn_without_errors_or_requests(chromium, page):
    chromium.open(page)
    charts = chromium.js("return document.querySelectorAll('.chart').length")
    assert charts >= 8
    assert chromium.js("return document.querySelectorAll('.chart svg').length") == charts
    drawn = "return [...document.querySelectorAll('.chart svg')].every(s => s.querySelector('path, line'))"
    assert chromium.js(drawn)
    assert len(chromium.js(CELLS.format(0))) == 10
    assert chromium.console() == []
    assert chromium.requests() == [page.resolve().as_uri()]


def test_names_are_shown_and_run_nothing(chromium, page):
    chromium.open(page)
    assert chromium.js("return window.broken") is None
    assert chromium.js("return document.querySelectorAll('img').length") == 0
    body = chromium.js("return document.body.innerText")
    svg = chromium.js("return [...document.querySelectorAll('.chart svg')].map(s => s.textContent).join(' ')")
    table = set(chromium.js(CELLS.format(2)))
    for name in NAMES[:5]:
        assert name in body
        assert name in table
    assert NAMES[0] in svg
    assert NAMES[4] in svg


def test_a_request_and_an_error_would_be_seen(chromium, page, tmp_path):
    """The two checks above can fail."""
    faulty = tmp_path / "faulty.html"
    text = page.read_bytes().decode().replace("</main>", '<img src="other.png"></main>')
    faulty.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text))
    chromium.open(faulty)
    assert any("other.png" in url for url in chromium.requests())
    assert any("other.png" in message for message in chromium.console())


def test_the_policy_stops_what_a_text_would_do(chromium, page, tmp_path):
    faulty = tmp_path / "faulty.html"
    planted = '<img src="x" onerror="window.broken = 1"><script>window.broken = 1</script></main>'
    faulty.write_bytes(page.read_bytes().replace(b"</main>", planted.encode()))
    chromium.open(faulty)
    assert chromium.js("return window.broken") is None
    assert any("Content Security Policy" in message for message in chromium.console())


def test_a_click_sorts(chromium, page):
    chromium.open(page)
    head = "document.querySelectorAll('table.rows thead th')[4]"
    for direction in (1, -1):
        chromium.js(f"{head}.querySelector('.dt-column-order').click()")
        shown = [float(cell) for cell in chromium.js(CELLS.format(4)) if cell]
        assert shown == sorted(shown, reverse=direction < 0)
    expected = sorted((i / N for i in range(N) if i != 3), reverse=True)[: len(shown)]
    assert shown == pytest.approx(expected, rel=1e-4)


def test_a_word_filters(chromium, page):
    chromium.open(page)
    search = "const box = document.querySelector('.dt-search input'); box.value = {}; "
    search += "box.dispatchEvent(new Event('input', {{bubbles: true}}))"
    chromium.js(search.format("'=1+1'"))
    chromium.until("return document.querySelector('.dt-info').textContent.includes('10 entries')")
    assert set(chromium.js(CELLS.format(2))) == {"=1+1"}


def test_conditions_can_be_built(chromium, page):
    chromium.open(page)
    chromium.js(BUTTON.format("Filter"))
    chromium.until("return document.querySelector('.dtsb-searchBuilder') !== null")


def test_all_rows_are_exported_as_they_are(chromium, page):
    chromium.open(page)
    chromium.js(BUTTON.format("CSV"))
    file, end = chromium.downloads / "samples.csv", time.monotonic() + 20
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
    with file.open(newline="", encoding="utf-8-sig") as opened:
        heads, *rows = csv.reader(opened)
    assert heads == ["id", "why", "class", "times selected", "loss", NAMES[1]]
    assert len(rows) == N
    classes = {row[2] for row in rows}
    assert set(NAMES[:4]) <= classes
    assert "=1+1" not in classes  # a spreadsheet would compute it
    assert any(name.endswith("=1+1") for name in classes)
    assert [int(row[0]) for row in rows] == list(range(N))
    assert rows[3][4] == ""


def test_dark_and_light_follow_the_system(chromium, page):
    colour = "return getComputedStyle(document.documentElement).backgroundColor"
    label = "return getComputedStyle(document.querySelector('.chart svg text')).fill"
    chromium.open(page, dark=True)
    assert chromium.js(colour) == "rgb(20, 23, 28)"
    assert chromium.js("return document.documentElement.classList.contains('dark')")
    assert chromium.js(label) == "rgb(230, 233, 237)"
    chromium.tone(False)
    chromium.until("return !document.documentElement.classList.contains('dark')")
    assert chromium.js(colour) == "rgb(255, 255, 255)"
    assert chromium.js(label) == "rgb(31, 35, 40)"
    assert chromium.console() == []


@pytest.mark.parametrize("width", [375, 320])
def test_a_phone_needs_no_sideways_scrolling(chromium, page, width):
    chromium.open(page, width=width, height=700)
    assert chromium.js("return document.documentElement.scrollWidth") <= width
    wide = "return [...document.querySelectorAll('.chart svg')].map(s => s.getBoundingClientRect().right)"
    assert max(chromium.js(wide)) <= width
    assert chromium.js("return getComputedStyle(document.body).fontSize") == "15px"


def test_paper_is_light(chromium, page):
    chromium.open(page, dark=True)
    chromium.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    chromium.until("return !document.documentElement.classList.contains('dark')")
    colour = chromium.js("return getComputedStyle(document.documentElement).backgroundColor")
    assert colour == "rgb(255, 255, 255)"
    assert chromium.js("return getComputedStyle(document.querySelector('.dt-buttons')).display") == "none"
    chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert chromium.printed().startswith(b"%PDF")
