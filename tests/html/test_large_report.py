"""A report of 1,281,167 samples is small, and is made in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_imagenet_fits_into_five_megabytes():
    """The tables of the runs are 2 x 40 MB; what the report needs beside them is counted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.html.large"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    size, memory, _ = map(float, done.stdout.split())
    assert size < 5e6
    assert memory < 500
