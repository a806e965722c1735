"""Whole studies with a training that takes no time: errors and power at their stated rates."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.judge_synthetic import Method, Synthetic, rising, simulated, words
from samplewise.bench import Study
from samplewise.bench.study.jobs import digest
from samplewise.bench.study.running import do_all
from samplewise.bench.study.spec import Spec
from samplewise.bench.study.study import Quiet

COSTS = {"ucb": 6.0, "infobatch": 7.5, "eswp": 9.0, "kakurenbo": 12.0}
"""Methods with their costs in epochs of 16: on rungs, and between them."""
SPEC = Spec(tuple(COSTS), 16, 5, controls=False)
RATES = Path(__file__).parents[2] / "benchmarks" / "judge_rates.py"


def test_errors_and_power_are_as_stated() -> None:
    """Counts over whole studies, without the shape checks of tests, which take four times as long."""
    done = subprocess.run([sys.executable, RATES], capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    for wrong, studies in (("wrong", "null"), ("wrong_copies", "copies")):
        bound = 0.05 + 3 * math.sqrt(0.05 * 0.95 / counts[studies])
        assert counts[wrong] / counts[studies] <= bound, counts
    assert counts["null"] == 1000
    assert 0.7 < counts["found"] / counts["real"] < 0.95, counts


def hump(epochs: float) -> float:
    """Full training that gets worse with length: the best is at 4 of 16 epochs."""
    return 80 - abs(epochs - 4)


def test_where_longer_is_worse_a_cheaper_rung_is_the_bar() -> None:
    """The method lies 2 points above the line between the rungs, and 2 below the rung of 4 epochs."""
    trainer = Synthetic({"ucb": Method(9, effect=3.0)}, noise=0.2, curve=hump)
    found = simulated(Spec(("ucb",), 16, 10, controls=False), trainer)
    assert found.gains is False
    assert words(found) == {"ucb": "worse"}
    assert found.verdicts["ucb"].exact_mean == pytest.approx(3, abs=0.3)
    above = simulated(
        Spec(("ucb",), 16, 10, controls=False),
        Synthetic({"ucb": Method(9, effect=8.0)}, noise=0.2, curve=hump),
    )
    assert words(above) == {"ucb": "better"}


@pytest.mark.parametrize(("effect", "word"), [(4.0, "better"), (-4.0, "worse")])
def test_every_cost_has_its_verdict(effect: float, word: str) -> None:
    """Cheaper than a rung, between rungs, on a rung, and dearer than full training, which adds rungs."""
    costs = {"ucb": 2.5, "infobatch": 8.0, "eswp": 15.2, "kakurenbo": 21.0}
    trainer = Synthetic({m: Method(c, effect) for m, c in costs.items()}, noise=0.3)
    found = simulated(Spec(tuple(costs), 16, 10, controls=False), trainer)
    assert words(found) == dict.fromkeys(costs, word)
    assert {line.epochs for line in found.of("ladder")} == {2, 4, 6, 8, 10, 12, 16, 20, 24}
    assert {line.name: line.exact for line in found.of("method")} == {
        "ucb": 2,
        "infobatch": 8,
        "eswp": 15,
        "kakurenbo": 21,
    }


def test_outside_the_ladder_there_is_no_verdict() -> None:
    costs = {"ucb": 0.5, "infobatch": 1.5, "eswp": 30.0}
    trainer = Synthetic({m: Method(c, 9.0) for m, c in costs.items()})
    found = simulated(Spec(tuple(costs), 16, 5, controls=False), trainer)
    assert not found.verdicts
    assert {line.name: line.why for line in found.of("method")} == {
        "ucb": "cheaper than the first rung",
        "infobatch": "cheaper than the first rung",
        "eswp": "dearer than the last rung",
    }


def test_tuning_takes_the_best_learning_rate_and_does_not_charge_it() -> None:
    class Tuned(Synthetic):
        def run(self, job, on_step):
            made = super().run(job, on_step)
            for split in ("test", "validation"):
                made[split]["accuracy"] -= 5 * abs(job.lr - (2.0 if job.method == "ucb" else 1.0))
            return made

    trainer = Tuned({"ucb": Method(8)}, noise=0.1)
    found = simulated(Spec(("ucb",), 16, 5, controls=False, tune=True), trainer)
    assert {line.name: line.lr for line in found.of("method")} == {"ucb": 2.0}
    assert {line.lr for line in found.of("ladder")} == {1.0}
    assert words(found)["ucb"] in ("as good", "not shown")
    # 3 rates and 2 seeds for each rung (58 epochs in all) and for the method (8).
    assert found.tuning_cost == pytest.approx(6 * (58 + 8) / 16)


def test_a_diverged_run_has_no_verdict_and_hurts_no_other() -> None:
    class Diverges(Synthetic):
        def run(self, job, on_step):
            made = super().run(job, on_step)
            if job.method == "ucb" and job.seed == 3:
                made["test"]["accuracy"] = float("nan")
            return made

    found = simulated(SPEC, Diverges({m: Method(c, 5.0) for m, c in COSTS.items()}))
    assert words(found) == dict.fromkeys(sorted(set(COSTS) - {"ucb"}, key=list(COSTS).index), "better")
    assert next(line.why for line in found.of("method") if line.name == "ucb") == "a run diverged"


def test_a_study_with_files_says_the_same(tmp_path: Path) -> None:
    trainer = Synthetic({m: Method(c, 5.0 * (m == "ucb")) for m, c in COSTS.items()})
    about = {"epochs": 16, "seeds": 5, "controls": False}
    study = Study(trainer, list(COSTS), out=tmp_path, **about)
    assert not do_all(study.plan, trainer, Quiet(), 1)
    found = Study(trainer, list(COSTS), out=tmp_path, **about).results()
    assert found == simulated(SPEC, trainer)
    assert found.task == digest(trainer.task())
    assert Counter(words(found).values())["better"] == 1
    assert rising(16) > rising(12) + 1  # the task of these tests still gains in its last third
    assert found.gains
