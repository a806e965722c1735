"""The account: cost in forward units, shares saved, and where the ordinary run's time comes from."""

import pytest

from samplewise.cost.ledger import STAGES, Ledger


def account(**given):
    ledger = Ledger()
    for name, value in given.items():
        setattr(ledger, name, value)
    return ledger


def test_a_forward_costs_one_and_a_backward_two():
    ledger = account(
        training_forwards=10, samples_backpropagated=10, scoring_forwards=40, ordinary_samples=40.0
    )
    assert ledger.cost == 10 + 40 + 2 * 10
    assert ledger.ordinary_cost == 120
    assert ledger.cost_share == pytest.approx(70 / 120)
    assert ledger.promised == pytest.approx(50 / 120)


def test_training_counts_forward_and_backward():
    ledger = Ledger()
    ledger.trained(8)
    assert (ledger.training_forwards, ledger.samples_backpropagated, ledger.cost) == (8, 8, 24)


def test_an_account_that_has_not_begun_saves_nothing():
    ledger = Ledger()
    assert (ledger.cost_share, ledger.promised, ledger.wall, ledger.overhead) == (1.0, 0.0, 0, 0.0)
    assert (ledger.realised, ledger.baseline) == (None, "not measured")
    assert tuple(ledger.seconds) == STAGES == ("data", "scoring", "selecting", "training")


def test_the_time_of_ordinary_training_is_given_or_estimated_or_not_known():
    ledger = account(ordinary_samples=100.0, seconds=dict.fromkeys(STAGES, 1.5))
    assert ledger.wall == 6.0
    assert ledger.overhead == 0.5
    assert (ledger.baseline, ledger.realised) == ("not measured", None)
    ledger.plain_seconds, ledger.plain_samples = 2.0, 20
    assert ledger.baseline == "estimated"
    assert ledger.realised == pytest.approx(1 - 6.0 / 10.0)
    ledger.baseline_seconds = 24.0
    assert ledger.baseline == "given"
    assert ledger.realised == pytest.approx(0.75)


def test_the_table_says_all_of_it():
    ledger = account(samples_backpropagated=12345, ordinary_samples=20000.0, baseline_seconds=2.0)
    ledger.seconds["training"] = 1.0
    said = str(ledger)
    assert "12,345" in said
    assert "saved by wall clock" in said
    assert "50.0% (given)" in said
    assert "not measured" in str(Ledger())
    assert len({len(line) for line in said.splitlines()}) == 1


def test_an_account_continues_from_its_state():
    ledger = account(scoring_forwards=7, baseline_seconds=3.0)
    ledger.trained(5)
    ledger.seconds["data"] = 0.25
    other = Ledger()
    other.load_state_dict(ledger.state_dict())
    assert vars(other) == vars(ledger)
    other.seconds["data"] += 1
    assert ledger.seconds["data"] == 0.25


def test_one_rank_takes_over_the_account_of_two_with_its_proxy():
    ledger = Ledger()
    ledger.proxy, ledger.proxy_share = True, 0.25
    ledger.trained(10)
    ledger.proxy_scoring_forwards = 6
    before = ledger.cost
    ledger.rescale(2.0)
    assert ledger.proxy_scoring_forwards == 12
    assert ledger.cost == 2 * before == 2 * (30 + 0.25 * (30 + 6))
