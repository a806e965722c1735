import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from samplewise.bench import files
from samplewise.bench import train as training
from samplewise.cli import main
from samplewise.coresets.table import ScoreTable
from samplewise.files import checkpoints
from samplewise.report import pictures

SMALL = ["train", "--limit", "120", "--epochs", "4", "--batch-size", "32", "--seeds", "1"]
SMALL += ["--threads", "1"]
METHODS = ["--method", "infobatch", "--method", "evolved_sampling:anneal=0.25"]
TIMINGS = {"seconds", "cpu_seconds", "seconds_without_scoring", "realised", "overhead"} | {
    f"seconds_{stage}" for stage in ("data", "scoring", "selecting", "training")
}


def dropout_net(in_channels, classes, image_size):
    """A model whose training draws from torch's global generator."""
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(in_channels * image_size**2, 32),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(32, classes),
    )


@pytest.fixture(scope="module", autouse=True)
def unpictured():
    """Drawing takes longer than these runs; test_run_folder.py draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        yield


DROPOUT = ["--model", f"{__name__}:dropout_net"]


def content(folder):
    """Everything that a run folder says, timings aside."""
    rows = {}
    for name in ("results.jsonl", "curves.jsonl"):
        rows[name] = [
            {k: v for k, v in row.items() if k not in TIMINGS} for row in files.read_lines(folder / name)
        ]
    for path in sorted(folder.glob("scores-*.parquet")):
        table = ScoreTable.read(path)
        columns = {k: v.tolist() for k, v in table.columns.items()}
        rows[path.name] = repr((columns, table.times_selected.tolist()))
    return rows


class Killed(BaseException):
    """Stands for a kill: nothing catches it on the way out."""


def crash_at(monkeypatch, calls):
    """Checkpoint after every step, and die at the given one."""
    monkeypatch.setattr(training, "EVERY", 0.0)
    monkeypatch.setattr(training, "SPARING", 0)
    write, count = checkpoints.save, iter(range(10**6))

    def counted(path, state):
        write(path, state)
        if next(count) == calls:
            raise Killed

    monkeypatch.setattr(checkpoints, "save", counted)


WAYS = {
    "dropout": ["--method", "evolved_sampling:anneal=0.25", *DROPOUT],
    "augment": ["--method", "infobatch", "--augment"],
    "noise": ["--method", "kakurenbo", "--label-noise", "0.4", "--noise", "flip"],
    "proxy": ["--method", "dynams_proxy:period=1", "--model", "mlp", "--proxy-width", "0.25"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What uninterrupted runs end with."""
    ends = {}
    for way, options in WAYS.items():
        folder = tmp_path_factory.mktemp("whole") / way
        assert main([*SMALL, *options, "--method", "full", "--out", str(folder)]) == 0
        ends[way] = content(folder)
    return ends


def test_a_proxy_has_the_width_that_was_asked_for_and_is_charged_by_its_flops(whole):
    row = next(row for row in whole["proxy"]["results.jsonl"] if row["method"].startswith("dynams_proxy"))
    share = (64 * 64 + 64 * 64 + 64 * 10) / (64 * 256 + 256 * 256 + 256 * 10)
    assert row["proxy_share"] == pytest.approx(share)
    trained, scored = row["samples_backpropagated"], row["proxy_scoring_forwards"]
    assert trained == 288  # 0.6 of 4 epochs of 120
    assert scored == 3 * 120
    assert row["scoring_forwards"] == 0
    assert row["cost"] == pytest.approx(3 * trained + share * (3 * trained + scored))


# Before and after the end of an epoch, and in the second run; 4 batches an epoch and its end.
@pytest.mark.parametrize("calls", [2, 3, 4, 30])
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_run_resumes_to_the_result_of_an_uninterrupted_one(tmp_path, monkeypatch, whole, way, calls):
    killed = ["--out", str(tmp_path / "killed")]
    with monkeypatch.context() as patch:
        crash_at(patch, calls)
        with pytest.raises(Killed):
            main([*SMALL, *WAYS[way], "--method", "full", *killed])
    assert main(["train", "--resume", *killed]) == 0
    assert content(tmp_path / "killed") == whole[way]


def test_kill_9_with_workers_and_augmentation_resumes_exactly(tmp_path):
    options = [*SMALL, *METHODS, "--augment", "--workers", "2", *DROPOUT]
    script = (
        "import os, signal, sys\n"
        "from samplewise.files import checkpoints\n"
        "from samplewise.bench import train\n"
        "from samplewise.cli import main\n"
        "train.EVERY = train.SPARING = 0\n"
        "write, left = checkpoints.save, [7]\n"
        "def killing(path, state):\n"
        "    write(path, state)\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoints.save = killing\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(
        [sys.executable, "-c", script, *options, "--out", str(tmp_path / "killed")],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert main([*options, "--out", str(tmp_path / "killed"), "--resume"]) == 0
    # The workers only load: without them the result is the same.
    plain = [*options[: options.index("--workers")], *DROPOUT]
    assert main([*plain, "--out", str(tmp_path / "whole")]) == 0
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_resume_of_a_finished_run_prints_its_table_and_trains_nothing(tmp_path, monkeypatch, capsys):
    command = [*SMALL, "--method", "full", "--out", str(tmp_path / "one")]
    assert main(command) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    assert main([*command, "--resume"]) == 0
    again = capsys.readouterr().out
    assert [line for line in first.splitlines() if "full  " in line] == [
        line for line in again.splitlines() if "full  " in line
    ]


def test_an_existing_run_folder_is_refused_without_resume(tmp_path, capsys):
    command = [*SMALL, "--method", "full", "--out", str(tmp_path / "one")]
    assert main(command) == 0
    before = content(tmp_path / "one")
    capsys.readouterr()
    assert main(command) == 2
    assert "exists. Add --resume to continue it" in capsys.readouterr().err
    assert content(tmp_path / "one") == before


def test_resume_with_other_settings_is_refused(tmp_path, capsys):
    out = ["--out", str(tmp_path / "one")]
    assert main([*SMALL, "--method", "full", *out]) == 0
    assert main(["train", "--resume", "--epochs", "5", *out]) == 2
    said = capsys.readouterr().err
    assert "was started with other settings: epochs was 4, now 5" in said


def test_resume_where_nothing_is_starts_anew(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    # What a kill in the middle of the very first file leaves behind.
    (tmp_path / "empty" / ".config.json.partial").write_text("{")
    for name in ("empty", "absent"):
        out = ["--out", str(tmp_path / name)]
        assert main([*SMALL, "--method", "full", "--resume", *out]) == 0
        assert "nothing to resume" in capsys.readouterr().out
    assert content(tmp_path / "empty") == content(tmp_path / "absent")


def test_out_counts_on_and_resume_takes_the_newest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main([*SMALL, "--method", "full", "--epochs", "1"]) == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["digits-1", "digits-2"]
    capsys.readouterr()
    assert main(["train", "--resume"]) == 0
    assert "runs/digits-2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "is not a run folder: it has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
        (lambda f: (f / "config.json").write_text('{"a": 1}'), "is not a run folder of this"),
        (
            lambda f: files.write_json(
                f / "config.json", json.loads((f / "config.json").read_text()) | {"settings": {}}
            ),
            "its settings must hold exactly",
        ),
        (lambda f: (f / "results.jsonl").write_text('{"method"'), "results.jsonl is damaged"),
        (lambda f: (f / "results.jsonl").write_text('{"method": "full"}'), "is damaged: a row"),
        (
            lambda f: (f / "checkpoint-full-0.pt").write_bytes(b"\0" * 1000),
            "checkpoint-full-0.pt is damaged",
        ),
        (
            lambda f: checkpoints.save(f / "checkpoint-full-0.pt", {"model": {}}),
            "does not fit this run",
        ),
    ],
    ids=["foreign", "cut", "other", "settings", "results", "row", "checkpoint", "empty state"],
)
def test_a_foreign_or_damaged_folder_is_refused(tmp_path, monkeypatch, capsys, damage, said):
    folder = tmp_path / "one"
    command = [*SMALL, "--method", "infobatch", "--method", "full", "--out", str(folder)]
    with monkeypatch.context() as patch:
        crash_at(patch, 22)
        with pytest.raises(Killed):
            main(command)
    # `full` is finished by now; a checkpoint of it is looked at only if its result is gone.
    if "checkpoint" in said or "fit" in said:
        (folder / "results.jsonl").unlink()
    damage(folder)
    before = sorted(p.name for p in folder.iterdir())
    capsys.readouterr()
    assert main([*command, "--resume"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(p.name for p in folder.iterdir()) == before


def test_changed_data_are_noticed_on_resume(tmp_path, monkeypatch, capsys):
    import numpy as np

    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    held = {"train_y": np.arange(40) % 2, "test_x": x[:4], "test_y": np.arange(4) % 2}
    np.savez(tmp_path / "set.npz", train_x=x, **held)
    command = ["train", "--data", str(tmp_path / "set.npz"), "--method", "full", "--seeds", "1"]
    command += ["--batch-size", "8", "--epochs", "2", "--out", str(tmp_path / "one")]
    with monkeypatch.context() as patch:
        crash_at(patch, 3)
        with pytest.raises(Killed):
            main(command)
    np.savez(tmp_path / "set.npz", train_x=x[::-1], **held)
    assert main([*command, "--resume"]) == 2
    assert "cannot be continued: the data changed" in capsys.readouterr().err


def test_ctrl_c_says_how_to_continue(tmp_path, monkeypatch, capsys):
    step = training.Run.train_step

    def interrupted(self, batch, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        step(self, batch, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "train_step", interrupted)
        code = main([*SMALL, "--method", "full", "--out", str(tmp_path / "one")])
    assert code == 130
    said = capsys.readouterr().err
    assert f"samplewise train --out {tmp_path / 'one'} --resume" in said
    assert main(["train", "--resume", "--out", str(tmp_path / "one")]) == 0


def test_two_forms_of_one_method_stand_side_by_side(tmp_path):
    methods = ["--method", "ucb:keep=0.3,period=2", "--method", "ucb:keep=0.6,period=2"]
    out = tmp_path / "one"
    assert main([*SMALL, *methods, "--out", str(out)]) == 0
    rows = pd.read_json(out / "results.jsonl", lines=True).set_index("method")
    assert rows.loc["ucb:keep=0.3,period=2", "samples_backpropagated"] == 4 * 36
    assert rows.loc["ucb:keep=0.6,period=2", "samples_backpropagated"] == 4 * 72
    assert len(list(out.glob("scores-ucb_keep=*.parquet"))) == 2


def test_options_reach_the_run(tmp_path):
    options = ["--model", "mlp", "--optimizer", "adamw", "--schedule", "cosine", "--amp"]
    options += ["--lr", "0.01", "--device", "cpu", "--label-noise", "0.2", "--method", "full"]
    assert main([*SMALL, *options, "--out", str(tmp_path / "one")]) == 0
    settings = json.loads((tmp_path / "one" / "config.json").read_text())["settings"]
    wanted = {"model": "mlp", "optimizer": "adamw", "lr": 0.01, "amp": True, "label_noise": 0.2}
    assert wanted.items() <= settings.items()
