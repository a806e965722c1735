"""Declared ranges: one place checks them and words the errors."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from samplewise.checks import Range, check_arguments, checked, nearest, require
from samplewise.schedules import Linear, Schedule


@checked
@dataclass(frozen=True)
class Part:
    share: Annotated[float | Schedule, Range(0, 1, open_low=True)] = 0.5
    size: Annotated[int, Range(1)] = 1
    mode: Literal["mean", "sum"] = "mean"
    limit: Annotated[float | None, Range(0)] = None
    mixed: Annotated[float | Literal["adaptive"], Range(0, 1)] = 0.5
    length: Annotated[int, Range(4, 2**20)] = 4


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("share", 0, "Part.share must be in (0, 1], got 0."),
        ("share", 70, "Part.share must be in (0, 1], got 70. Did you mean 0.7?"),
        ("share", -0.1, "Part.share must be in (0, 1], got -0.1."),
        ("share", 101, "Part.share must be in (0, 1], got 101."),
        ("share", math.nan, "Part.share must be in (0, 1], got nan."),
        ("share", math.inf, "Part.share must be in (0, 1], got inf."),
        ("share", "half", "Part.share must be a number or a schedule, got 'half'."),
        ("share", None, "Part.share must be a number or a schedule, got None."),
        ("share", True, "Part.share must be a number or a schedule, got True."),
        ("share", Linear(1, 0), "Part.share must be in (0, 1], got 0.0 from Linear(start=1, stop=0)."),
        ("size", 0, "Part.size must be >= 1, got 0."),
        ("size", 1.5, "Part.size must be a whole number, got 1.5."),
        ("mode", "means", "Part.mode must be one of 'mean', 'sum', got 'means'. Did you mean 'mean'?"),
        ("limit", -1, "Part.limit must be >= 0, got -1."),
        ("limit", math.inf, "Part.limit must be >= 0 and finite, got inf."),
        (
            "mixed",
            "adaptiv",
            "Part.mixed must be a number or one of 'adaptive', got 'adaptiv'. Did you mean 'adaptive'?",
        ),
        ("mixed", 50, "Part.mixed must be in [0, 1], got 50. Did you mean 0.5?"),
        ("mixed", 5, "Part.mixed must be in [0, 1], got 5. Did you mean 0.05?"),
        ("mixed", 2, "Part.mixed must be in [0, 1], got 2."),
        ("length", 0, "Part.length must be in [4, 1048576], got 0."),
    ],
)
def test_the_house_wording(field, value, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        Part(**{field: value})


def test_what_is_inside_its_range_passes():
    for given in (
        {"share": 1},
        {"share": Linear(1, 0.5)},
        {"size": 3},
        {"limit": None},
        {"mixed": "adaptive"},
    ):
        Part(**given)


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        (Range(0, 1), [0, 0.5, 1], [-1e-9, 1.0001, math.nan]),
        (Range(0, 1, open_low=True), [1e-9, 1], [0]),
        (Range(0, 1, open_high=True), [0, 0.999], [1]),
        (Range(2), [2, 1e300], [1.99, math.inf]),
        (Range(), [-1e300, 1e300], [math.inf, -math.inf, math.nan]),
    ],
)
def test_a_range_holds_what_it_says(span, inside, outside):
    assert all(value in span for value in inside)
    assert not any(value in span for value in outside)


def test_the_words_of_a_range():
    words = [
        str(Range(0, 1)),
        str(Range(0, 0.5, open_high=True)),
        str(Range(1)),
        str(Range(0, open_low=True)),
    ]
    assert words == ["in [0, 1]", "in [0, 0.5)", ">= 1", "> 0"]
    assert str(Range()) == "finite"


def test_arguments_of_a_function_are_checked_by_its_annotations():
    def build(keep: Annotated[float, Range(0, 1)] = 1.0) -> None: ...

    check_arguments("build", build, {"keep": 0.5})
    with pytest.raises(ValueError, match=r"build\.keep must be in \[0, 1\], got 70. Did you mean 0\.7\?"):
        check_arguments("build", build, {"keep": 70})


def test_the_nearest_word_or_nothing():
    assert nearest("kep", ["keep", "period"]) == " Did you mean 'keep'?"
    assert nearest("zzz", ["keep", "period"]) == ""


def test_a_missing_extra_is_named():
    assert require("json", "report").dumps([]) == "[]"
    with pytest.raises(
        ImportError, match=r"surely_not_there is not installed. .*pip install 'samplewise\[cli\]'"
    ):
        require("surely_not_there", "cli")
    with pytest.raises(ImportError, match=r"surely_not_there\.sub is not installed"):
        require("surely_not_there.sub", "cli")


def test_an_installed_module_that_fails_on_its_own_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import surely_not_there_either\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_there_either"):
        require("broken_inside", "cli")
