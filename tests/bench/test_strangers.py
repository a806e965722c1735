"""Methods in a file of the user's: `path/to/file.py:recipe`."""

from pathlib import Path

import pytest

import samplewise as sw
from samplewise.bench import Study
from samplewise.bench.study import running, toy
from samplewise.bench.study.jobs import Job, canonical
from samplewise.bench.study.spec import Spec, written
from samplewise.policy import REGISTRY

HALF = """
from samplewise import pickers, recipes, signals, trackers
from samplewise.policy import Policy, recipe

def half(keep: float = 0.5):
    rows = pickers.TopK(keep)
    return Policy(signal=signals.loss, tracker=trackers.Last(), batch_picker=rows, source="training")

def number(): return 3
def breaks(): return 1 / 0

class Own:
    level = "epoch"
    observe = plan = choose = state_dict = load_state_dict = lambda self, *args: None

def own(size=1): return Own()

policy = half()
"""
DECORATED = """
from samplewise import recipes
from samplewise.policy import Policy, recipe

@recipe(paper="-", level="epoch", source="none")
def a_strangers(keep: float = 0.5) -> Policy:
    return recipes.random_dynamic(keep, period=1)
"""


@pytest.fixture(autouse=True)
def registry():
    """The registry without what a test adds to it."""
    known = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(known)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(HALF)
    return path


def test_a_function_of_a_file_is_a_method(mine: Path) -> None:
    policy = sw.recipes.parse(f"{mine}:half:keep=0.3")
    assert (policy.name, dict(policy.params), policy.level) == ("half", {"keep": 0.3}, "batch")
    assert sw.recipes.parse(f"{mine}:half") == sw.recipes.parse(f"{mine}:half:keep=0.5")
    assert sw.recipes.parse(f"{mine}:own").level == "epoch"


def test_a_registered_recipe_of_a_file_is_a_method(tmp_path: Path) -> None:
    path = tmp_path / "other.py"
    path.write_text(DECORATED)
    assert sw.recipes.parse(f"{path}:a_strangers:keep=0.3").params == {"keep": 0.3}
    assert sw.recipes.parse(f"{path}:a_strangers").name == "a_strangers"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hafl", r"has no function 'hafl'. Did you mean 'half'\? It has half, number, breaks, own\."),
        ("", "has no function ''"),
        ("policy", r"policy must be a function that returns a Policy, got Policy\("),
        ("number", "must return a Policy, or an object with level, observe, .*; got 3"),
        ("breaks", "breaks' raises ZeroDivisionError: division by zero"),
        ("half:kep=0.3", "has no parameter 'kep', only keep. Did you mean 'keep'"),
        ("half:keep=3", "keep=3' raises ValueError: TopK.keep must be in"),
        ("half:keep=0.3,keep=0.4", "keep is given twice"),
    ],
)
def test_errors_name_the_method(mine: Path, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sw.recipes.parse(f"{mine}:{name}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\nimport no_such_module", r"line 2, raises ModuleNotFoundError: No module named"),
        ("x = 1\n\ndef f(:\n", r"line 3, raises SyntaxError"),
        ("raise SystemExit(3)", "line 1, raises SystemExit: 3"),
        ("def ucb():\n    return 1", "must not have the name of a known recipe. Rename"),
        (DECORATED.replace("a_strangers", "ucb"), "raises ValueError: a recipe named 'ucb' is registered"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, source: str, said: str) -> None:
    path, known = tmp_path / "wrong.py", set(REGISTRY)
    path.write_text(source)
    with pytest.raises(ValueError, match=said):
        sw.recipes.parse(f"{path}:ucb")
    assert set(REGISTRY) == known


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.py cannot be read: No such file.*path/to/file\.py:recipe"):
        sw.recipes.parse(f"{tmp_path}/none.py:half")
    with pytest.raises(ValueError, match=r"or name its file: path/to/file\.py:recipe"):
        sw.recipes.parse("none.py")


def test_the_source_is_the_identity_and_not_the_path(mine: Path, tmp_path: Path) -> None:
    copy, edited = tmp_path / "copy.py", tmp_path / "edited.py"
    copy.write_text(HALF)
    edited.write_text(HALF + "# edited\n")
    assert canonical(f"{copy}:half:keep=0.50") == canonical(f"{mine}:half")
    found = {str(canonical(f"{path}:half{given}")) for path in (mine, edited) for given in ("", ":keep=0.3")}
    assert len(found) == 4
    assert canonical(f"{mine}:half") != canonical(f"{mine}:own") != canonical(f"{mine}:own:size=2")
    with pytest.raises(ValueError, match="must name each method once"):
        Spec((f"{mine}:half", f"{copy}:half:keep=0.5"), 4)


def test_a_study_file_names_it_from_its_own_folder(mine: Path) -> None:
    table = {"method": "mine.py:half", "grid": {"keep": [0.3]}, "run": {"lr": 0.1}}
    assert written(["mine.py:half@lr=0.2", table], [0.7], mine.parent) == (
        f"{mine}:half:keep=0.7@lr=0.2",
        f"{mine}:half:keep=0.3@lr=0.1",
    )


def test_a_study_judges_it_in_processes_of_its_own(mine: Path) -> None:
    """Its rows are found again where the file has another place, and not if its source is another."""
    task = '[task]\ndata = "digits"\nmodel = "mlp"\nepochs = 2\nlimit = 200\n'
    study = mine.parent / "small.toml"
    study.write_text(f'seeds = 1\ncontrols = false\nmethods = ["mine.py:half"]\n{task}')
    first = Study.load(study).run(jobs=2)
    assert first.missing == 0
    assert {line.name for line in first.of("method")} == {f"{mine}:half"}
    for name, edit, missing in (("moved.py", "", 0), ("edited.py", "# edited", 1)):
        (mine.parent / name).write_text(HALF + edit)
        study.write_text(study.read_text().replace("mine.py", name).replace("moved.py", name))
        mine.unlink(missing_ok=True)
        assert Study.load(study).results().missing == missing


def test_a_file_that_changes_during_a_study_is_told(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_trainer", object())
    version = canonical(f"{mine}:half")
    found = running._in_process(Job(f"{mine}:half", 1, 0), ["half", "another digest", *version[2:]])
    assert "has changed since the study started" in str(found)


def test_static_methods_of_a_file_in_a_folder_are_judged_at_two_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a scoring run, whose table has no paths."""
    folder = tmp_path / "own"
    folder.mkdir()
    recipe = "import samplewise as sw\ndef hard(keep=0.5):\n    return sw.recipes.el2n(keep=keep, first=1)\n"
    (folder / "mine.py").write_text(recipe)
    study = tmp_path / "small.toml"
    study.write_text(
        "seeds = 1\ncontrols = false\n"
        'methods = [{ method = "own/mine.py:hard", grid = { keep = [0.3, 0.5] } }]\n'
        '[task]\ndata = "digits"\nmodel = "mlp"\nepochs = 2\nlimit = 200\n'
    )
    monkeypatch.chdir(tmp_path)
    lines = Study.load(study).run().of("method")
    assert [round(line.bare_cost, 1) for line in lines] == [0.3, 0.5]
    assert [round(line.cost - line.bare_cost, 2) for line in lines] == [0.5, 0.5]
    assert len([*tmp_path.glob("small/work/scoring-*")]) == 1


def test_the_cost_of_a_method_of_another_kind_is_estimated(tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text(
        "import torch\n"
        "from samplewise.subset import Subset\n"
        "class Odd:\n"
        "    level, source = 'epoch', 'none'\n"
        "    def start(self, n, epochs, seed, labels): self.n = n\n"
        "    def plan(self, epoch): return Subset(torch.arange(1, self.n, 2))\n"
        "    def observe(self, ids, outputs, source): pass\n"
        "    def choose(self, ids): pass\n"
        "    def state_dict(self): return {}\n"
        "    def load_state_dict(self, state): pass\n"
        "def odd(): return Odd()\n"
    )
    assert toy.spent(f"{file}:odd", 4).cost(4) == pytest.approx(2.0)
