"""Every file of examples/ runs as a user would run it, and says what it saved."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
NEEDS = {"ray_train": "ray"}
"""What an example needs that the development environment does not install."""
SAYS = {"grpo": "without variance"}
"""What an example prints that saves nothing that a `Ledger` counts."""


def run(*command, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_the_example_runs(example, tmp_path):
    if (needed := NEEDS.get(example.stem)) and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    printed = run(sys.executable, str(example), cwd=tmp_path)
    assert SAYS.get(example.stem, "saved by cost") in printed


def test_two_processes_run_the_distributed_example(tmp_path):
    example = str(EXAMPLES[0].parent / "ddp.py")
    printed = run(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", example),
        cwd=tmp_path,
    )
    assert printed.count("saved by cost") == 1
