"""Predictions are those of a training, under a clock that moves by known seconds."""

import numpy as np
import pytest
import torch
from torch import nn

import samplewise as sw
from samplewise.advice.costs import Spent, Times, ordinary, spent, static
from samplewise.advice.measuring import Measured, saved_bytes
from samplewise.advice.rehearsal import Rehearsal, Work, rehearse, scoring_run
from samplewise.cost.ledger import Ledger
from tests.advice.toys import B, N, Slow

EXACT = ["random_batch", "loss_sampling", "random_dynamic", "ucb:period=2", "eswp"]


@pytest.mark.parametrize(("method", "n"), [*((method, N) for method in EXACT), ("loss_sampling", N + 5)])
def test_a_prediction_is_the_time_of_a_training(method, n):
    slow = Slow(n=n)
    row = next(row for row in slow.advise(methods=[method], epochs=4).rows if row.name in names(method))
    policy = sw.recipes.parse(method)
    whole, took = Slow(n=n).train("full", 4), Slow(n=n).train(policy, 4)
    assert row.seconds == pytest.approx(took, rel=3e-3 if n == N else 1e-2)
    assert row.saved == pytest.approx(1 - took / whole, abs=3e-3 if n == N else 1e-2)
    assert row.low <= row.saved + 1e-9 <= row.high + 2e-9


def names(method):
    return (method, f"{method} (full)")


def test_with_many_samples_the_stand_in_has_fewer_and_the_prediction_holds():
    n = 16 * B * 2
    slow = Slow(n=n)
    rows = {row.name: row for row in slow.advise(methods=["random:keep=0.5", "loss_sampling"], epochs=4).rows}
    whole = Slow(n=n).train("full", 4)
    assert rows["loss_sampling (full)"].saved == pytest.approx(
        1 - Slow(n=n).train("loss_sampling", 4) / whole, abs=3e-3
    )
    assert rows["random:keep=0.5"].saved == pytest.approx(0.5, abs=1e-6)


def test_every_second_epoch_scores_and_the_prediction_says_so():
    rows = {row.name: row for row in Slow().advise(methods=["loss_sampling"], epochs=6).rows}
    took = Slow().train("loss_sampling", 6, sw.Scoring(every=2))
    assert rows["loss_sampling (every=2)"].seconds == pytest.approx(took, rel=5e-3)
    assert rows["loss_sampling (every=2)"].seconds < rows["loss_sampling (full)"].seconds


def test_a_method_that_depends_on_losses_is_marked_and_others_are_not():
    rows = Slow().advise(methods=["infobatch", "loss_sampling", "kakurenbo", "ucb"], epochs=6).rows
    marked = {row.method for row in rows if row.assumed}
    assert marked == {"infobatch", "kakurenbo"}


# -------------------------------------------------------------------------------- arithmetic

STEP = {4: 3.0, 8: 4.0, 16: 7.0}


def measured(workers=False, rounds=5, **more):
    seconds = {"load": 2.0, "forward": 2.0, "backward": 4.0, "optimizer": 1.0, "take": 0.5, "learning": 7.25}
    seconds |= {f"step {k}": value for k, value in STEP.items()} | {"score full": 1.5, "score at": 0.5}
    seconds |= {"alone": 6.0} if workers else {}
    arrays = {name: np.full(rounds, value) for name, value in (seconds | more).items()}
    return Measured(arrays, (4, 8, 16), 1000, ("loss",), (None, None))


def rehearsal(work, epochs=1, rows=32, selecting=0.0):
    return Rehearsal(work, epochs, rows, 0.0, selecting, (((4,), 4), ((), 1)), 8, Ledger())


FULL = rehearsal({Work(16, 0, 16): 2})


@pytest.mark.parametrize(("rows", "seconds"), [(16, 7.0), (8, 4.0), (12, 5.5), (6, 3.5), (2, 2.5), (20, 8.5)])
def test_steps_lie_on_the_line_between_two_measured_ones(rows, seconds):
    assert Times(measured(), 32, 16).step(rows)[0] == pytest.approx(seconds)


def test_an_epoch_is_the_sum_of_its_parts():
    times = Times(measured(), 64, 16)
    # Two epochs of 32 samples: 3 steps that score 16 rows and train 4, one that does not, and a pass.
    work = {Work(16, 16, 4): 3, Work(16, 0, 16): 1, Work(32, 32, 0): 1}
    found = spent(times, rehearsal(work, epochs=2, selecting=1.0), 0.2, "full")
    assert found.loading[0] == pytest.approx(4 * 2.0 + 2 * 2.0)
    assert found.training[0] == pytest.approx(3 * 3.0 + 7.0)
    assert found.scoring[0] == pytest.approx(3 * 1.5 + 2 * 1.5)
    assert found.selecting[0] == pytest.approx(3 * 0.5 * 4 / 8 + (1.0 - 4 * 0.2))
    assert found.trained == pytest.approx((3 * 4 + 16) / 64)
    assert ordinary(times, FULL).total[0] == pytest.approx(4 * (2.0 + 7.0))


def test_what_takes_back_adds_up_to_what_is_not_saved():
    times = Times(measured(), 64, 16)
    usual = ordinary(times, FULL)
    for found in (
        spent(times, rehearsal({Work(16, 16, 4): 2}, selecting=0.3), 0.1, "full"),
        static(times, 0.25, 0.5, usual),
    ):
        saved = 1 - found.total[0] / usual.total[0]
        assert 1 - found.trained - sum(found.takes_back(usual).values()) == pytest.approx(saved)
    assert found.takes_back(usual)["the scoring run"] == pytest.approx(0.5)
    assert found.takes_back(usual)["loading"] == found.takes_back(usual)["small steps"] == 0


def test_workers_load_while_the_model_works():
    slow = Times(measured(workers=True, load=9.0), 32, 16, workers=2)
    assert ordinary(slow, FULL).loading[0] == pytest.approx(2 * (9.0 - 7.0))
    quick = Times(measured(workers=True), 32, 16, workers=2)
    assert ordinary(quick, FULL).loading[0] == 0
    # A pass has no workers of its own.
    found = spent(quick, rehearsal({Work(16, 0, 16): 2, Work(32, 32, 0): 1}), 0.0, "full")
    assert found.loading[0] == pytest.approx(2 * 6.0)
    scored = spent(slow, rehearsal({Work(16, 16, 4): 2}), 0.0, "full")
    assert scored.loading[0] == pytest.approx(2 * (9.0 - 3.0 - 1.5))


def test_a_head_learns_in_every_step():
    times = Times(measured(), 32, 16)
    work = rehearsal({Work(16, 16, 4): 1, Work(16, 0, 16): 1})
    assert spent(times, work, 0.0, "at").scoring[0] == pytest.approx(0.5 + 2 * 0.25)


def test_the_last_batch_of_a_small_stand_in_counts_as_a_part_of_a_whole_one():
    times = Times(measured(), 320, 16)
    found = spent(times, rehearsal({Work(16, 0, 16): 1, Work(8, 0, 8): 1}, rows=32), 0.0, "")
    assert found.training[0] == pytest.approx(10 * 1.5 * 7.0)
    narrow = spent(times, rehearsal({Work(8, 8, 2): 2}, rows=32), 0.0, "full")
    assert narrow.training[0] == pytest.approx(10 * 2 * 0.5 * 3.0)
    assert narrow.scoring[0] == pytest.approx(10 * 1.5)
    exact = spent(Times(measured(), 32, 16), rehearsal({Work(8, 0, 8): 1}, rows=32), 0.0, "")
    assert exact.training[0] == pytest.approx(4.0)


def test_the_interval_is_that_of_the_rounds():
    """The median of two equally likely values is one of them or the middle."""
    loads = np.array([1.0, 3.0] * 10)
    seconds = dict(measured(rounds=20).seconds) | {"load": loads}
    found = Times(Measured(seconds, (4, 8, 16), 0, (), (None, None)), 32, 16).of("load")
    assert found[0] == 2.0
    assert set(found) == {1.0, 2.0, 3.0}


def test_all_quantities_of_a_draw_are_of_the_same_rounds():
    speed = np.linspace(1, 2, 9)
    seconds = {name: speed * values[0] for name, values in measured(rounds=9).seconds.items()}
    times = Times(Measured(seconds, (4, 8, 16), 0, (), (None, None)), 32, 16)
    share = 1 - spent(times, rehearsal({Work(16, 16, 4): 2}), 0.0, "full").total / ordinary(times, FULL).total
    assert np.ptp(share) < 1e-12
    assert np.ptp(ordinary(times, FULL).total) > 1


# --------------------------------------------------------------------------------- rehearsal


def test_a_rehearsal_counts_what_a_method_does():
    found = rehearse(sw.recipes.loss_sampling(keep=0.25), 3, 40, 16)
    assert found.work == {Work(16, 16, 4): 6, Work(8, 8, 2): 3}
    assert found.steps == 9
    passes = rehearse(sw.recipes.ucb(keep=0.5, period=2), 4, 32, 16)
    assert passes.work == {Work(32, 32, 0): 2, Work(16, 0, 16): 4}
    every = rehearse(sw.recipes.loss_sampling(keep=0.25), 4, 32, 16, sw.Scoring(every=2))
    assert every.work == {Work(16, 16, 4): 4, Work(16, 0, 4): 4}
    assert 0 < found.selecting < found.seconds


def test_the_bytes_are_those_of_the_memory():
    infobatch = rehearse(sw.recipes.infobatch(), 3)
    assert infobatch.bytes_a_sample() == 4 + 4 + 4  # loss, counts of selections, weights
    wide = rehearsal({}).bytes_a_sample({4: 100})
    assert wide == 4 * 100 + 1 + 8
    assert rehearsal({}).bytes_a_sample() == 4 * 4 + 1 + 8


def test_a_rehearsal_draws_from_no_global_generator_and_is_the_same_again():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = rehearse(sw.recipes.infobatch(), 4)
    scoring_run(sw.recipes.aum(), 4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert rehearse(sw.recipes.infobatch(), 4).work == one.work


def test_a_scoring_run_lasts_until_the_score_is_final():
    assert scoring_run(sw.recipes.grand(at=2, keep=0.5), 8) == (0.5, 2)
    assert scoring_run(sw.recipes.aum(keep=0.3), 8) == (0.3, 8)
    assert scoring_run(sw.recipes.random(keep=0.3), 8) == (0.3, 0)


# ------------------------------------------------------------------------------------ memory


def test_activations_are_what_backward_needs():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(16, 6)
    # The input of each linear layer; the result of the ReLU is the input of the second.
    assert saved_bytes(model, lambda: model(x).sum()) == 4 * 16 * (6 + 8)
    with torch.no_grad():
        assert saved_bytes(model, lambda: model(x).sum()) == 0


def test_a_row_has_the_bytes_of_its_state_and_of_its_largest_step():
    rows = {row.name: row for row in Slow().advise(methods=["infobatch", "random_batch"], epochs=4).rows}
    assert rows["infobatch"].state_bytes == 12 * N
    assert rows["random_batch"].step_bytes == pytest.approx(rows["full"].step_bytes / 4, abs=1)
    assert rows["full"].step_bytes == rows["infobatch"].step_bytes > 4 * B * 6


def test_nothing_is_saved_where_nothing_can_be():
    found = Slow(read=100.0).advise(methods=["loss_sampling"], epochs=4)
    assert found.best.method == "full" or found.best.saved < 0.05
    assert any(note.startswith("Loading takes 9") for note in found.notes)
    assert Spent(*[np.zeros(1)] * 5, 1.0).total[0] == 0
