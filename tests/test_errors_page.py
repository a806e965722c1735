"""The page of error messages: what a user really meets is found on it."""

import ast
import re

import pytest
import torch
from torch import nn

import samplewise as sw
from docs import errors
from samplewise.cli import main

DATA = torch.utils.data.TensorDataset(torch.randn(32, 4), torch.randint(3, (32,)))
MODEL = nn.Sequential(nn.Linear(4, 3))


def plain(batch):
    x, y = batch
    return nn.functional.cross_entropy(MODEL(x), y, reduction="none")


def first_loss(method, forward):
    selector = sw.Selector(method, DATA, forward, model=MODEL, epochs=4, batch_size=8)
    return selector.loss(next(iter(selector.loader())))


MISTAKES = [
    lambda: sw.Selector("infobach", DATA, plain, epochs=4),
    lambda: sw.recipes.ucb(keep=70),
    lambda: sw.recipes.random_dynamic(period=1.5),
    lambda: sw.classifier(MODEL, head="fc"),
    lambda: sw.Selector("dynams", DATA, plain, model=MODEL, epochs=12),
    lambda: sw.Selector("rho_loss", DATA, plain, model=MODEL, epochs=4),
    lambda: sw.Selector("infobatch", [], plain, epochs=4),
    lambda: first_loss("kakurenbo", plain),
    lambda: first_loss("loss_sampling", lambda batch: plain(batch).mean()),
    lambda: first_loss("loss_sampling", lambda batch: plain(batch) * torch.nan),
    lambda: sw.Subset([1, 1]),
    lambda: sw.Subset([1, 2], weights=[1.0]),
    lambda: sw.ScoreTable.read("nowhere.parquet"),
]


@pytest.fixture(scope="module")
def patterns():
    """Every text of the page as a pattern in which a value can be anything."""
    texts = re.findall(r"^- `(\w+)`: (`+) ?(.*?) ?\2$", errors.page(""), re.MULTILINE)
    assert len(texts) > 900
    return [(kind, pattern(text)) for kind, _, text in texts]


def pattern(text):
    pieces = re.split(r"<\w+>|…", text)
    return re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_an_error_that_a_user_meets_is_on_the_page(number, patterns):
    with pytest.raises((ValueError, TypeError, OSError, RuntimeError)) as raised:
        MISTAKES[number]()
    message = re.sub(r"\s+", " ", str(raised.value))
    said = [found for kind, found in patterns if kind == raised.type.__name__ and found.search(message)]
    assert any(map(says_something, said)), message


def says_something(found):
    """A text that is almost only values fits every message: "must be" and "got" are the least."""
    return len(re.sub(r"[^a-z]", "", found.pattern)) >= len("mustbegot")


def test_an_error_of_the_command_is_on_the_page(capsys, patterns):
    assert main(["train", "--data", "nowhere.npz"]) != 0
    said = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert any(says_something(found) and found.search(said) for _, found in patterns), said


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ('raise ValueError("one two")', ["one two"]),
        ('raise ValueError(f"{a.b} must be {c[0]}, got it")', ["<b> must be …, got it"]),
        ('X = "said {} here"\nraise RuntimeError(X.format("a"))', ["said {} here"]),
        ('def said():\n    return "of a function"\nraise TypeError(said())', ["of a function"]),
        ('raise ValueError("if so" if a else "if not so")', ["if not so", "if so"]),
        ('made = ValueError("kept for later")', ["kept for later"]),
        ('warnings.warn("look at this", stacklevel=2)', ["look at this"]),
        ("raise ValueError(text)", []),
    ],
)
def test_texts_are_found_however_they_are_made(source, texts, tmp_path):
    (tmp_path / "a.py").write_text(source)
    assert [text for _, _, text in errors.messages(tmp_path / "a.py")] == texts


def test_few_errors_have_a_text_that_the_page_cannot_show():
    raised = shown = 0
    for path in errors.SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        raised += sum(
            isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) for node in ast.walk(tree)
        )
        shown += len(errors.messages(path))
    assert shown > 0.95 * raised
