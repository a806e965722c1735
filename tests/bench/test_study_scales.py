"""Scales and parts of a study file, and published numbers beside ours."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from samplewise.bench import Study
from samplewise.bench.study import beside
from samplewise.bench.study.outputs import document
from samplewise.bench.study.scales import chosen, refuse_unknown
from samplewise.bench.study.spec import _FILE
from samplewise.cli import main
from tests.bench import fake

FILE = """
name = "both"
scale = "small"
methods = ["infobatch", { method = "ucb:period=$period", grid = { keep = [0.3, 0.5] } }]
controls = false

[task]
data = "digits"
model = "mlp"

[small]
seeds = 2
let = { period = 1 }
[small.task]
epochs = 4
limit = 200

[paper]
seeds = 4
let = { period = 10 }
[paper.task]
epochs = 200
batch_size = 64

[[parts]]
name = "clean"

[[parts]]
name = "noisy"
task = { label_noise = 0.2 }
[parts.small]
seeds = 3
[parts.paper.task]
epochs = 100

[[published]]
source = "Table 1"
setting = "CIFAR-10"
part = "clean"
columns = ["keep=0.3", "keep=0.5"]
[published.values]
full = "95.4"
infobatch = "95.3±0.1?"
"ucb:period=$period" = ["9?.2", "94.9 ±0.2"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "both.toml"
    file.write_text(FILE)
    return file


def test_the_nearest_table_wins(path: Path) -> None:
    """By hand: what each scale and part says, over what the file says for all."""
    found = {
        (scale, part): Study.load(path, scale=scale, part=part)
        for scale in ("small", "paper")
        for part in ("clean", "noisy")
    }
    assert {key: (s.spec.seeds, s.spec.epochs) for key, s in found.items()} == {
        ("small", "clean"): (2, 4),
        ("small", "noisy"): (3, 4),
        ("paper", "clean"): (4, 200),
        ("paper", "noisy"): (4, 100),
    }
    assert [s.settings.label_noise for s in found.values()] == [0.0, 0.2, 0.0, 0.2]
    assert [s.settings.batch_size for s in found.values()] == [128, 128, 64, 64]
    assert [s.spec.methods[1] for s in found.values()][::2] == [
        "ucb:period=1,keep=0.3",
        "ucb:period=10,keep=0.3",
    ]
    assert len({s.folder for s in found.values()}) == 4
    assert found["paper", "noisy"].folder == path.parent / "both" / "paper" / "noisy"
    assert found["paper", "noisy"].spec.name == "both, paper, noisy"


def test_names_of_methods_follow_what_a_scale_lets(tmp_path: Path) -> None:
    file = tmp_path / "named.toml"
    file.write_text(
        FILE + '\n[names]\ninfobatch = "plain"\n"ucb:period=$period,keep=0.3" = "every $period"\n'
    )
    found = {scale: Study.load(file, scale=scale, part="clean").spec.names for scale in ("small", "paper")}
    assert found == {
        "small": {"infobatch": "plain", "ucb:period=1,keep=0.3": "every 1"},
        "paper": {"infobatch": "plain", "ucb:period=10,keep=0.3": "every 10"},
    }


def test_rows_do_not_depend_on_how_a_task_is_written(path: Path, tmp_path: Path) -> None:
    """A study of one scale and one part has the rows of the same study without them."""
    plain = tmp_path / "plain.toml"
    plain.write_text(
        'methods = ["infobatch"]\ncontrols = false\nseeds = 3\n[task]\ndata = "digits"\nmodel = "mlp"\n'
        "epochs = 4\nlimit = 200\nlabel_noise = 0.2\n"
    )
    one, other = Study.load(plain).plan, Study.load(path, part="noisy").plan
    assert one.rows.task == other.rows.task
    assert {job.key(one.rows.task) for job in one.jobs()} < {job.key(one.rows.task) for job in other.jobs()}


def test_published_numbers_stand_beside_ours(path: Path) -> None:
    study = Study.load(path, part="clean")
    mine = fake.study(path.parent / "fake", methods=study.spec.methods, seeds=2)
    mine.published = study.published
    results = mine.run()
    lines = {line.name: line.results["accuracy"] for line in results.lines}
    by_method = {row.method: row for row in results.published}
    assert list(by_method) == ["full", "infobatch", "ucb:period=1,keep=0.3", "ucb:period=1,keep=0.5"]
    ucb = by_method["ucb:period=1,keep=0.5"]
    assert (ucb.value, ucb.spread, ucb.full) == (94.9, 0.2, 95.4)
    assert (ucb.ours, ucb.ours_spread) == lines["ucb:period=1,keep=0.5"]
    assert ucb.ours_full == lines["full, 8 epochs"][0]
    unreadable = by_method["ucb:period=1,keep=0.3"]
    assert (unreadable.text, unreadable.value, by_method["infobatch"].spread) == ("9?.2", None, None)
    text = beside.markdown(results)
    gain = lines["ucb:period=1,keep=0.5"][0] - lines["full, 8 epochs"][0]
    row = next(line for line in text.splitlines() if "keep=0.5" in line)
    assert [cell.strip() for cell in row.split("|")][5:9] == [
        "94.9 ±0.2",
        "-0.50",
        f"{ucb.ours:.2f} ±{ucb.ours_spread:.2f}",
        f"{gain:+.2f}",
    ]
    assert "a digit that cannot be read" in text
    assert text in (mine.folder / "table.md").read_text()
    assert document(results)["published"][1]["text"] == "95.3±0.1?"
    mine.published = ()
    assert mine.results() == replace(results, published=())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[small]\nseeds", "[small]\nseed", r"\[small\]: unknown key 'seed'. Did you mean 'seeds'"),
        ('name = "noisy"', 'name = "noisy"\nsede = 1', "the part noisy: unknown key 'sede'. Did you mean"),
        ("[parts.small]\nseeds", "[parts.small]\nseed", "the part noisy, small: unknown key 'seed'"),
        ("[small.task]\nepochs", "[small.task]\nepoch = 3\nepochs", "unknown key 'epoch'"),
        ('name = "noisy"', 'name = "clean"', "the part clean is there twice"),
        ('name = "noisy"', 'name = "a/b"', "must have a name of letters, digits"),
        ('scale = "small"', 'scale = "large"', "scale must be small or paper, got 'large'"),
        ('scale = "small"\n', "", "scale must be small or paper, got None"),
        ("[paper]", "[paperr]", "unknown key 'paperr'. Did you mean 'paper'"),
        ("period=$period", "period=$perod", "needs 'perod' in a table .let.*Did you mean 'period'"),
        ("period=$period", "period=$", "has a . that begins no name"),
        ('part = "clean"', 'part = "clear"', "part must be one of clean, noisy, got 'clear'. Did you mean"),
        ('part = "clean"', "", "part must be one of clean, noisy, got None"),
        (
            "[published.values]",
            'said = "x"\n[published.values]',
            "either a table values with the methods, or",
        ),
        ('source = "Table 1"\n', "", "must have a text source, got None"),
        ('full = "95.4"', 'full = "95.4 %"', "full must be a number as printed"),
        ('full = "95.4"', 'ucbb = "95.4"', "unknown method 'ucbb'. Did you mean 'ucb'"),
        ('full = "95.4"', 'rs2 = "95.4"', "has a number for rs2, which is no method of this study"),
        ('["9?.2", "94.9 ±0.2"]', '["9?.2"]', "a list with a text for each of the 2 columns"),
        ('setting = "CIFAR-10"', 'setting = "C"\nmetric = "acc"', "metric must be one of accuracy, loss"),
        ('setting = "CIFAR-10"', 'settin = "C"', "unknown key 'settin'. Did you mean 'setting'"),
    ],
)
def test_bad_input_is_refused(path: Path, old: str, new: str, said: str) -> None:
    assert old in FILE
    path.write_text(FILE.replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        Study.load(path, part="clean")
    assert [file.name for file in path.parent.iterdir()] == ["both.toml"]


@pytest.mark.parametrize(
    ("scale", "part", "said"),
    [
        ("large", "clean", "must have the scale 'large', but it has small and paper"),
        (None, None, "has the parts clean, noisy. Choose one of them"),
        (None, "noise", "has no part 'noise'. Did you mean 'noisy'"),
    ],
)
def test_a_scale_and_a_part_must_be_there(path: Path, scale, part, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Study.load(path, scale=scale, part=part)


def test_a_dry_run_shows_every_part_and_their_sum(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    runs = [int(line.split()[0]) for line in said.splitlines() if "runs to do, 0 finished" in line]
    assert [line.rstrip() for line in said.splitlines() if line.startswith("both")] == [
        "both, small, clean",
        "both, small, noisy",
    ]
    assert f"All 2 parts: {sum(runs)} runs to do." in said
    assert main(["bench", str(path), "--dry-run", "--part", "clear"]) == 2
    assert "Did you mean 'clean'" in capsys.readouterr().err
    assert [file.name for file in path.parent.iterdir()] == ["both.toml"]


def test_a_file_without_scales_stays_as_it_was(tmp_path: Path) -> None:
    content = tomllib.loads('methods = ["infobatch"]\n[task]\nepochs = 4\n')
    refuse_unknown(content, tmp_path, _FILE)
    assert chosen(content, tmp_path) == content
    with pytest.raises(ValueError, match="must have the scale 'paper', but it has no scales"):
        chosen(content, tmp_path, "paper")
