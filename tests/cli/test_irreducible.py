"""`samplewise score --method irreducible`: what `rho_loss` needs, from the command to the training."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from samplewise import recipes
from samplewise.bench import data as images
from samplewise.bench import files, irreducible
from samplewise.bench import train as training
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run, Task, train
from samplewise.cli import main
from samplewise.coresets.table import ScoreTable
from samplewise.files import checkpoints
from samplewise.report import pictures

# So few samples at so high a rate are soon learnt by heart: the best epoch is not the last.
SMALL = ["--limit", "120", "--epochs", "5", "--batch-size", "16", "--threads", "1", "--model", "mlp"]
SMALL += ["--device", "cpu", "--schedule", "constant", "--lr", "0.3"]
SETTINGS = Settings(
    limit=120, epochs=5, batch_size=16, threads=1, model="mlp", device="cpu", schedule="constant", lr=0.3
)  # fmt: skip
CROSS = ["--method", "irreducible"]


@pytest.fixture(scope="module", autouse=True)
def unpictured():
    """Drawing takes longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """A cross-fitted table and one with a hold-out half."""
    folder = tmp_path_factory.mktemp("losses")
    found = {}
    for fit in ("cross", "holdout"):
        found[fit] = folder / f"{fit}.parquet"
        assert main(["score", *SMALL, *CROSS, "--fit", fit, "-o", str(found[fit])]) == 0
    return found


def said(capsys):
    """The one line of an error."""
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("sizes", [(12, 12, 12), (5, 4, 7, 3), (2, 2), (9, 2, 2), (3, 3, 3)])
def test_halves_are_exact_and_every_class_is_divided_evenly(sizes):
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    first, second = irreducible.halves(labels, 0)
    assert len(first) == len(labels) // 2
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(len(labels)))
    for half in (first, second):
        assert bool((half.diff() > 0).all())
        for label, size in enumerate(sizes):
            assert int((labels[half] == label).sum()) >= 1
            assert abs(2 * int((labels[half] == label).sum()) - size) <= 2
    again, other = irreducible.halves(labels, 0)[0], irreducible.halves(labels, 7)[0]
    assert torch.equal(first, again)
    assert len(labels) < 9 or not torch.equal(first, other)


def test_a_class_of_one_sample_cannot_be_in_two_halves():
    with pytest.raises(
        ValueError, match="2 samples of each class, one for each half, but class 1 has 1 sample"
    ):
        irreducible.halves(torch.tensor([0, 0, 1, 2, 2]), 0)


def reference(seen, unseen, data, tmp_path):
    """Best epoch and losses of one model, by training that is tested on the other half after every epoch."""
    half = irreducible._half(data, seen, unseen)
    settings = SETTINGS.resolved()
    task = Task("full", recipes.full(), 0, half, settings)
    tested = [row["test_loss"] for row in train(task, tmp_path / "tested.pt").curve]
    (tmp_path / "tested.pt").unlink()
    best = min(range(len(tested)), key=lambda epoch: tested[epoch])
    stopped = Run(task)
    loader = stopped.loader()
    for epoch in range(best + 1):
        stopped.train_epoch(loader, epoch, tmp_path / "stopped.pt", lambda progress: None)
    stopped.model.eval()
    pixels = (half.test_x.float() - data.mean[:, None, None]) / data.std[:, None, None]
    with torch.no_grad():
        found = F.cross_entropy(stopped.model(pixels), half.test_y, reduction="none")
    return best + 1, found


def test_each_half_gets_the_losses_of_the_model_of_the_other_at_its_best(losses, tmp_path):
    data = images.limited(images.load("digits"), 120)
    first, second = irreducible.halves(data.train_y, 0)
    cross, holdout = (ScoreTable.read(losses[fit]) for fit in ("cross", "holdout"))
    epochs = []
    for seen, unseen in ((first, second), (second, first)):
        best, wanted = reference(seen, unseen, data, tmp_path)
        torch.testing.assert_close(cross["irreducible"][unseen], wanted, rtol=1e-5, atol=1e-6)
        epochs.append(best)
    assert cross.provenance["best_epochs"] == epochs
    assert min(epochs) < 5  # or keeping the last would do
    assert torch.equal(holdout["irreducible"][second], cross["irreducible"][second])
    assert holdout["irreducible"][first].isnan().all()
    assert torch.equal(cross.labels, data.train_y)


def test_the_other_half_is_looked_at_in_eval_mode_and_leaves_no_trace():
    data = images.limited(images.load("digits"), 60)
    half = irreducible._half(data, *irreducible.halves(data.train_y, 0))
    looking = Run(Task("full", recipes.full(), 0, half, replace(SETTINGS, model="cnn").resolved()))
    before = {name: buffer.clone() for name, buffer in looking.model.named_buffers()}
    assert before  # batch norms
    found, _ = irreducible._evaluate(looking)
    assert looking.model.training
    assert all(torch.equal(before[name], buffer) for name, buffer in looking.model.named_buffers())
    looking.model.eval()
    pixels = (half.test_x.float() - data.mean[:, None, None]) / data.std[:, None, None]
    with torch.no_grad():
        wanted = F.cross_entropy(looking.model(pixels), half.test_y, reduction="none")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_provenance_says_how_they_were_made_and_what_that_cost(losses):
    cross, holdout = (ScoreTable.read(losses[fit]).provenance for fit in ("cross", "holdout"))
    for fit, provenance in (("cross", cross), ("holdout", holdout)):
        assert provenance["fit"] == fit
        assert (provenance["n"], provenance["epochs"], provenance["model"]) == (120, 5, "mlp")
        assert provenance["seed"] == 0
    assert cross["fingerprint"] == holdout["fingerprint"]
    # Of each model: 5 epochs of training on 60, and after each a look at the other 60.
    one = 5 * 3 * 60 + 5 * 60
    assert cross["scoring"]["irreducible"]["cost"] == 2 * one
    assert holdout["scoring"]["irreducible"]["cost"] == one
    assert cross["scoring"]["irreducible"]["seconds"] > 0
    assert len(cross["best_losses"]) == 2


class Killed(BaseException):
    """Nothing catches it on the way out."""


@pytest.mark.parametrize(("calls", "every"), [(3, True), (9, True), (21, True), (4, False), (9, False)])
def test_killed_it_resumes_to_the_same_losses(tmp_path, monkeypatch, losses, capsys, calls, every):
    out = tmp_path / "il.parquet"
    write, left = checkpoints.save, iter(range(100))

    def counted(path, state):
        write(path, state)
        if next(left) == calls:
            raise Killed

    with monkeypatch.context() as patch:
        if every:  # after each step, else after each epoch only
            patch.setattr(training, "EVERY", 0.0)
            patch.setattr(training, "SPARING", 0)
        patch.setattr(checkpoints, "save", counted)
        with pytest.raises(Killed):
            main(["score", *SMALL, *CROSS, "-o", str(out)])
    assert not out.exists()
    assert main(["score", *SMALL, *CROSS, "-o", str(out)]) == 2
    assert "exists. Add --resume to continue it" in said(capsys)
    assert main(["score", "--resume", "-o", str(out), "--fit", "holdout"]) == 2
    assert "was started with other settings: fit was 'cross', now 'holdout'" in said(capsys)
    assert main(["score", "--resume", "-o", str(out)]) == 0
    whole, resumed = ScoreTable.read(losses["cross"]), ScoreTable.read(out)
    assert torch.equal(whole["irreducible"], resumed["irreducible"])
    for name in ("best_epochs", "best_losses"):
        assert whole.provenance[name] == resumed.provenance[name]
    costs = [t.provenance["scoring"]["irreducible"]["cost"] for t in (whole, resumed)]
    assert costs[0] == costs[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["il.parquet"]


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(self, batch, epoch):
        raise KeyboardInterrupt

    out = tmp_path / "il.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "train_step", interrupted)
        assert main(["score", *SMALL, *CROSS, "-o", str(out)]) == 130
    assert f"samplewise score --out {out} --resume" in capsys.readouterr().err
    assert main(["score", "--out", str(out), "--resume"]) == 0


def test_train_takes_the_losses_and_is_charged_for_them(tmp_path, losses):
    out, spent = tmp_path / "run", {}
    methods = {fit: f"rho_loss:irreducible={path},keep=0.25" for fit, path in losses.items()}
    command = ["train", *SMALL, "--seeds", "1", "--out", str(out)]
    assert main([*command, *(f"--method={method}" for method in methods.values())]) == 0
    rows = {row["method"]: row for row in files.read_lines(out / "results.jsonl")}
    for fit, method in methods.items():
        spent[fit] = ScoreTable.read(losses[fit]).provenance["scoring"]["irreducible"]["cost"]
        n = 120 if fit == "cross" else 60
        kept = n // 16 * 4 + (n % 16 and 2 if n % 16 == 8 else 3)
        row = rows[method]
        assert row["samples_backpropagated"] == 5 * kept
        assert row["scoring_forwards"] == 5 * n
        assert row["cost_without_scoring"] == 5 * (3 * kept + n)
        assert row["cost"] == row["cost_without_scoring"] + spent[fit]
    assert main(["train", "--resume", "--out", str(out)]) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([*CROSS, "--method", "el2n"], "on halves of the data, so it cannot be mixed with el2n"),
        ([*CROSS, "--runs", "2"], "--runs must be 1 for --method irreducible, got 2"),
        ([*CROSS, "--fit", "crosss"], "--fit must be one of 'cross', 'holdout', got 'crosss'. Did you"),
        (["--method", "el2n", "--fit", "cross"], "--fit needs --method irreducible, got --method el2n"),
        (["--method", "irreducable"], "unknown method 'irreducable'"),
        ([*CROSS, "--limit", "15"], "2 samples of each class, one for each half, but class"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_one_line_and_writes_nothing(tmp_path, capsys, options, error):
    assert main(["score", *SMALL, *options, "-o", str(tmp_path / "il.parquet")]) == 2
    assert error in said(capsys)
    assert not list(tmp_path.iterdir())


def test_training_by_what_is_no_method_or_without_its_table_says_what_to_run(tmp_path, capsys, losses):
    run = ["--out", str(tmp_path / "run")]
    for method, error in (
        ("irreducible", "run samplewise score --method irreducible --out il.parquet, then train"),
        ("rho_loss", "samplewise score --method irreducible --out il.parquet. Then use --method rho_loss"),
        (f"rho_loss:irreducible={tmp_path}/no.parquet", "no such file"),
        (f"rho_loss:irreducible={losses['cross']}", "are of 120 samples, but this data set has 1347"),
    ):  # fmt: skip
        assert main(["train", "--method", method, "--device", "cpu", *run]) == 2
        assert error in said(capsys)
    assert main(["train", *SMALL, "--label-noise", "0.5", f"--method={method}", *run]) == 2
    assert "are of other data: the fingerprints differ" in said(capsys)
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_has_no_best_epoch():
    rows = [
        {"epoch": epoch, "loss": loss}
        for epoch, loss in enumerate((float("nan"), 2.0, 1.0, float("inf"), 1.0))
    ]
    assert irreducible._best(rows)["epoch"] == 2
    with pytest.raises(
        ValueError,
        match=r"must be finite after at least one epoch, but training diverged\. Try a smaller --lr",
    ):
        irreducible._best([row for row in rows if not row["loss"] < 3])
