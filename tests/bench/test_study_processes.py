"""Studies in several processes: Ctrl-C and a killed process end them at once, and say one thing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.fake import FakeTrainer, study

LONG = """
import signal
import sys
from pathlib import Path

from tests.bench.test_study_processes import Slow, study

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background ignores it
    try:
        study(Path(sys.argv[1]), trainer=Slow(sys.argv[1])).run(jobs=2)
    except KeyboardInterrupt:
        print("interrupted")
"""


class Slow(FakeTrainer):
    """Its runs note that they have begun, and take minutes."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def run(self, job, on_step):
        Path(self.folder, f"begun-{os.getpid()}").touch()
        time.sleep(300)


class Dying(FakeTrainer):
    def run(self, job, on_step):
        os._exit(9)


def test_ctrl_c_ends_all_processes_without_a_traceback(tmp_path):
    script = tmp_path / "long.py"
    script.write_text(LONG)
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "src")])
    running = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while len(begun := list(tmp_path.glob("begun-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        said, errors = running.communicate(timeout=20)
    finally:
        running.kill()
    assert (said, errors, len(begun)) == ("interrupted\n", "", 2)
    for path in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name.removeprefix("begun-")), 0)


def test_a_killed_process_is_one_error_that_says_how_to_continue(tmp_path):
    with pytest.raises(ValueError, match=r"a process of the study was killed.*the same command continues"):
        study(tmp_path, trainer=Dying()).run(jobs=2)
