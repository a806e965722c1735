"""The shell completes commands, methods, models and every option that has choices."""

from dataclasses import fields
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import samplewise as sw
from samplewise.bench.models import BUILDERS
from samplewise.bench.settings import Settings
from samplewise.cli import main


@pytest.fixture
def completed(monkeypatch, capsys):
    """What bash is told for a command line whose last word is being written."""

    def complete(line):
        words = line.split(" ")
        monkeypatch.setenv("_SAMPLEWISE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit) as ended:
            main([])
        assert not ended.value.code
        return capsys.readouterr().out.split()

    return complete


def test_commands_and_options_are_completed(completed):
    assert completed("samplewise s") == ["score", "select"]
    assert completed("samplewise train --opt") == ["--optimizer"]


def test_methods_and_models_are_completed_by_name(completed):
    assert completed("samplewise train --method uc") == ["ucb"]
    assert sorted(completed("samplewise train --method ")) == sorted(sw.recipes.all())
    assert completed("samplewise score --method ir") == ["irreducible"]
    static = {name for name, made in sw.recipes.all().items() if made.level == "static"}
    assert {*completed("samplewise score --method ")} == static | {"irreducible"}
    assert completed("samplewise train --model ") == completed("samplewise score --model ") == [*BUILDERS]
    assert completed("samplewise train --score-model vg") == ["vgg16"]


def test_recorded_methods_are_completed_from_the_file_of_scores(completed, tmp_path):
    path = tmp_path / "scores.parquet"
    assert completed(f"samplewise select {path} --method ") == []
    methods = {"el2n": "recipes.el2n()", "tdds": "recipes.tdds()"}
    sw.ScoreTable(
        [0, 1], {"el2n": [0.5, 1], "tdds": [1, 2]}, [0, 0], provenance={"methods": methods}
    ).to_parquet(path)
    assert completed(f"samplewise select {path} --method ") == ["el2n", "tdds"]
    assert completed(f"samplewise select {path} --method t") == ["tdds"]


def choices(kind):
    """The strings of a Literal, also of an optional one."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((found for part in get_args(kind) if (found := choices(part))), ())


TYPES = get_type_hints(Settings)
CHOICES = [(field.name, found) for field in fields(Settings) if (found := choices(TYPES[field.name]))]
OF_SCORE = {"combine", "fit"}


@pytest.mark.parametrize(("name", "known"), CHOICES, ids=[name for name, _ in CHOICES])
def test_every_setting_with_choices_is_completed(completed, name, known):
    command = "score" if name in OF_SCORE else "train"
    option = f"--{name.replace('_', '-')}"
    assert completed(f"samplewise {command} {option} ") == [*known]


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("theory perceptron --schedule ", ["constant", "linear", "both"]),
        ("theory perceptron --margin s", ["signed"]),
        ("select scores.parquet --weights p", ["per_sample"]),
        ("select scores.parquet --normalize ", ["mean1"]),
    ],
)
def test_choices_of_the_other_commands_are_completed(completed, line, known):
    assert completed(f"samplewise {line}") == known
