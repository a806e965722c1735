import os

import pytest

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
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_json(path, {"a": 2})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_lines_that_are_no_objects_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    for text in ('{"a": 1}\n{"a"', "[1]\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"rows\.jsonl is damaged"):
            files.read_lines(path)
