"""A DataLoader worker that is killed: a clear error at once, and the run goes on from its last state."""

import os
import signal

import pytest
import torch

import samplewise as sw
from samplewise import saving
from tests.seams.toys import Net, Tensors, forward_of, step


class Deadly(Tensors):
    """Kills the worker that fetches `victim` for the `fetch`-th time."""

    def __init__(self, counter, victim=13, fetch=2):
        super().__init__()
        self.counter, self.victim, self.fetch = counter, victim, fetch

    def __getitem__(self, i):
        if i == self.victim and torch.utils.data.get_worker_info() is not None:
            with self.counter.open("a") as file:
                file.write("x")
            if self.counter.stat().st_size == self.fetch:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


def build(policy, dataset, in_passes):
    model = Net(dropout=0.0)
    selector = sw.Selector(
        policy,
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
        for part, state in zip(parts, saving.load(path), strict=True):
            part.load_state_dict(state)
    seen = []
    loader = selector.loader(num_workers=workers)
    for _ in range(selector.epoch, 4):
        for batch in loader:
            step(selector, optimizer, batch)
            seen.append(batch.ids.tolist())
            saving.save(path, [part.state_dict() for part in parts])
    return seen


@pytest.mark.parametrize("in_passes", [False, True])
def test_a_killed_worker_is_an_error_and_the_run_goes_on_from_the_last_state(tmp_path, in_passes):
    policy = sw.recipes.ucb(keep=0.5, period=2) if in_passes else sw.recipes.infobatch()
    workers = 0 if in_passes else 2
    whole = build(policy, Tensors(), in_passes)
    expected = run(whole, tmp_path / "whole.pt", workers)
    deadly = Deadly(tmp_path / "fetches")
    path = tmp_path / "last.pt"
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid.*(killed by signal: Killed|exited)"):
        run(build(policy, deadly, in_passes), path, workers)
    assert saving.load(path)[0]["batches"] > 0
    again = build(policy, deadly, in_passes)  # whose fetches are past the deadly one
    rest = run(again, path, workers)
    assert 0 < len(rest) < len(expected)
    assert rest == expected[-len(rest) :]
    for mine, wanted in zip(again[1].parameters(), whole[1].parameters(), strict=True):
        assert torch.equal(mine, wanted)
