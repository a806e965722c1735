"""A training whose DataLoader worker is killed, and which then goes on; run in a process of its own.

torch raises in the main process wherever that is at the moment, so also inside the checks that wrap
our functions under pytest.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

import samplewise as sw
from samplewise.files import checkpoints
from tests.seams.toys import Net, Tensors, forward_of, step


class Deadly(Tensors):
    """Kills the worker that fetches `victim` for the second time."""

    victim = 13

    def __init__(self, counter):
        super().__init__()
        self.counter = counter

    def __getitem__(self, i):
        if i == self.victim and torch.utils.data.get_worker_info() is not None:
            with self.counter.open("a") as file:
                file.write("x")
            if self.counter.stat().st_size == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


def build(dataset, in_passes):
    """Model, optimizer and selector; the workers are those of the passes, or else of the training."""
    model = Net(dropout=0.0)
    selector = sw.Selector(
        sw.recipes.ucb(keep=0.5, period=2) if in_passes else sw.recipes.infobatch(),
        dataset,
        forward_of(model),
        model=model,
        epochs=4,
        batch_size=8,
        scoring=sw.Scoring(num_workers=2 if in_passes else 0),
    )
    return selector, model, torch.optim.SGD(model.parameters(), lr=0.1)


def run(parts, path, workers):
    """Train to the end from what is at `path`, saving after every step; the ids of the steps made."""
    selector, _, optimizer = parts
    if path.exists():
        for part, state in zip(parts, checkpoints.load(path), strict=True):
            part.load_state_dict(state)
    seen = []
    loader = selector.loader(num_workers=workers)
    for _ in range(selector.epoch, 4):
        for batch in loader:
            step(selector, optimizer, batch)
            seen.append(batch.ids.tolist())
            checkpoints.save(path, [part.state_dict() for part in parts])
    return seen


def play(folder, in_passes):
    """Write out what the uninterrupted run, the one whose worker dies and the resumed one did."""
    torch.set_num_threads(1)
    folder, workers = Path(folder), 0 if in_passes else 2
    whole, path = build(Tensors(), in_passes), folder / "last.pt"
    told = {"whole": run(whole, folder / "whole.pt", workers)}
    deadly = Deadly(folder / "fetches")
    try:
        run(build(deadly, in_passes), path, workers)
    except RuntimeError as error:
        told["error"] = str(error)
    told["saved"] = checkpoints.load(path)[0]["batches"]
    again = build(deadly, in_passes)  # whose fetches are past the deadly one
    told["rest"] = run(again, path, workers)
    pairs = zip(again[1].parameters(), whole[1].parameters(), strict=True)
    told["equal"] = all(torch.equal(mine, wanted) for mine, wanted in pairs)
    sys.stdout.write(json.dumps(told))
