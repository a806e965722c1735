"""The types that users see: a type checker flags mistakes in a script of theirs, and nothing else."""

import re
from pathlib import Path

from mypy import api

SCRIPT = Path(__file__).parent / "user_script.txt"  # pytest would run a .py


def test_mypy_flags_the_mistakes_of_a_user_and_nothing_else(tmp_path, monkeypatch):
    script = tmp_path / "user_script.py"
    script.write_text(SCRIPT.read_text())
    monkeypatch.chdir(
        Path(__file__).parents[2]
    )  # whose settings and cache it then shares with the check of src
    said, _, _ = api.run(["--strict", "--no-error-summary", str(script)])
    flagged = {int(line) for line in re.findall(r"user_script\.py:(\d+): error", said)}
    lines = SCRIPT.read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# WRONG" in line}
    assert wrong
    assert flagged == wrong, said
