"""The answers of docs/choose.md: each stands on verdicts, and none survives a verdict that says otherwise."""

import json

import pytest

from docs import choices
from docs.choices import Choice, Says

BETTER, WORSE = "better", "worse"


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "one" / "part").mkdir(parents=True)
    verdict = {"mean": 0.52, "interval": [0.1, 0.9]}
    lines = [
        {"name": "ucb:keep=0.5", "kind": "method", "cost": 0.667, "verdict": verdict | {"word": BETTER}},
        {"name": "infobatch", "kind": "method", "cost": 0.7, "verdict": verdict | {"word": WORSE}},
        {"name": "full", "kind": "control", "cost": 0.5, "verdict": verdict | {"word": BETTER}},
    ]
    content = {"lines": lines, "names": {"ucb:keep=0.5": "half"}, "training_too_long": True}
    for folder in ("one", "one/part"):
        (tmp_path / folder / "verdicts.json").write_text(json.dumps(content))
    return tmp_path


def rows(says, studies):
    return choices.table((Choice("data", "answer", says),), studies).splitlines()[2:]


def test_a_row_shows_the_verdicts_that_its_answer_stands_on(studies):
    assert rows((Says("one", "half", BETTER), Says("one", but=("half",))), studies) == [
        "| data | answer | [one](evidence.md#one-training-too-long) (*training too long*), half: **better**, "
        "+0.5 (+0.1 to +0.9), cost 67 %<br>[one](evidence.md#one-training-too-long) (*training too long*): "
        "1 better, 1 worse |"
    ]
    assert "(evidence.md#where-selection-wins-a-map" in rows((Says("one/part", "half", BETTER),), studies)[0]
    assert rows((), studies) == ["| data | answer | no study yet |"]


@pytest.mark.parametrize(
    ("says", "got"),
    [
        (Says("one", "infobatch", BETTER), "got worse"),
        (Says("one", "full", BETTER), "got None"),
        (Says("one"), r"got \['half'\]"),
        (Says("one", but=("half", "infobatch")), r"got \['half'\]"),
    ],
)
def test_an_answer_that_the_verdicts_do_not_bear_is_refused(says, got, studies):
    with pytest.raises(ValueError, match=f"docs/choices.py says that .*{got}"):
        rows((says,), studies)
