"""A DataLoader worker that is killed: a clear error at once, and the run goes on from its last state."""

import json

import pytest

from tests.seams.toys import plainly


@pytest.mark.parametrize("in_passes", [False, True])
def test_a_killed_worker_is_an_error_and_the_run_goes_on_from_the_last_state(tmp_path, in_passes):
    told = json.loads(plainly(f"from tests.faults import dying; dying.play({str(tmp_path)!r}, {in_passes})"))
    assert "DataLoader worker (pid" in told["error"]
    assert "killed by signal: Killed" in told["error"] or "exited unexpectedly" in told["error"]
    assert told["saved"] > 0
    assert 0 < len(told["rest"]) < len(told["whole"])
    assert told["rest"] == told["whole"][-len(told["rest"]) :]
    assert told["equal"]
