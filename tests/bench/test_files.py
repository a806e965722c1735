import pytest
import torch

from samplewise.bench import files


def test_a_file_is_replaced_whole_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "rows.jsonl"
    files.write_lines(path, [{"a": 1}])
    files.write_lines(path, [{"a": 1}, {"b": 2.5}])
    assert files.read_lines(path) == [{"a": 1}, {"b": 2.5}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    files.write_json(path, {"a": 1})
    monkeypatch.setattr(files.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_json(path, {"a": 2})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    left = [entry for entry in tmp_path.iterdir() if entry != path]
    assert all(files.is_partial(entry) for entry in left)


def test_lines_that_are_no_objects_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    for text in ('{"a": 1}\n{"a"', "[1]\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"rows\.jsonl is damaged"):
            files.read_lines(path)


def test_a_checkpoint_comes_back_and_any_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    files.write_checkpoint(path, {"w": torch.arange(1000.0), "rows": [{"a": None, "b": "text"}]})
    back = files.read_checkpoint(path)
    assert torch.equal(back["w"], torch.arange(1000.0))
    assert back["rows"] == [{"a": None, "b": "text"}]
    whole = path.read_bytes()
    for at in (0, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"checkpoint .*checkpoint\.pt is damaged"):
            files.read_checkpoint(path)
    for cut in (0, 10, 60, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            files.read_checkpoint(path)
