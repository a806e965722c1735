"""How often the judge is wrong, and how often it finds an effect: counts over simulated studies, as JSON.

    python benchmarks/judge_rates.py

Every study is whole: its plan, its exact controls, its results. Only the training takes no time.
"""

import gc
import json
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from judge_synthetic import Method, Synthetic, simulated, words

from samplewise.bench.study import results
from samplewise.bench.study.spec import Spec

COSTS = {"ucb": 6.0, "infobatch": 7.5, "kakurenbo": 12.0}
"""Methods with their costs in epochs of 16: on rungs, and between them."""
SPEC = Spec(tuple(COSTS), 16, 5, controls=False)
COPY = Spec(("ucb",), 16, 5, controls=False)


def trainer(name: str, effects: Mapping[str, float]) -> Synthetic:
    """A task, in which some methods have effects."""
    return Synthetic({m: Method(c, effects.get(m, 0.0)) for m, c in COSTS.items()}, name=name)


def wrong(trainers: Iterator[Synthetic], spec: Spec) -> int:
    """The number of studies without an effect that say better or worse of any method."""
    said = [set(words(simulated(spec, one)).values()) for one in trainers]
    return sum(bool({"better", "worse"} & found) for found in said)


def rates(null: int = 1000, real: int = 150, copies: int = 100) -> dict[str, Any]:
    """The counts.

    Args:
        null: studies without an effect.
        real: studies in which one method has an effect of the size that such studies say they find.
        copies: studies of `full` at 3/4 of its epochs, under another name and with other randomness.
    """
    flat = [simulated(SPEC, trainer(f"flat {i}", {})) for i in range(30)]
    size, names = median(v.detectable for r in flat for v in r.verdicts.values()), list(COSTS)
    found = 0
    for i in range(real):
        method = names[i % len(names)]
        found += words(simulated(SPEC, trainer(f"real {i}", {method: size})))[method] == "better"
    return {
        "methods": len(COSTS),
        "seeds": SPEC.seeds,
        "null": null,
        "wrong": wrong((trainer(f"null {i}", {}) for i in range(null)), SPEC),
        "real": real,
        "size": size,
        "found": found,
        "copies": copies,
        "wrong_copies": wrong(
            (Synthetic({"ucb": Method(12)}, name=f"copy {i}") for i in range(copies)), COPY
        ),
    }


if __name__ == "__main__":
    gc.collect = lambda generation=2: 0  # statsmodels collects in every correction, which takes 0.2 s
    results._other_axes = lambda plan, axis: ()  # descriptive: they do not change a verdict
    print(json.dumps(rates()))
