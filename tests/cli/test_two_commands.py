"""One `--out` belongs to one command: a second one is refused, and a killed one holds nothing."""

import signal
import subprocess
import sys

import pytest

from samplewise.bench import experiment, files
from samplewise.bench import train as training
from samplewise.bench.lock import InUseError, file_alone, folder_alone
from samplewise.cli import main
from samplewise.report import pictures

SMALL = ["--limit", "40", "--epochs", "2", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
TRAIN = ["train", *SMALL, "--seeds", "1", "--method", "full"]
SCORE = ["score", *SMALL, "--method", "el2n:first=1"]


@pytest.fixture(autouse=True)
def unpictured(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def refused(capsys, out):
    error = capsys.readouterr().err
    assert error.startswith(f"error: {out} is in use by another samplewise command. Wait until it ends")
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [TRAIN, [*TRAIN, "--method", "random:keep=0.5"], SCORE])
def test_a_second_command_in_the_same_out_is_refused_and_the_first_is_as_alone(
    tmp_path, monkeypatch, capsys, command
):
    out, step, codes = tmp_path / "out", training.Run.train_step, []

    def meanwhile(self, batch, epoch):
        if not codes:
            codes.append(None)
            codes[:] = [main([*command, "--out", str(out), *more]) for more in ([], ["--resume"])]
        step(self, batch, epoch)

    monkeypatch.setattr(training.Run, "train_step", meanwhile)
    assert main([*command, "--out", str(out)]) == 0
    assert codes == [2, 2]
    assert capsys.readouterr().err.count(f"error: {out} is in use by another samplewise command.") == 2
    if command[0] == "train":
        rows = [row["method"] for row in files.read_lines(out / "results.jsonl")]
        assert rows == command[command.index("--method") + 1 :: 2]
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".lock")]


def test_select_and_theory_are_refused_too(tmp_path, capsys):
    scores, out, folder = tmp_path / "scores.parquet", tmp_path / "new" / "s.parquet", tmp_path / "theory"
    assert main([*SCORE, "-o", str(scores)]) == 0
    select = ["select", str(scores), "--method", "el2n", "-o", str(out)]
    with file_alone(out):
        assert main(select) == 2
        refused(capsys, out)
    with folder_alone(folder):
        assert main(["theory", "perceptron", "--out", str(folder)]) == 2
        refused(capsys, folder)
    assert not folder.exists()
    assert not out.parent.exists()
    assert main(select) == 0
    assert [path.name for path in out.parent.iterdir()] == ["s.parquet"]


def test_a_link_to_a_file_or_folder_is_the_same_out(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "file").symlink_to(tmp_path / "s.parquet")
    with folder_alone(tmp_path / "real"), file_alone(tmp_path / "s.parquet"):
        with pytest.raises(InUseError), folder_alone(tmp_path / "folder"):
            pass
        with pytest.raises(InUseError), file_alone(tmp_path / "file"):
            pass


def test_without_out_a_second_command_takes_the_next_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with folder_alone(tmp_path / "runs" / "digits-1"):
        assert main(TRAIN) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits-2"]
    proposed = iter([tmp_path / "a", tmp_path / "b"])
    from samplewise.bench.lock import free_folder_alone

    with folder_alone(tmp_path / "a"), free_folder_alone(lambda: next(proposed)) as folder:
        assert folder == tmp_path / "b"


def test_a_killed_command_holds_nothing_and_its_part_files_go_on_resume(tmp_path, capsys):
    out = tmp_path / "one"
    killed = (
        "import os, signal, sys; from pathlib import Path; from samplewise.bench.lock import folder_alone\n"
        "with folder_alone(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(out)]).returncode == -signal.SIGKILL
    assert [path.name for path in out.iterdir()] == [".lock"]
    parts = [out / ".config.json.7.partial", out / ".checkpoint-full-0.pt.8.partial"]
    for command in ([*TRAIN, "--out", str(out)], ["train", "--resume", "--out", str(out)]):
        for part in parts:
            part.write_text("{")
        assert main(command) == 0
        assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    part, other = tmp_path / ".s.parquet.9.partial", tmp_path / ".other.parquet.9.partial"
    part.write_text("{")
    other.write_text("{")
    assert main([*SCORE, "-o", str(tmp_path / "s.parquet")]) == 0
    assert not part.exists()
    assert other.exists()


def test_a_folder_that_is_not_ours_keeps_its_files(tmp_path, capsys):
    mine = tmp_path / ".mine.partial"
    for path in (mine, tmp_path / "notes.txt"):
        path.write_text("mine")
    for more in ([], ["--resume"]):
        assert main([*TRAIN, "--out", str(tmp_path), *more]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.partial", "notes.txt"]


@pytest.mark.parametrize("command", [TRAIN, SCORE, ["theory", "perceptron"]])
def test_where_nothing_can_be_written_is_said_before_anything_runs(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setattr(training.Run, "train_step", lambda *_: pytest.fail("trained"))
    (tmp_path / "file").write_text("mine")
    for out in ("file/one", "file/one/two", "n" * 300):
        assert main([*command, "--out", str(tmp_path / out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_command_leaves_no_folder(tmp_path, capsys):
    assert main([*TRAIN, "--data", "nowhere.npz", "--out", str(tmp_path / "a" / "b" / "one")]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [TRAIN, SCORE])
def test_ctrl_c_before_anything_is_written_promises_nothing(tmp_path, monkeypatch, capsys, command):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "load_data", interrupted)
    assert main([*command, "--out", str(tmp_path / "new" / "one")]) == 130
    assert capsys.readouterr().err == "\ninterrupted. Nothing was written yet.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "said",
    ["CUDA out of memory. Tried to allocate 9 GiB.\nMore", "DefaultCPUAllocator: can't allocate memory: 9"],
)
def test_a_lack_of_memory_is_one_line_and_the_run_can_go_on(tmp_path, monkeypatch, capsys, said):
    step, calls = training.Run.train_step, []

    def narrow(self, batch, epoch):
        calls.append(epoch)
        if len(calls) == 5:
            raise RuntimeError(said)
        step(self, batch, epoch)

    monkeypatch.setattr(training.Run, "train_step", narrow)
    assert main([*TRAIN, "--out", str(tmp_path / "one")]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {said.splitlines()[0]} Try a smaller --batch-size, --model or --workers.\n"
    assert main(["train", "--resume", "--out", str(tmp_path / "one")]) == 0
