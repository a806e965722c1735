"""`PromptSelector` against loops in plain Python and its laws."""

import copy
import math
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.prompts import PromptLedger
from samplewise.rng import seed_of

N, BATCH, GROUP = 23, 5, 4


def rates(n=N):
    """A known pass rate for each prompt: some never pass, some always do."""
    return [(0.0, 1.0, 0.5, 0.2, 0.9)[i % 5] for i in range(n)]


def roll_out(ids, step, g=GROUP):
    """Rewards (b, g), the same for the same id and step."""
    chances = rates()
    return torch.tensor(
        [
            [float(random.Random(f"{step} {i} {k}").random() < chances[i]) for k in range(g)]
            for i in ids.tolist()
        ]
    ).reshape(len(ids), g)


def trained(selector, steps, begin=0, replace=True):
    """The ids of every round of some steps."""
    rounds = []
    for step in range(begin, steps):
        ids = selector.plan(step)
        while len(ids):
            rounds.append(ids.tolist())
            selector.observe(ids, roll_out(ids, step))
            ids = selector.replacements() if replace else ids[:0]
    return rounds


class Plain:
    """The same selector, one prompt after the other, from the same random numbers. Counts are float32."""

    def __init__(self, n, batch, discount=0.5, fade=1.0, prior=(1.0, 1.0), draw="thompson", tries=3, seed=0):
        self.n, self.batch, self.discount, self.fade = n, batch, discount, fade
        self.prior, self.draw, self.tries, self.seed = prior, draw, tries, seed
        self.passes, self.fails, self.times = [np.float32(0)] * n, [np.float32(0)] * n, [0] * n
        self.step, self.seen, self.planned, self.rounds = None, {}, [], 0

    def take(self, k):
        rng = np.random.Generator(np.random.PCG64(seed_of(self.seed, self.step, "prompts", self.rounds)))
        pool = [i for i in range(self.n) if i not in self.planned]
        gaps = {}
        if self.draw != "uniform":
            for i in pool:
                alpha = self.prior[0] + float(self.passes[i])
                beta = self.prior[1] + float(self.fails[i])
                rate = rng.beta(alpha, beta) if self.draw == "thompson" else alpha / (alpha + beta)
                gaps[i] = abs(rate - 0.5)
        order = [pool[place] for place in rng.permutation(len(pool))]
        chosen = order[:k]
        if gaps and k < len(order):  # of equal gaps the first of the order
            chosen = sorted(order, key=lambda i: gaps[i])[:k]
            chosen = [i for i in order if i in chosen]
        self.planned += chosen
        self.rounds += 1
        for i in chosen:
            self.times[i] += 1
        return chosen

    def plan(self, step):
        if self.step is not None:
            for i, group in self.seen.items():
                good = np.float32(sum(group))
                self.passes[i] = np.float32(self.discount) * self.passes[i] + good
                self.fails[i] = np.float32(self.discount) * self.fails[i] + (len(group) - good)
            left = np.float32(self.fade ** ((step - self.step) * self.batch / self.n))
            self.passes = [left * count for count in self.passes]
            self.fails = [left * count for count in self.fails]
        self.step, self.seen, self.planned, self.rounds = step, {}, [], 0
        return self.take(self.batch)

    def observe(self, ids, rewards):
        self.seen |= dict(zip(ids, rewards, strict=True))
        return [0 < sum(group) < len(group) for group in rewards]

    def replacements(self):
        useful = sum(0 < sum(group) < len(group) for group in self.seen.values())
        if useful >= self.batch or self.rounds > self.tries:
            return []
        return self.take(self.batch - useful)


@pytest.mark.parametrize("draw", ["thompson", "mean", "uniform"])
@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"fade": 0.25, "discount": 1.0},
        {"fade": 0.9, "discount": 0.0, "prior": (0.5, 2.0), "tries": 1, "seed": 7},
    ],
)
def test_it_does_what_plain_loops_do(draw, numbers):
    mine = sw.PromptSelector(N, BATCH, draw=draw, **numbers)
    plain = Plain(N, BATCH, draw=draw, **numbers)
    steps = (0, 1, 2, 5, 6, 7, 8, 11)
    for step in steps:
        ids, expected = mine.plan(step), plain.plan(step)
        while len(ids):
            assert ids.tolist() == expected
            rewards = roll_out(ids, step)
            useful = mine.observe(ids, rewards)
            assert useful.tolist() == plain.observe(expected, rewards.int().tolist())
            ids, expected = mine.replacements(), plain.replacements()
        assert expected == []
    mine.plan(steps[-1] + 1)
    plain.plan(steps[-1] + 1)
    table = mine.table()
    prior = numbers.get("prior", (1.0, 1.0))
    torch.testing.assert_close(
        table["alpha"], prior[0] + torch.tensor(plain.passes).double(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        table["beta"], prior[1] + torch.tensor(plain.fails).double(), rtol=1e-5, atol=0
    )
    assert table.times_selected.tolist() == plain.times


@pytest.mark.parametrize("draw", ["thompson", "mean"])
def test_prompts_near_one_half_are_chosen_more(draw):
    selector = sw.PromptSelector(N, BATCH, draw=draw)
    trained(selector, 60, replace=False)
    times = selector.table().times_selected.double()
    half = torch.tensor(rates()) == 0.5
    assert times[half].mean() > 3 * times[~half].mean()
    assert (times > 0).all()


def test_uniform_draws_do_not_look_at_rewards():
    selector = sw.PromptSelector(N, BATCH, draw="uniform")
    trained(selector, 400, replace=False)
    times = selector.table().times_selected
    expected = 400 * BATCH / N
    assert (times - expected).abs().max() < 5 * math.sqrt(expected)


def test_no_prompt_comes_twice_in_a_step_and_the_budget_is_exact():
    selector = sw.PromptSelector(N, BATCH, tries=2)
    made = 0
    for step in range(30):
        ids, had = selector.plan(step), []
        assert len(ids) == BATCH
        useful, rounds = 0, 0
        while len(ids):
            assert rounds == 0 or len(ids) == min(BATCH - useful, N - len(had))
            had += ids.tolist()
            useful += int(selector.observe(ids, roll_out(ids, step)).sum())
            rounds += 1
            ids = selector.replacements()
        assert len(set(had)) == len(had)
        assert useful == BATCH or rounds == 3 or len(had) == N
        made += GROUP * len(had)
    assert selector.ledger.rollouts == made


def test_a_step_that_runs_out_of_prompts_ends():
    selector = sw.PromptSelector(4, 3, tries=50)
    ids, had = selector.plan(0), []
    while len(ids):
        had += ids.tolist()
        selector.observe(ids, torch.zeros(len(ids), 2))
        ids = selector.replacements()
    assert sorted(had) == [0, 1, 2, 3]
    assert sw.PromptSelector(3, 3).plan(0).sort().values.tolist() == [0, 1, 2]


def test_planning_again_gives_the_same_ids_and_counts_once():
    selector = sw.PromptSelector(N, BATCH)
    own = selector.plan(3)
    first = own.clone()
    own[:] = 0  # the caller's own copy
    assert torch.equal(selector.plan(3), first)
    selector.observe(first, torch.zeros(BATCH, 2))
    more = selector.replacements()
    again = selector.replacements()  # nothing was observed between
    assert torch.equal(again, more)
    again[:] = 0
    assert torch.equal(selector.replacements(), more)
    assert torch.equal(selector.plan(3), first)
    assert selector.table().times_selected.sum() == 2 * BATCH
    assert (selector.ledger.steps, selector.step) == (1, 3)


def test_the_seed_and_the_step_decide():
    one, same, other = (sw.PromptSelector(N, BATCH, seed=seed) for seed in (0, 0, 1))
    first = one.plan(0)
    assert torch.equal(same.plan(0), first)
    assert not torch.equal(other.plan(0), first)
    assert not torch.equal(sw.PromptSelector(N, BATCH).plan(1), first)


NUMPY = """
import numpy as np, samplewise as sw
plain = sw.PromptSelector(23, 5, seed=2, discount=1.0, fade=1.0, success=1.0)
given = sw.PromptSelector(np.int64(23), np.int32(5), seed=np.int64(2), discount=1, fade=1,
                          prior=(np.float64(1), 1), success=np.float32(1), tries=np.int8(3))
assert repr(given) == repr(plain)
assert given.plan(np.int64(3)).tolist() == plain.plan(3).tolist()
sw.save("state.pt", given.state_dict())
plain.load_state_dict(sw.load("state.pt"))
"""


def test_numbers_of_numpy_are_numbers(tmp_path):
    """In a process of its own: the shape checker of the tests takes no number of NumPy for an int."""
    subprocess.run([sys.executable, "-c", NUMPY], check=True, cwd=tmp_path)


def test_no_global_generator_is_read_or_changed():
    selector, rewards = sw.PromptSelector(N, BATCH), torch.zeros(BATCH, 2)
    numpy = repr(np.random.get_state())  # noqa: NPY002 - read, not drawn from
    before = torch.get_rng_state()
    selector.observe(selector.plan(0), rewards)
    selector.replacements()
    assert torch.equal(torch.get_rng_state(), before)
    assert repr(np.random.get_state()) == numpy  # noqa: NPY002


@settings(max_examples=20)
@given(st.integers(0, 40), st.booleans())
def test_a_resume_in_the_middle_changes_nothing(cut, through_a_file):
    whole_run = sw.PromptSelector(N, BATCH, fade=0.7)
    expected = trained(whole_run, 8)
    selector, rounds, calls = sw.PromptSelector(N, BATCH, fade=0.7), [], 0

    def maybe_again(selector):
        nonlocal calls
        calls += 1
        if calls - 1 != cut:
            return selector
        state = selector.state_dict()
        if through_a_file:
            state = copy.deepcopy(state)
        made = sw.PromptSelector(N, BATCH, fade=0.7)
        made.load_state_dict(state)
        trained(selector, 20, begin=selector.step or 0)  # the old one goes on: nothing may be shared
        return made

    for step in range(8):
        selector = maybe_again(selector)
        ids = selector.plan(step)
        while len(ids):
            selector = maybe_again(selector)
            rounds.append(ids.tolist())
            selector.observe(ids, roll_out(ids, step))
            selector = maybe_again(selector)
            ids = selector.replacements()
    assert rounds == expected
    assert selector.ledger == whole_run.ledger
    assert torch.equal(selector.table()["alpha"], whole_run.table()["alpha"])


def test_a_resumed_step_asks_again_for_what_was_not_observed(tmp_path):
    selector = sw.PromptSelector(N, BATCH)
    ids = selector.plan(0)
    selector.observe(ids[:3], roll_out(ids[:3], 0))
    sw.save(tmp_path / "state.pt", selector.state_dict())
    again = sw.PromptSelector(N, BATCH)
    again.load_state_dict(sw.load(tmp_path / "state.pt"))
    assert again.ledger == selector.ledger
    assert again.ledger.rollouts == 3 * GROUP
    assert torch.equal(again.replacements(), ids[3:])
    assert torch.equal(again.plan(0), ids)
    assert pickle.loads(pickle.dumps(again)).ledger == selector.ledger


def test_a_group_may_come_in_parts():
    whole, parts = sw.PromptSelector(N, BATCH), sw.PromptSelector(N, BATCH)
    ids = whole.plan(0)
    assert torch.equal(parts.plan(0), ids)
    rewards = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]])
    assert parts.observe(ids, rewards[:, :2]).tolist() == [False, False, False, False, True]
    assert torch.equal(parts.observe(ids, rewards[:, 2:]), whole.observe(ids, rewards))
    assert parts.ledger == whole.ledger
    assert torch.equal(parts.table()["alpha"], whole.table()["alpha"])
    assert torch.equal(parts.replacements(), whole.replacements())


def test_the_ledger_counts_rollouts():
    selector = sw.PromptSelector(N, 3)
    ids = selector.plan(0)
    selector.observe(ids, torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]))
    assert selector.ledger == PromptLedger(1, 0, 3, 12, 2, 8, 0, 0, 0)
    more = selector.replacements()
    selector.observe(more, torch.tensor([[0, 1], [1, 0]]))
    assert selector.ledger == PromptLedger(1, 1, 5, 16, 2, 8, 2, 4, 0)
    ids = selector.plan(1)
    selector.observe(ids[:1], torch.tensor([[0.0, 1.0]]))
    assert selector.ledger == PromptLedger(2, 1, 6, 18, 2, 8, 2, 4, 2)
    printed = str(selector.ledger)
    assert "without variance" in printed
    assert "8 (44.4%)" in printed
    assert "<table>" in selector.ledger._repr_html_()


def test_the_table_has_the_posterior_and_nan_for_the_unknown(tmp_path):
    selector = sw.PromptSelector(4, 2, prior=(2.0, 1.0))
    ids = selector.plan(0)
    selector.observe(ids, torch.tensor([[1, 1, 1], [0, 1, 0]]))
    table = selector.table()
    first, second = ids.tolist()
    assert (table["alpha"][first], table["beta"][first]) == (5, 1)
    assert (table["alpha"][second], table["beta"][second]) == (3, 3)
    assert (table["pass_rate"][first], table["pass_rate"][second]) == (5 / 6, 1 / 2)
    assert int(table["pass_rate"].isnan().sum()) == 2
    table.to_parquet(tmp_path / "prompts.parquet")
    again = sw.ScoreTable.read(tmp_path / "prompts.parquet")
    assert again.provenance["rollouts"]["rollouts"] == 6
    assert again.times_selected.tolist() == table.times_selected.tolist()


def test_success_is_for_the_posterior_and_variance_for_the_rewards():
    selector = sw.PromptSelector(N, 2, success=0.5)
    ids = selector.plan(0)
    useful = selector.observe(ids, torch.tensor([[0.5, 0.9], [0.2, 0.2]], dtype=torch.bfloat16))
    assert useful.tolist() == [True, False]
    table = selector.table()
    assert table["alpha"][ids].tolist() == [3, 1]
    assert table["beta"][ids].tolist() == [1, 3]


def test_it_takes_12_bytes_a_prompt():
    state = sw.PromptSelector(1000, 10).state_dict()
    columns = [value for value in state.values() if isinstance(value, torch.Tensor)]
    assert sum(column.nbytes for column in columns) == 12 * 1000


@pytest.mark.filterwarnings("error")
def test_a_step_without_rewards_warns():
    selector = sw.PromptSelector(N, BATCH)
    selector.plan(0)
    with pytest.warns(UserWarning, match="no reward of step 0 was observed"):
        selector.plan(1)
