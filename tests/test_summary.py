"""The tables of verdicts of the README and of the evidence, counted by hand."""

import json

import pytest

from docs import evidence, situations


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
def test_the_readme_counts_the_verdicts_of_each_situation(monkeypatch, tmp_path):
    (tmp_path / "three" / "part").mkdir(parents=True)
    lines = [line("infobatch", "not shown"), line("ucb", "not shown")]
    content = {"lines": lines, "names": {}, "training_too_long": False}
    (tmp_path / "three" / "part" / "verdicts.json").write_text(json.dumps(content))
    found = {"images": ("one", "three"), "more images": ("two", "not run yet")}
    monkeypatch.setattr(situations, "SITUATIONS", found)
    assert situations.table(tmp_path).splitlines()[2:] == [
        "| images | 1 | 0 | 2 | 1 |",
        "| more images (*training too long*) | 1 | 0 | 0 | 0 |",
        "| all | 2 | 0 | 2 | 1 |",
    ]


def test_every_study_belongs_to_one_situation():
    told = [study for studies in situations.SITUATIONS.values() for study in studies]
    assert sorted(told) == sorted(path.stem for path in situations.STUDIES.glob("*.toml"))


@pytest.mark.usefixtures("studies")
def test_the_table_counts_the_verdicts_of_methods_and_names_what_was_better():
    assert evidence.summary().splitlines() == [
        "| study | methods | better | as good | not shown | worse |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| [one](#one) | 3 | **1** | 0 | 0 | 1 |",
        "| [two](#two-training-too-long) (training too long) | 1 | **1** | 0 | 0 | 0 |",
        "",
        "A method without a verdict costs less than the shortest or more than the longest full training.",
        "",
        "Better than ordinary training of the same cost: [`ucb:keep=0.5`](methods/ucb.md) on one; "
        "one row on two.",
        "",
        "2 studies gave 3 verdicts on methods: 2 better, 0 as good, 0 not shown, 1 worse.",
    ]
