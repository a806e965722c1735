"""The README: short, pasteable, true of every method, and without a link that works only in the checkout."""

import code
import contextlib
import io
import re

import pytest

from samplewise import recipes
from tests.test_docs import BLOB, RAW, ROOT, TEST_COMMAND, blocks

README = (ROOT / "README.md").read_text()
(BLOCK,) = blocks(README)
LINES = BLOCK.code.splitlines()
NEED_MORE = re.search(r"Nine of them need something more than this forward: (.*?)\.\n", README, re.DOTALL)


def shown(capsys, lines):
    """What an interactive Python prints for lines that are pasted into it."""
    console = code.InteractiveConsole()
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        waiting = [console.push(line) for line in lines]
    assert not waiting[-1], "Python waits for more"
    return capsys.readouterr().out, errors.getvalue()


def with_method(name):
    return [line.replace('"evolved_sampling"', repr(name)) for line in LINES]


def test_it_has_less_than_700_words():
    assert len(README.split()) < 700


def test_the_two_commands_are_shown_and_ci_runs_the_second():
    fences = re.findall(r"^```bash\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert [fence.strip() for fence in fences] == ["./dev train", TEST_COMMAND]
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == TEST_COMMAND


def test_its_block_can_be_pasted_into_python(capsys):
    said, errors = shown(capsys, LINES)
    assert not errors
    assert re.search(r"^samples back-propagated +[\d,]+$", said, re.MULTILINE)


def needing_more():
    return re.findall(r"`(\w+)`", NEED_MORE[1])


@pytest.mark.parametrize("name", [made.name for made in recipes.all().values()])
def test_its_loop_runs_every_method_but_those_it_names(name, capsys):
    said, errors = shown(capsys, with_method(name))
    assert ("ValueError: " in errors) == (name in needing_more()), errors
    if not errors:
        assert "saved by cost" in said


def test_the_methods_that_need_more_exist():
    assert len(needing_more()) == 9
    assert set(needing_more()) < set(recipes.all())


def test_every_link_works_on_the_page_of_the_package_too():
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        assert target.startswith((f"{BLOB}/", f"{RAW}/")), target
