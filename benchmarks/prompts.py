"""A toy of GRPO with known pass rates: the roll-outs until a target mean reward, by `sw.PromptSelector`.

    python benchmarks/prompts.py [--quick] [--out benchmarks/results/prompts.json]

No language model is trained. A prompt passes with the probability sigmoid(logit), or never. A step rolls out
32 of 1,000 prompts 8 times each, and a group with the share q of passes teaches 4 q (1 - q): 0 if all
roll-outs are right or all are wrong, 1 at one half. The logit of its prompt rises by `own` times that, and
all logits rise by `shared` times its mean over the batch. Logits begin at N(-1, 1.5), or as the world
says. Some prompts are impossible, and some are trivially easy (logit 5). A run ends when the mean pass rate
of all prompts has closed 3/4 of its way to the best possible one. That rate is known exactly; the selector
sees only roll-outs.

What this assumes in favour of selection: the value of a group is p (1 - p), the quantity that the selector
looks for; one prompt helps all others equally; easy and impossible prompts teach nothing at all.

The reference is an ordinary loop, which shuffles the prompts once an epoch. A ratio is the roll-outs of the
reference over those of the arm, with the same seed. The table gives its median over the seeds, and an
interval of at least 95 % for it by order statistics.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import samplewise as sw
from samplewise.bench import machine

N, BATCH, GROUP = 1000, 32, 8
CLOSED, MOST = 0.75, 4000
"""The part of the way to the best mean reward that ends a run, and the most steps of a run."""
ORDINARY = "shuffled epochs"


@dataclass(frozen=True)
class World:
    """One setting of the toy."""

    impossible: float = 0.3
    easy: float = 0.3
    own: float = 0.5
    shared: float = 0.02
    first: float = -1.0
    """The mean logit before training."""
    redrawn: float = 0.0
    """The share of prompts whose first logit is drawn again before each step: drift that training did not
    cause."""


WORLDS = {
    "30 % impossible, 30 % easy": World(),
    "10 % impossible, 10 % easy": World(0.1, 0.1),
    "80 % impossible": World(0.8, 0.0),
    "no impossible, no easy": World(0.0, 0.0),
    "nearly all is shared": World(own=0.05, shared=0.1),
    "nearly all is shared, hard at first": World(own=0.05, shared=0.1, first=-5.0),
    "fast drift": World(redrawn=0.1),
    "fast drift, no impossible, no easy": World(0.0, 0.0, redrawn=0.1),
}
MAIN = next(iter(WORLDS))


class Learner:
    """The toy's policy: a logit for every prompt."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.rng = world, np.random.default_rng([seed, 1])
        kinds = self.rng.permutation(N)
        stuck, simple = round(world.impossible * N), round(world.easy * N)
        self.impossible, self.easy = kinds[:stuck], kinds[stuck : stuck + simple]
        self.first, self.gained = self.rng.normal(world.first, 1.5, N), np.zeros(N)
        self.first[self.easy] = 5.0
        begun = self.rates().mean()
        self.target = begun + CLOSED * (1 - stuck / N - begun)

    def rates(self) -> Any:
        """The pass rate of each prompt."""
        rates = 1 / (1 + np.exp(-(self.first + self.gained)))
        rates[self.impossible] = 0
        return rates

    def drift(self) -> None:
        """Change pass rates for a reason other than training."""
        if self.world.redrawn:
            moved = self.rng.random(N) < self.world.redrawn
            moved[self.easy] = False
            self.first[moved] = self.rng.normal(self.world.first, 1.5, moved.sum())

    def roll_out(self, ids: torch.Tensor) -> torch.Tensor:
        """Rewards (b, g)."""
        chances = self.rates()[ids.numpy()][:, None]
        return torch.from_numpy((self.rng.random((len(ids), GROUP)) < chances).astype(np.float32))

    def learn(self, ids: torch.Tensor, rewards: torch.Tensor) -> None:
        """One step on the groups of a batch."""
        share = rewards.mean(1).numpy()
        worth = 4 * share * (1 - share)
        self.gained[ids.numpy()] += self.world.own * worth
        self.gained += self.world.shared * worth.sum() / BATCH


Step = Callable[[Learner, int], int]


def ordinary(seed: int) -> Step:
    """Shuffled epochs without a selector. Returns the roll-outs of a step."""
    rng = np.random.default_rng([seed, 2])
    left: list[Any] = []

    def step(learner: Learner, number: int) -> int:
        if not left:
            order = torch.from_numpy(rng.permutation(N))
            left.extend(order[: N // BATCH * BATCH].split(BATCH))
        ids = left.pop()
        learner.learn(ids, learner.roll_out(ids))
        return BATCH * GROUP

    return step


def selected(seed: int, replace_flat: bool, **given: Any) -> Step:
    """Steps by a PromptSelector, with or without replacements of groups without variance."""
    selector = sw.PromptSelector(N, BATCH, seed=seed, **given)

    def step(learner: Learner, number: int) -> int:
        kept, rewards, made = [], [], 0
        ids = selector.plan(number)
        while len(ids):
            found = learner.roll_out(ids)
            useful = selector.observe(ids, found)
            kept.append(ids[useful])
            rewards.append(found[useful])
            made += found.numel()
            ids = selector.replacements() if replace_flat else ids[:0]
        learner.learn(torch.cat(kept), torch.cat(rewards))
        return made

    return step


def oracle(seed: int) -> Step:
    """The prompts whose true pass rates are closest to 1/2. No loop knows them."""

    def step(learner: Learner, number: int) -> int:
        ids = torch.from_numpy(np.argsort(np.abs(learner.rates() - 0.5))[:BATCH].copy())
        learner.learn(ids, learner.roll_out(ids))
        return BATCH * GROUP

    return step


ARMS: dict[str, Callable[[int], Step]] = {
    ORDINARY: ordinary,
    "uniform, replacements": lambda seed: selected(seed, True, draw="uniform"),
    "thompson": lambda seed: selected(seed, False),
    "thompson, replacements": lambda seed: selected(seed, True),
    "mean": lambda seed: selected(seed, False, draw="mean"),
    "oracle: knows every pass rate": oracle,
}
FORGETTING = (
    *({"discount": discount} for discount in (1.0, 0.75, 0.25, 0.0)),
    *({"fade": fade} for fade in (0.9, 0.75, 0.5, 0.25)),
    {"discount": 1.0, "fade": 0.5},
)
SWEPT = (MAIN, "nearly all is shared, hard at first", "fast drift")


def run(world: World, arm: Callable[[int], Step], seed: int, most: int) -> dict[str, Any]:
    """One training until the target. `rollouts` is None if it was not reached in `most` steps."""
    learner, step = Learner(world, seed), arm(seed)
    made = number = 0
    while (found := learner.rates().mean()) < learner.target and number < most:
        learner.drift()
        made += step(learner, number)
        number += 1
    return {"steps": number, "rollouts": made if found >= learner.target else None, "reward": float(found)}


def median_of(ratios: list[float]) -> tuple[float, float, float]:
    """The median, and the order statistics that hold the true median with at least 95 %."""
    ordered, count = sorted(ratios), len(ratios)
    outside, rank = 0.0, 0
    while outside + math.comb(count, rank) / 2**count <= 0.025:
        outside += math.comb(count, rank) / 2**count
        rank += 1
    lowest = max(0, rank - 1)
    return float(np.median(ordered)), ordered[lowest], ordered[count - 1 - lowest]


def compared(world: str, arm: str, mine: list[Any], reference: list[Any]) -> dict[str, Any]:
    """One row: the ratios of an arm to the ordinary loop. A run that never arrives has the ratio 0."""
    pairs = [(a["rollouts"], b["rollouts"]) for a, b in zip(mine, reference, strict=True) if b["rollouts"]]
    ratios = [their / own if own else 0.0 for own, their in pairs]
    row = {
        "world": world,
        "arm": arm,
        "runs": len(mine),
        "reached": sum(r["rollouts"] is not None for r in mine),
    }
    row |= {"rollouts": [r["rollouts"] for r in mine], "steps": [r["steps"] for r in mine], "ratios": ratios}
    if ratios:
        row["median"], row["low"], row["high"] = median_of(ratios)
    return row


def measured(seeds: int, most: int) -> list[dict[str, Any]]:
    """Every row: the arms in every world, then other ways to forget."""
    rows, references = [], {}
    for name, world in WORLDS.items():
        for arm, built in ARMS.items():
            found = [run(world, built, seed, most) for seed in range(seeds)]
            references.setdefault(name, found)
            rows.append(compared(name, arm, found, references[name]))
    for name in SWEPT:
        for numbers in FORGETTING:

            def built(seed: int, numbers: dict[str, float] = numbers) -> Step:
                return selected(seed, False, **numbers)

            found = [run(WORLDS[name], built, seed, most) for seed in range(seeds)]
            said = ", ".join(f"{key} {value:g}" for key, value in numbers.items())
            rows.append(compared(name, f"thompson, {said}", found, references[name]))
    return rows


def page(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    about = found["machine"]
    lines = [
        "# A toy of GRPO: roll-outs to a target mean reward",
        "",
        f"Machine: {about['cpu']}, {about['cores']} cores, torch {about['torch']}. {found['seeds']} seeds.",
        "",
        *(["Quick form: it shows that the script works. Its numbers say nothing.", ""] * found["quick"]),
        "A toy with known pass rates, no language model: what it assumes stands in `benchmarks/prompts.py`.",
        "Ratio: roll-outs of shuffled epochs over those of the arm, same seed; above 1 the arm needs fewer.",
        "Median over the seeds, and an interval of at least 95 % for it. Roll-outs and steps: medians.",
        "",
        "| world | arm | reached | steps | roll-outs | ratio | interval |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        made = [count for count in row["rollouts"] if count is not None]
        cells = [row["world"], row["arm"], f"{row['reached']} of {row['runs']}"]
        cells += [f"{np.median(row['steps']):,.0f}", f"{np.median(made):,.0f}" if made else "-"]
        known = "median" in row
        cells += [f"{row['median']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}"] if known else ["-", "-"]
        lines.append("| " + " | ".join(cells) + " |")
    return (
        "\n".join([*lines, "", "Numbers: `prompts.json`; made with `python benchmarks/prompts.py`."]) + "\n"
    )


def main() -> None:
    """Run the toy, and write and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "prompts.json")
    given = parser.parse_args()
    seeds, most = (2, 40) if given.quick else (given.seeds, MOST)
    torch.set_num_threads(1)
    begun = time.process_time()
    rows = measured(seeds, most)
    found = {
        "machine": machine.machine("cpu") | machine.versions(),
        "quick": given.quick,
        "seeds": seeds,
        "worlds": {name: asdict(world) for name, world in WORLDS.items()},
        "seconds": round(time.process_time() - begun, 1),
        "rows": rows,
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()
