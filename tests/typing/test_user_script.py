"""The types that users see: type checkers flag the mistakes in a user's script, and nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
LINES = (Path(__file__).parent / "user_script.txt").read_text().splitlines()  # pytest would run a .py file
WRONG = {number for number, line in enumerate(LINES, 1) if "# WRONG" in line}


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "user_script.py"
    path.write_text("\n".join([*LINES, ""]))
    return path


def test_the_script_has_mistakes():
    assert len(WRONG) > 4


def test_mypy_flags_the_mistakes_of_a_user_and_nothing_else(script, monkeypatch):
    monkeypatch.chdir(ROOT)  # mypy then uses the settings and the cache of the check of src
    said, _, _ = api.run(["--strict", "--no-error-summary", str(script)])
    flagged = {int(line) for line in re.findall(r"user_script\.py:(\d+): error", said)}
    assert flagged == WRONG, said


def test_pyright_flags_the_mistakes_of_a_user_and_nothing_else(script):
    pytest.importorskip("basedpyright")
    settings = {"include": [script.name], "extraPaths": [str(ROOT / "src")], "typeCheckingMode": "strict"}
    config = script.with_name("pyrightconfig.json")
    config.write_text(json.dumps(settings))
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(config),
    ]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    found = json.loads(said)["generalDiagnostics"]
    assert {message["range"]["start"]["line"] + 1 for message in found} == WRONG, said
