"""Top-5 accuracy: with more than five classes, in every row; folders without it are still read."""

import numpy as np
import pytest
import torch

from samplewise.bench import experiment, files
from samplewise.bench.data import ImageData
from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run, Task
from samplewise.cli import main
from samplewise.recipes import full
from samplewise.report import pictures

SMALL = ["train", "--epochs", "2", "--threads", "1", "--model", "mlp", "--device", "cpu", "--seeds", "1"]
SMALL += ["--method", "full"]


def images(classes, n=700):
    """Noise, with every class in it."""
    rng = np.random.default_rng(classes)
    x = torch.from_numpy(rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8))
    y = torch.arange(n) % classes
    mean, std = x.double().mean().float().view(1), x.double().std().float().view(1)
    return ImageData("noise", classes, x, y, x, y, mean, std)


@pytest.mark.parametrize("classes", [2, 5, 6, 20])
def test_it_is_the_share_of_samples_whose_class_is_among_the_five_largest_logits(classes):
    run = Run(Task("full", full(), 0, images(classes), Settings(model="mlp", device="cpu", lr=0.1)))
    found = run.evaluate()
    assert ("top5_accuracy" in found) == (classes > 5)
    if classes > 5:
        run.model.eval()
        data, hits = run.task.data, 0
        with torch.no_grad():
            for logits, label in zip(
                run.forward.logits(data.test_x).tolist(), data.test_y.tolist(), strict=True
            ):
                hits += sum(other > logits[label] for other in logits) < 5
        assert found["top5_accuracy"] == pytest.approx(100 * hits / len(data.test_y))
        assert found["accuracy"] < found["top5_accuracy"] < 100


def test_rows_have_it_and_older_folders_without_it_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    folder = RunFolder(tmp_path / "ten")
    assert main([*SMALL, "--limit", "60", "--out", str(folder.path)]) == 0
    for file in (folder.results_file, folder.curves_file):
        rows = files.read_lines(file)
        assert all(0 <= row["test_accuracy"] <= row["test_top5_accuracy"] <= 100 for row in rows)
        files.write_lines(file, [{k: v for k, v in row.items() if "top5" not in k} for row in rows])
    assert len(folder.results()) == 1
    assert len(folder.curves()) == 2
    assert main(["train", "--resume", "--out", str(folder.path)]) == 0
    files.write_lines(folder.results_file, [row | {"test_top5_accuracy": 101.0} for row in folder.results()])
    with pytest.raises(ValueError, match=r"row.test_top5_accuracy must be in \[0, 100\], got 101"):
        folder.results()


def test_with_five_classes_rows_do_not_have_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    data = images(5, 40)
    held = {
        f"{split}_{axis}": getattr(data, f"train_{axis}").numpy()
        for split in ("train", "test")
        for axis in "xy"
    }
    np.savez(tmp_path / "five.npz", **held)
    out = tmp_path / "five"
    assert main([*SMALL, "--data", str(tmp_path / "five.npz"), "--batch-size", "16", "--out", str(out)]) == 0
    assert experiment.load_data(RunFolder(out).settings()).classes == 5
    assert not any("top5" in key for key in RunFolder(out).results()[0])
