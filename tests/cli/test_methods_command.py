"""`samplewise methods`: the list, its filter, and all of one method."""

import json

import pytest

from samplewise import recipes
from samplewise.cli import main

OURS = {
    name: made for name, made in recipes.all().items() if made.__module__.startswith("samplewise.recipes")
}


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["methods", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_recipe_is_in_the_list_with_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys)
    assert found.keys() == OURS.keys()
    for name, made in OURS.items():
        told = [(p["name"], p["default"]) for p in found[name]["parameters"]]
        assert told == [
            (p.name, "" if p.default is p.empty else str(p.default))
            for p in made.signature.parameters.values()
        ]


@pytest.mark.parametrize("name", OURS)
def test_all_of_a_method_is_told(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Every parameter has a meaning and the values that it may have; every fact of the docstring is there."""
    told = as_json(capsys, name)
    assert all(p["meaning"].endswith((".", ")")) and p["allowed"] for p in told["parameters"]), told
    assert all(told[fact] for fact in ("signal", "memory", "choice", "cost", "paper", "level"))
    assert main(["methods", name]) == 0
    said = capsys.readouterr().out
    assert all(p["name"] in said for p in told["parameters"])
    assert said.strip().splitlines()[-1].startswith("Try it: samplewise train --method full --method")


def test_needs_are_those_of_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "infobatch")["needs"] == []
    assert as_json(capsys, "el2n")["needs"] == ["logits", "targets", "a scoring run before the training"]
    assert "a narrow view of the model" in as_json(capsys, "dynams_proxy")["needs"]
    assert "a target set" in as_json(capsys, "greats_last_layer")["needs"]
    assert "features" in as_json(capsys, "moderate")["needs"]


def test_a_range_and_choices_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    allowed = {p["name"]: p["allowed"] for p in as_json(capsys, "tdds")["parameters"]}
    assert allowed["keep"] == "in (0, 1]"
    assert allowed["T"] == "whole numbers >= 3, None"
    assert allowed["depth1"] == "kl, ce, el2n"
    assert allowed["balance"] == "True, False"


def test_a_level_filters(capsys: pytest.CaptureFixture[str]) -> None:
    for levels in (["batch"], ["static", "epoch+batch"]):
        words = [word for level in levels for word in ("--level", level)]
        expected = {name for name, made in OURS.items() if made.level in levels}
        assert as_json(capsys, *words).keys() == expected
        assert main(["methods", *words]) == 0
        assert f"There are {len(expected)} methods" in capsys.readouterr().out


def test_a_wrong_word_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "infobach"]) == 2
    assert "Did you mean 'infobatch'?" in capsys.readouterr().err
    assert main(["methods", "--level", "bach"]) == 2
    assert "Did you mean 'batch'?" in capsys.readouterr().err
    assert main(["methods", "ucb", "--level", "batch"]) == 2
    assert "Leave out one of them." in capsys.readouterr().err


def test_a_method_with_parameters_is_found_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "ucb:keep=0.3@lr=0.1")["name"] == "ucb"
