"""The map of places: one column for each folder of verdicts, counted by hand."""

import json

import pytest

from docs import places


def line(name, mean, word, kind="method"):
    verdict = {"mean": mean, "word": word} if word else None
    return {
        "name": name,
        "kind": kind,
        "verdict": verdict,
        "why": "" if word else "cheaper than the first rung",
    }


@pytest.fixture
def studies(tmp_path):
    """Two places: half wrong labels with copies, and none without copies."""
    made = {
        "web-copies/wrong-50": [
            line("full, 1 epoch", 0.0, None, kind="ladder"),
            line("infobatch", -1.24, "worse"),
            line("fixed:subset=x", 2.0, "better"),
        ],
        "web-single/wrong-0": [
            line("infobatch", 0.04, "not shown"),
            line("random", None, None),
            line("ucb", 0.5, "too few seeds"),
        ],
    }
    for folder, lines in made.items():
        (tmp_path / folder).mkdir(parents=True)
        content = {"lines": lines, "names": {"fixed:subset=x": "one row of every image"}, "seeds": 5}
        (tmp_path / folder / "verdicts.json").write_text(json.dumps(content))
    return tmp_path


def test_the_table_has_a_column_for_each_place_and_counts_the_verdicts(studies):
    assert places.table(studies).splitlines() == [
        "| method | copies, 50 % wrong | no copies, 0 % wrong |",
        "| --- | --- | --- |",
        "| infobatch | -1.2 **worse** | +0.0 not shown |",
        "| one row of every image | +2.0 **better** |  |",
        "| random |  | cheaper than the first rung |",
        "| ucb |  | +0.5 too few seeds |",
        "",
        "2 places, 5 pairs of a method and a place, 5 seeds each: 1 better, 0 as good, 1 not shown, 1 worse, "
        "2 without a verdict.",
    ]


def test_places_stand_in_the_order_of_their_share(studies):
    other = studies / "web-copies" / "wrong-20"
    other.mkdir()
    (other / "verdicts.json").write_text((studies / "web-copies/wrong-50/verdicts.json").read_text())
    assert list(places.places(studies)) == [
        "copies, 20 % wrong",
        "copies, 50 % wrong",
        "no copies, 0 % wrong",
    ]


def test_the_picture_has_a_number_where_the_table_has_a_verdict(studies, tmp_path):
    figure = places.picture(tmp_path / "map.png", studies)
    told = {text.get_text() for text in figure.axes[0].texts}
    assert {"-1.2\nworse", "+0.0\nnot shown", "+2.0\nbetter"} <= told
    assert (tmp_path / "map.png").stat().st_size > 5_000


def test_nothing_yet_is_said(tmp_path):
    assert places.table(tmp_path) == "No place has results yet."
