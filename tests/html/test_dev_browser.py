"""`./dev test` installs the browser on a fresh CI machine, and nowhere else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "cksum", "dirname", "env", "grep", "echo")


@pytest.fixture
def machine(tmp_path):
    """A checkout with nothing but `dev`, and programs that only note how they were called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in TOOLS:
        (programs / name).symlink_to(shutil.which(name))
    shutil.copy(ROOT / "dev", tmp_path / "dev")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    program(programs / "id", "echo ${TEST_USER:-0}")
    program(programs / "apt-get", f'echo "$@" >>{tmp_path}/asked\nexit ${{TEST_FAILS:-0}}')
    program(programs / "no-python", "exit 1")
    return tmp_path


def program(path, code):
    path.write_text(f"#!{shutil.which('bash')}\n{code}\n")
    path.chmod(0o755)


def found_by(machine, **environment):
    """What `./dev test` says until it looks for Python, and what it asked of apt-get."""
    given = {"PATH": str(machine / "bin"), "PYTHON": "no-python", "HOME": os.environ["HOME"], **environment}
    done = subprocess.run([machine / "dev", "test"], env=given, capture_output=True, text=True, check=False)
    assert "no-python must be Python 3.11 or newer" in done.stderr
    asked = machine / "asked"
    return done.stderr, asked.read_text().splitlines() if asked.exists() else []


def test_a_fresh_ci_machine_gets_the_browser(machine):
    said, asked = found_by(machine, CI="true")
    assert "installing chromium" in said
    assert asked == ["-qq update", "-qq install -y chromium chromium-driver"]


def test_a_failed_installation_is_a_message(machine):
    said, asked = found_by(machine, CI="true", TEST_FAILS="100")
    assert "tests of reports in a browser are skipped" in said
    assert asked == ["-qq update"]


@pytest.mark.parametrize("environment", [{}, {"CI": "false"}, {"CI": "true", "TEST_USER": "1000"}])
def test_elsewhere_nothing_is_installed(machine, environment):
    assert found_by(machine, **environment)[1] == []


def test_a_browser_that_is_there_is_taken(machine):
    for name in ("chromium", "chromedriver"):
        program(machine / "bin" / name, "exit 0")
    assert found_by(machine, CI="true")[1] == []


def test_a_machine_without_apt_is_left_alone(machine):
    (machine / "bin" / "apt-get").unlink()
    assert found_by(machine, CI="true")[1] == []
