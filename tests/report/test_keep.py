"""Accuracy against keep: its lines by plain arithmetic, its caption, and when it is drawn."""

import pytest

from samplewise.bench.methods import by_keep
from samplewise.cli import main
from samplewise.report import keep, pictures


def rows(accuracies, n=100):
    """Rows of runs, from accuracies by method."""
    return [
        {"method": method, "seed": seed, "n": n, "test_accuracy": accuracy}
        for method, found in accuracies.items()
        for seed, accuracy in enumerate(found)
    ]


RUNS = {
    "full": [90.0, 92.0],
    "ucb:keep=0.5": [80.0, 84.0],
    "ucb:keep=0.25": [70.0, 75.0],
    "ucb:keep=0.5,period=5": [60.0, 62.0],
    "rs2:keep=0.5": [71.0, 73.0],
    "infobatch": [88.0, 89.0],
}


def test_a_line_holds_the_methods_that_differ_only_in_keep():
    found = {line.method: line for line in keep.lines(rows(RUNS), by_keep(RUNS))}
    assert found.keys() == {"ucb", "full"}
    ucb = found["ucb"]
    assert (ucb.x, ucb.mean, ucb.low, ucb.high) == ([0.25, 0.5], [72.5, 82.0], [70.0, 80.0], [75.0, 84.0])
    full = found["full"]
    assert (full.x, full.mean, full.low, full.high) == ([0.25, 1.0], [91.0] * 2, [90.0] * 2, [92.0] * 2)


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("ucb", ("ucb", 0.5)),
        ("ucb:period=5,keep=1", ("ucb:period=5", 1.0)),
        ("recipes.ucb(keep=0.3)", ("ucb", 0.3)),
        ("el2n:keep=0.3@lr=0.1,strategy=P", ("el2n@lr=0.1,strategy=P", 0.3)),
        ("eswp:keep=0.5,keep_epoch=0.7", ("eswp:keep_epoch=0.7", 0.5)),
        ("full", None),
        ("auto_assist", None),
        ("ordered_sgd:keep=adaptive", None),
    ],
)
def test_the_name_of_a_line_is_the_method_without_keep(method, line):
    assert by_keep([method]).get(method) == line


def test_methods_with_one_keep_or_none_make_no_picture(tmp_path):
    alone = {name: RUNS[name] for name in ("full", "ucb:keep=0.5", "ucb:keep=0.5,period=5", "infobatch")}
    assert keep.lines(rows(alone), by_keep(alone)) == []
    assert keep.draw(rows(alone), by_keep(alone), "title", tmp_path / "k.png") is None
    assert not (tmp_path / "k.png").exists()


def test_rows_of_several_folders_are_joined_unless_they_do_not_fit():
    first, second = {"ucb:keep=0.5": [80.0]}, {"ucb:keep=0.25": [70.0]}
    (line,) = keep.lines(rows(first) + rows(second), by_keep([*first, *second]))
    assert line.x == [0.25, 0.5]
    with pytest.raises(ValueError, match=r"but ucb:keep=0\.5, seed 0 has several"):
        keep.lines(rows(first) + rows(first), by_keep(first))
    with pytest.raises(ValueError, match=r"some runs have 100 samples and others 200"):
        keep.lines(rows(first) + rows(second, n=200), by_keep([*first, *second]))


def test_the_caption_says_samples_and_seeds():
    assert keep.caption(rows(RUNS, n=1347), by_keep(RUNS)) == (
        "n = 1,347; one point: the mean of 2 seeds; numbers: at the largest keep."
    )
    one = {name: found[:1] for name, found in RUNS.items()}
    assert keep.caption(rows(one), by_keep(one)) == (
        "n = 100; one point: one seed; numbers: at the largest keep."
    )
    # Methods that are not drawn do not count.
    some = RUNS | {"ucb:keep=0.25": [70.0, 75.0, 77.0], "infobatch": [1.0] * 9}
    assert "the mean of 2 to 3 seeds" in keep.caption(rows(some), by_keep(some))


def test_the_command_draws_it_where_a_method_has_two_keeps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    small = [
        "train",
        "--limit",
        "60",
        "--epochs",
        "1",
        "--batch-size",
        "32",
        "--seeds",
        "1",
        "--threads",
        "1",
    ]
    small += ["--model", "mlp", "--device", "cpu", "--method", "rs2:keep=0.5"]
    assert main([*small, "--out", str(tmp_path / "one")]) == 0
    assert not (tmp_path / "one" / "accuracy-keep.png").exists()
    capsys.readouterr()
    assert main([*small, "--method", "rs2:keep=0.3", "--out", str(tmp_path / "two")]) == 0
    picture = tmp_path / "two" / "accuracy-keep.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "accuracy-keep.png" in capsys.readouterr().out
