"""Ray Train: our loader inside Ray's, on this machine's processes. Skipped where ray is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from samplewise.data.outputs import Batch
from samplewise.integrations import ray as adapter
from tests.seams.toys import make, train

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_train.py"


class Ahead(DataLoader):
    """As Ray's: fetches a batch ahead and moves it as a plain tuple."""

    def __init__(self, inner):
        vars(self).update(vars(inner))
        self.inner = inner

    def __iter__(self):
        batches = iter(self.inner)
        waiting = next(batches, None)
        while waiting is not None:
            ready, waiting = waiting, next(batches, None)
            yield tuple(ready)

    def __len__(self):
        return len(self.inner)


class Ray:
    """Stands for `ray.train.torch`."""

    @staticmethod
    def prepare_data_loader(loader, add_dist_sampler=True):
        assert not add_dist_sampler
        return Ahead(loader)


@pytest.mark.parametrize("policy", ["infobatch", "eswp"])
def test_a_loader_that_looks_ahead_inside_changes_nothing(policy, monkeypatch):
    selector, net = make(policy, period=2)
    expected = train(selector, net)
    monkeypatch.setattr(adapter, "_ray", lambda: Ray)
    selector, other = make(policy, period=2)
    assert train(selector, other, adapter.prepare(selector, drop_last=True)) == expected
    assert all((a == b).all() for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_our_own_loader_under_one_that_looks_ahead_is_an_error_and_not_a_loss_of_batches():
    selector, net = make("infobatch")
    with pytest.raises(ValueError, match="no epoch is open"):
        train(selector, net, map(Batch._make, Ahead(selector.loader(drop_last=True))))


def test_a_missing_ray_is_named(monkeypatch):
    for name in ("ray", "ray.train", "ray.train.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    selector, _ = make("full")
    with pytest.raises(
        ImportError, match=r"is not installed\. Install it with: pip install 'samplewise\[ray\]'"
    ):
        adapter.prepare(selector)


def test_two_workers_of_ray_train_the_example():
    pytest.importorskip("ray")
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "saved by cost" in done.stdout + done.stderr
