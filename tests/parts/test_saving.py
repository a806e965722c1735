"""Checkpoints are whole or absent, notice every changed byte, and are read without running anything."""

import hashlib
import itertools
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from samplewise.cli import main
from samplewise.files import checkpoints
from samplewise.files.atomic import is_partial, replacing
from tests.faults.disk import FULL, room_for

STATE = {
    "model": {"w": torch.arange(3000.0), "half": torch.ones(2, dtype=torch.bfloat16)},
    "rows": [{"a": None, "b": "text"}, (1, 2.5, True)],
    "rng": torch.get_rng_state(),
}


class Marks:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def only(folder, *names):
    """Nothing else lies in the folder."""
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(names)


def test_a_state_comes_back_from_our_reader_and_from_plain_torch(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, STATE)
    for back in (checkpoints.load(path), torch.load(path, weights_only=True)):
        assert torch.equal(back["model"]["w"], STATE["model"]["w"])
        assert back["model"]["half"].dtype == torch.bfloat16
        assert back["rows"] == STATE["rows"]
        assert torch.equal(back["rng"], STATE["rng"])
    assert zipfile.ZipFile(path).testzip() is None
    only(tmp_path, "checkpoint.pt")


def test_the_digest_is_that_of_what_torch_wrote(tmp_path):
    checkpoints.save(tmp_path / "ours.pt", STATE)
    told = zipfile.ZipFile(tmp_path / "ours.pt").comment.decode().split()
    content = (tmp_path / "ours.pt").read_bytes()
    bare = content[: -len(zipfile.ZipFile(tmp_path / "ours.pt").comment) - 2] + b"\0\0"
    assert told == ["samplewise", "sha256", hashlib.sha256(bare).hexdigest()]


def test_a_file_is_replaced_and_a_link_to_it_stays_one(tmp_path):
    (tmp_path / "steps").mkdir()
    (tmp_path / "last.pt").symlink_to("steps/1.pt")
    for value in (1, 2):
        checkpoints.save(tmp_path / "last.pt", {"value": value})
    assert (tmp_path / "last.pt").is_symlink()
    assert checkpoints.load(tmp_path / "steps" / "1.pt") == {"value": 2}
    only(tmp_path / "steps", "1.pt")


def test_any_changed_or_missing_byte_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"w": torch.arange(50.0)})
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(
            ValueError, match=r"checkpoint\.pt is damaged, or samplewise\.save did not write it"
        ):
            checkpoints.load(path)
    for cut in (0, 1, 10, 90, len(whole) // 2, len(whole) - 64, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            checkpoints.load(path)
    path.write_bytes(whole)
    assert torch.equal(checkpoints.load(path)["w"], torch.arange(50.0))


def test_a_file_of_plain_torch_or_none_at_all_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match=r"plain\.pt .*samplewise\.save did not write it.*torch\.load\(path"):
        checkpoints.load(tmp_path / "plain.pt")
    with pytest.raises(FileNotFoundError, match="absent"):
        checkpoints.load(tmp_path / "absent.pt")


def digested(path, content):
    """`content` with the digest that makes it look whole."""
    note = f"samplewise sha256 {hashlib.sha256(content).hexdigest()}".encode()
    path.write_bytes(content[:-2] + len(note).to_bytes(2, "little") + note)


def test_a_malicious_pickle_does_not_run(tmp_path):
    torch.save({"model": Marks(tmp_path / "ran")}, tmp_path / "plain.pt")
    digested(tmp_path / "bad.pt", (tmp_path / "plain.pt").read_bytes())
    with pytest.raises(
        ValueError, match=r"bad\.pt may hold only .*posix\.mkdir\. No code in the file was run"
    ):
        checkpoints.load(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()
    # The trap works: without the guard it is sprung.
    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_a_pickle_that_hides_what_it_calls_does_not_run_either(tmp_path):
    torch.save({"model": 1}, tmp_path / "plain.pt")
    hidden = pickle.dumps(
        Marks(tmp_path / "ran"), protocol=4
    )  # STACK_GLOBAL: names put together on the stack
    with zipfile.ZipFile(tmp_path / "plain.pt") as source, zipfile.ZipFile(tmp_path / "z.pt", "w") as target:
        for name in source.namelist():
            target.writestr(name, hidden if name.endswith("data.pkl") else source.read(name))
    digested(tmp_path / "bad.pt", (tmp_path / "z.pt").read_bytes())
    with pytest.raises(ValueError, match=r"bad\.pt (may hold only|cannot be read)"):
        checkpoints.load(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_what_could_not_be_read_again_is_refused_when_it_is_saved(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"step": 1})
    for value, name in (
        (Marks("x"), "posix.mkdir"),
        (np.float64(1), "numpy.*scalar"),
        (np.ones(2), "ndarray"),
    ):
        with pytest.raises(
            ValueError, match=rf"checkpoint\.pt was not written: the state may hold only .*{name}"
        ):
            checkpoints.save(path, {"step": 2, "value": value})
    assert checkpoints.load(path) == {"step": 1}
    only(tmp_path, "checkpoint.pt")


def test_tensors_go_where_they_are_mapped(tmp_path):
    checkpoints.save(tmp_path / "checkpoint.pt", {"w": torch.ones(2)})
    assert checkpoints.load(tmp_path / "checkpoint.pt", map_location="meta")["w"].device.type == "meta"


@pytest.mark.parametrize("missing", [12_000, 6_000, 90, 1])
def test_a_full_disk_leaves_the_file_before_and_nothing_else(tmp_path, missing):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, STATE)
    room = path.stat().st_size - missing
    checkpoints.save(path, {"step": 1})
    with room_for(room), pytest.raises(OSError, match="Errno 27") as error:
        checkpoints.save(path, STATE)
    assert str(error.value) == f"{FULL}'{path}'"
    assert checkpoints.load(path) == {"step": 1}
    only(tmp_path, "checkpoint.pt")


def test_an_interrupt_in_the_middle_leaves_the_file_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"step": 1})

    def interrupted(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, {"step": 2})
    assert checkpoints.load(path) == {"step": 1}
    only(tmp_path, "checkpoint.pt")


def test_what_a_signal_handler_raises_while_torch_writes_stays_what_it_is(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"step": 1})
    calls = itertools.count(1)

    class Digest:
        def update(self, content):
            if next(calls) == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(hashlib, "sha256", Digest)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, {"step": 2})
    monkeypatch.undo()
    assert next(calls) == 6  # torch wrote on, into nothing
    assert checkpoints.load(path) == {"step": 1}
    only(tmp_path, "checkpoint.pt")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"could not be written: No such file.*absent/checkpoint\.pt"):
        checkpoints.save(tmp_path / "absent" / "checkpoint.pt", {})


def test_content_is_on_disk_before_it_has_the_name_and_the_name_after(tmp_path, monkeypatch):
    events, sync, replace = [], os.fsync, Path.replace

    def kind(descriptor):
        return "folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file"

    monkeypatch.setattr(os, "fsync", lambda d: (events.append(kind(d)), sync(d))[1])
    monkeypatch.setattr(Path, "replace", lambda *a: (events.append("name"), replace(*a))[1])
    checkpoints.save(tmp_path / "checkpoint.pt", {"step": 1})
    assert events == ["file", "name", "folder"]


def test_what_killed_processes_left_behind_goes_when_it_is_old(tmp_path):
    path, hour = tmp_path / "a.pt", 3600
    for name, age in (
        (".a.pt.11.partial", 2 * hour),
        (".a.pt.12.partial", 60),
        (".ab.pt.13.partial", 2 * hour),
    ):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
        assert is_partial(tmp_path / name)
    checkpoints.save(path, {"step": 1})
    only(tmp_path, "a.pt", ".a.pt.12.partial", ".ab.pt.13.partial")


def test_the_old_content_is_there_until_the_block_ends(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_saving_takes_no_copy_of_the_tensors(tmp_path):
    code = (
        "import resource, sys, torch\n"
        "from samplewise.files import checkpoints\n"
        "w = torch.ones(25_000_000)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "checkpoints.save(sys.argv[1], {'w': w})\n"
        "print(peak() - before)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "checkpoint.pt")]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 20_000  # KiB, of 100,000 that the tensor takes


def test_a_file_never_takes_the_place_of_a_device_or_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(ValueError, match=r"pipe is a device, a pipe or a socket"), replacing(path):
            pass
    assert pipe.is_fifo()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("command", ["select", "score"])
def test_a_command_refuses_a_pipe_as_its_file_before_it_works(command, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = {"select": ["no.parquet", "--method", "el2n", "--keep", "0.5"], "score": ["--method", "el2n"]}[
        command
    ]
    assert main([command, *given, "--out", str(pipe), "--force"]) == 2
    assert "is a device, a pipe or a socket" in " ".join(capsys.readouterr().err.split())
    assert pipe.is_fifo()
