"""The table of verdicts of the README, counted by hand."""

import json

import pytest

from docs import evidence


def line(name, word, kind="method"):
    return {"name": name, "kind": kind, "verdict": {"word": word} if word else None}


@pytest.fixture
def studies(tmp_path, monkeypatch):
    made = {
        "one": ([line("infobatch", "worse"), line("ucb:keep=0.5", "better"), line("random", None)], False),
        "two": ([line("fixed:subset=x", "better"), line("full", "as good", kind="control")], True),
    }
    for name, (lines, long) in made.items():
        (tmp_path / name).mkdir()
        content = {"lines": lines, "names": {"fixed:subset=x": "one row"}, "training_too_long": long}
        (tmp_path / name / "verdicts.json").write_text(json.dumps(content))
    monkeypatch.setattr(evidence, "STUDIES", tmp_path)


@pytest.mark.usefixtures("studies")
def test_the_table_counts_the_verdicts_of_methods_and_names_what_was_better():
    assert evidence.summary().splitlines() == [
        "| study | methods | better | as good | not shown | worse |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| [one](docs/evidence.md#one) | 3 | **1** | 0 | 0 | 1 |",
        "| [two](docs/evidence.md#two-training-too-long) (training too long) | 1 | **1** | 0 | 0 | 0 |",
        "",
        "Better than ordinary training of the same cost: [`ucb:keep=0.5`](docs/methods.md#ucb) on one; "
        "one row on two.",
        "",
        "2 studies gave 3 verdicts on methods: 2 better, 0 as good, 0 not shown, 1 worse.",
    ]
