"""A study whose runs take no time: results follow a curve of diminishing returns, with noise by seed."""

import zlib
from pathlib import Path

import numpy as np

from samplewise.bench import Study

METHODS = ("infobatch", "ucb:keep=0.5,period=2", "ordered_sgd")
EFFECTS = {"infobatch": 2.0, "ordered_sgd": -2.0}
"""What each method gains over full training of the same cost."""
SHARES = {"full": 1.0, "infobatch": 0.7, "ordered_sgd": 0.6}


class FakeTrainer:
    """Runs of a method cost its share of full training."""

    def __init__(self, failing=(), ceiling=5.0):
        self.failing, self.ceiling = failing, ceiling

    def task(self):
        return {"fake": 1, "ceiling": self.ceiling}

    def metrics(self):
        return ("accuracy", "loss")

    def check(self, methods):
        pass

    def finished(self, job):
        pass

    def run(self, job, on_step):
        if job.method in self.failing:
            raise ValueError("it does not fit.")
        rng = np.random.default_rng([job.seed, job.epochs, zlib.crc32(job.method.encode())])
        name, _, keep = job.method.partition("keep=")
        share = float(keep.split(",")[0]) if keep else SHARES[name]
        share += 0.01 * rng.standard_normal() if name == "infobatch" else 0.0
        spent = job.epochs * share
        accuracy = 90 - 20 * np.exp(-spent / self.ceiling) + EFFECTS.get(job.method, 0.0)
        accuracy += 0.1 * rng.standard_normal()
        found = {"accuracy": float(accuracy), "loss": float(2 - accuracy / 50)}
        ends = [(epoch + 1) / job.epochs for epoch in range(job.epochs)]
        cost = 300 * spent
        on_step(1.0)
        return {
            "n": 100,
            "cost": cost,
            "cost_without_scoring": cost,
            "seconds": spent,
            "seconds_without_scoring": spent,
            "wall": 2 * spent,
            "overhead": 0.1,
            "samples_backpropagated": int(100 * spent),
            "validation": found,
            "test": found,
            "best": {"epoch": job.epochs, "cost": cost, "seconds": spent, "validation": found, "test": found},
            "curve": [[i + 1, cost * end, spent * end, accuracy * end] for i, end in enumerate(ends)],
            "machine": {"cpu": "abacus", "cores": 2, "device": "cpu"},
        }


def study(folder: Path, *, methods=METHODS, seeds=5, trainer=None, **options) -> Study:
    """A study of 8 epochs."""
    chosen = {"name": "fake", "question": "Which one?", "epochs": 8, "controls": False} | options
    return Study(trainer or FakeTrainer(), methods, seeds=seeds, out=folder, **chosen)
