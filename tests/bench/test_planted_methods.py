"""A method that must win and one that must lose, with real trainings of the command."""

from pathlib import Path

import numpy as np
import pytest
import torch

from samplewise.bench import Study
from samplewise.bench.data import held_out
from samplewise.bench.experiment import load_data
from samplewise.bench.settings import Settings
from samplewise.bench.study import pictures
from samplewise.bench.study.results import Results
from samplewise.subset import Subset

EASY = """
from samplewise import pickers, signals, trackers
from samplewise.policy import Policy

def low_loss(loss):
    return -loss

def easiest(keep: float = 0.25):
    rows = pickers.TopK(keep)
    return Policy(signal=low_loss, tracker=trackers.Last(), batch_picker=rows, source="training")
"""
N, CLASSES = 256, 4


@pytest.fixture(autouse=True)
def unpictured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def vectors(path: Path, wrong: float = 0.0) -> np.ndarray:
    """Write Gaussian classes in 8 dimensions. Return which training samples have their true label."""
    rng = np.random.default_rng(0)
    centres = 1.2 * rng.standard_normal((CLASSES, 8))

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(n) % CLASSES
        return (centres[y] + rng.standard_normal((n, 8))).astype(np.float32), y

    (x, y), (test_x, test_y) = drawn(N), drawn(400)
    lies = rng.random(N) < wrong
    shown = np.where(lies, (y + 1) % CLASSES, y)
    np.savez(path, train_x=x, train_y=shown, test_x=test_x, test_y=test_y)
    return ~lies


def judged(folder: Path, methods: str) -> Results:
    study = folder / "planted.toml"
    study.write_text(
        f"seeds = 5\ncontrols = false\nmethods = [{methods}]\n[task]\ndata = 'data.npz'\n"
        "model = 'mlp'\nepochs = 4\nbatch_size = 32\n"
    )
    return Study.load(study).run()


def kept(folder: Path, right: np.ndarray) -> str:
    """The method that trains on the samples with a right label."""
    data = held_out(load_data(Settings(data=str(folder / "data.npz"), model="mlp")), 0.1)
    place = {row.tobytes(): i for i, row in enumerate(np.load(folder / "data.npz")["train_x"])}
    rows = data.train_x.reshape(len(data), -1).numpy()
    ids = [i for i, row in enumerate(rows) if right[place[row.tobytes()]]]
    Subset(torch.tensor(ids)).to_parquet(folder / "kept.parquet")
    return f"'fixed:subset={folder / 'kept.parquet'}'"


def test_dropping_wrong_labels_is_better(tmp_path: Path) -> None:
    """45 % of the labels name the next class. Training on all learns them; the method leaves them out."""
    right = vectors(tmp_path / "data.npz", wrong=0.45)
    (verdict,) = judged(tmp_path, kept(tmp_path, right)).verdicts.values()
    assert verdict.word == "better"
    assert verdict.mean > 5


def test_training_on_the_easiest_quarter_is_worse(tmp_path: Path) -> None:
    """The quarter of each batch with the smallest losses teaches what the model knows."""
    vectors(tmp_path / "data.npz")
    (tmp_path / "easy.py").write_text(EASY)
    (verdict,) = judged(tmp_path, "'easy.py:easiest'").verdicts.values()
    assert verdict.word == "worse"
    assert verdict.mean < -5
