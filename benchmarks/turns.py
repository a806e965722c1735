"""Time `selector.loss` of two checkouts in turns.

    python benchmarks/turns.py OTHER_CHECKOUT [--rounds 12]

Each round starts one process for each checkout, with its `src` on the path. A process trains every method for
one epoch and then times its steps in the next one, by the CPU time of its thread. The model is one small
linear layer, so most of the time is selection. A ratio is taken
inside a round: this checkout over the other one. The table gives the median ratio and the 10th to 90th
percentile of the rounds.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

METHODS = {
    "full": {},
    "infobatch": {},
    "kakurenbo": {},
    "ucb": {},
    "el2n": {},
    "loss_sampling": {"keep": 0.25},
    "evolved_sampling": {"keep": 0.25},
    "ordered_sgd": {"keep": 0.25},
}
N, BATCH, STEPS = 20_480, 256, 60


def measured() -> dict[str, float]:
    """Microseconds a step, for every method: the median of single steps."""
    import torch

    import samplewise as sw

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.randn(N, 16), torch.randint(10, (N,))
    data = torch.utils.data.TensorDataset(x, y)
    found = {}
    for name, given in METHODS.items():
        model = torch.nn.Sequential(torch.nn.Linear(16, 10))
        forward = sw.classifier(model, head="0")
        recipe = sw.recipes.get(name)(**given)
        selector = sw.Selector(recipe, data, forward, model=model, epochs=8, batch_size=BATCH)
        for epoch in range(2):
            selector.set_epoch(epoch)
            order = selector.plan(epoch).ids
            order = order[torch.randperm(len(order))]
            seconds = []
            for ids in itertools.islice(order.split(BATCH), STEPS):
                batch = sw.Batch(ids, [x[ids], y[ids]])
                begun = time.thread_time()
                selector.loss(batch)
                seconds.append(time.thread_time() - begun)
        found[name] = statistics.median(seconds) * 1e6
    return found


def child(checkout: Path) -> dict[str, float]:
    """What a process of one checkout measures."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    times: dict[str, float] = json.loads(done.stdout)
    return times


def compare(other: Path, rounds: int) -> None:
    """Print the table."""
    here = Path(__file__).parents[1]
    ours, theirs = [], []
    for turn in range(rounds):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        first.append(child(here if first is ours else other))
        second.append(child(here if second is ours else other))
    print(f"{'method':<20}{'other us':>10}{'here us':>10}{'ratio':>8}  10-90 %")
    for name in METHODS:
        ratios = sorted(mine[name] / old[name] for mine, old in zip(ours, theirs, strict=True))
        cut = statistics.quantiles(ratios, n=10) if len(ratios) > 1 else ratios * 9
        us = [statistics.median(times[name] for times in side) for side in (theirs, ours)]
        middle = statistics.median(ratios)
        print(f"{name:<20}{us[0]:>10.1f}{us[1]:>10.1f}{middle:>8.3f}  {cut[0]:.3f}-{cut[-1]:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, nargs="?", help="the other checkout")
    parser.add_argument("--rounds", type=int, default=12, help="processes of each checkout")
    parser.add_argument("--measure", action="store_true", help="measure in this process and print JSON")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measured()))
    elif given.other is None or not (given.other / "src").is_dir():
        parser.error("give the folder of another checkout, which holds src/")
    else:
        compare(given.other, given.rounds)
