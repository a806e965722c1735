"""The gate in a training: a clock that the test moves decides what selection costs."""

import warnings

import pytest
import torch

import samplewise as sw
from samplewise import pickers, signals, trackers
from samplewise.loop.gating import gate_for
from samplewise.policy import Policy

N, BATCH, EPOCHS = 512, 8, 8


class Run:
    """A training in which a row takes `train` seconds with gradient, and `score` without; half in bf16."""

    def __init__(self, clock, method, gate=True, score=0.3, train=1.0, n=N, epochs=EPOCHS, bf16=0.5, **given):
        torch.manual_seed(0)
        self.clock, self.score, self.train, self.bf16 = clock, score, train, bf16
        x, y = torch.randn(n, 4), torch.arange(n) % 3
        data = torch.utils.data.TensorDataset(x, y)
        self.model = torch.nn.Linear(4, 3)
        self.classify = sw.classifier(self.model, head="")
        self.rows, self.said = [], []
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self.selector = sw.Selector(
                method,
                data,
                self.forward,
                model=self.model,
                epochs=epochs,
                batch_size=BATCH,
                gate=gate,
                **given,
            )
        self.said += [str(each.message) for each in said]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)

    def forward(self, batch):
        rows = len(batch[0])
        if torch.is_grad_enabled():
            self.clock.now += self.train * rows
            self.rows.append(rows)
        else:
            fast = self.bf16 if torch.is_autocast_enabled("cpu") else 1
            self.clock.now += self.score * rows * fast
        return self.classify(batch)

    def steps(self):
        """Train to the end."""
        loader = self.selector.loader()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for epoch in range(self.selector.epoch, self.selector.epochs):
                for batch in loader:
                    loss = self.selector.loss(batch)
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()
                    yield epoch
        self.said += [str(each.message) for each in said]

    def finish(self):
        for _ in self.steps():
            pass
        return self


def loss_sampling(keep=0.5):
    return sw.recipes.loss_sampling(keep=keep)


def chosen(run):
    """Whether each step trained on all rows."""
    return [rows == BATCH for rows in run.rows]


def test_selection_that_pays_goes_on_after_its_probation(clock):
    run = Run(clock, loss_sampling(), score=0.1).finish()
    ledger = run.selector.ledger
    assert run.said == []
    assert sum(chosen(run)) == ledger.plain_steps == 28
    assert not any(chosen(run)[56:])
    (decision,) = ledger.decisions
    assert decision["pays"] == decision["selects"] == 1
    assert decision["cost"] == pytest.approx(0.5 + 0.1)
    # 21 plain steps were measured: 8 rows of 1 second each. So the ledger knows ordinary training's time.
    assert (ledger.plain_seconds, ledger.plain_samples) == (168, 168)
    assert "pays, epoch 0" in str(ledger)
    assert ledger.samples_backpropagated == sum(run.rows)


def test_selection_that_costs_more_ends_with_one_warning(clock):
    run = Run(clock, loss_sampling(0.875), score=2.0).finish()
    ledger = run.selector.ledger
    (said,) = run.said
    assert "over 21 narrowed and 21 plain steps in turns" in said
    assert "took 2.88 of a plain one" in said  # 2 a row, and 7 of 8 rows
    assert "Selection ends" in said
    assert ledger.decisions[0]["selects"] == 0
    assert "ended, epoch 0" in str(ledger)
    assert all(chosen(run)[56:])
    assert len(run.rows) == N // BATCH * EPOCHS
    assert ledger.samples_backpropagated == sum(run.rows)
    # Nothing is scored, and nothing is remembered, after it.
    assert ledger.scoring_forwards == 28 * BATCH
    assert ledger.plain_steps == 28


def test_scoring_becomes_cheaper_step_by_step(clock):
    # A narrowed step costs 0.5 + 0.8 of a plain one; in bf16 0.5 + 0.64; in every second epoch 0.5 + 0.32.
    run = Run(clock, loss_sampling(), score=0.8, bf16=0.8).finish()
    ledger = run.selector.ledger
    assert [("bfloat16" in said, "every second epoch" in said) for said in run.said] == [
        (True, False),
        (False, True),
    ]
    costs = [decision["cost"] for decision in ledger.decisions]
    assert costs == pytest.approx([1.3, 1.14, 0.82])
    assert [(d["bf16"], d["every"], d["pays"]) for d in ledger.decisions] == [(1, 1, 0), (1, 2, 0), (1, 2, 1)]
    scoring = run.selector.scoring
    assert (scoring.dtype, scoring.every) == (torch.bfloat16, 2)


def test_a_rung_that_is_not_faster_or_fails_is_left_out(clock):
    slower = Run(clock, loss_sampling(), score=0.8, bf16=1.5).finish()
    assert [(d["bf16"], d["every"]) for d in slower.selector.ledger.decisions] == [(0, 2), (0, 2)]
    # Forward turns autocast off, so bfloat16 would only seem to be on.
    without = Run(clock, loss_sampling(), score=0.8)
    classify = without.classify

    def whole(batch):
        with torch.autocast("cpu", enabled=False):
            return classify(batch)

    without.classify = whole
    without.finish()
    assert [(d["bf16"], d["every"]) for d in without.selector.ledger.decisions] == [(0, 2), (0, 2)]
    assert not any("has no effect" in said for said in without.said)
    broken = Run(clock, loss_sampling(), score=0.8)
    forward = broken.selector.forward

    def refuses(batch):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("not implemented for 'BFloat16'")
        return forward(batch)

    broken.selector.forward = refuses
    broken.finish()
    assert [(d["bf16"], d["every"]) for d in broken.selector.ledger.decisions] == [(0, 2), (0, 2)]


@pytest.mark.parametrize(("n", "epochs"), [(80, 9), (24, 24)])  # of 10 and of 3 batches
def test_the_first_step_of_a_kind_and_of_an_epoch_is_not_measured(clock, n, epochs):
    run = Run(clock, loss_sampling(), score=0.1, n=n, epochs=epochs)
    forward, last = run.selector.forward, [None]

    def settles(batch):
        kind = run.selector.timeline.step.gate.plain, run.selector.epoch
        if kind != last[0]:
            clock.now += 100  # the loader starts, and caches hold other shapes
        last[0] = kind
        return forward(batch)

    run.selector.forward = settles
    run.finish()
    assert [decision["cost"] for decision in run.selector.ledger.decisions] == pytest.approx([0.6])


def test_both_orders_of_a_round_occur(clock):
    run = Run(clock, loss_sampling(), score=0.1).finish()
    rounds = [chosen(run)[i : i + 8] for i in range(0, 56, 8)]
    assert {tuple(kinds) for kinds in rounds} == {(True,) * 4 + (False,) * 4, (False,) * 4 + (True,) * 4}


def test_a_plain_step_is_charged_without_what_selection_adds_to_it(clock):
    run = Run(clock, loss_sampling(), score=0.1, n=512)
    memory = run.selector.engine.memory
    observe = memory.observe

    def slow(*given):
        clock.now += 4
        return observe(*given)

    memory.observe = slow
    run.finish()
    # Of 8 seconds of a plain step: half of the rows, 0.8 of scoring and 4 of observing.
    assert run.selector.ledger.decisions[0]["cost"] == pytest.approx((4 + 0.8 + 4) / 8)


def test_a_small_model_that_scores_stops_with_selection(clock):
    small = torch.nn.Linear(4, 3)

    def small_forward(batch):
        clock.now += 50 * len(batch[0])
        return torch.nn.functional.cross_entropy(small(batch[0]), batch[1], reduction="none")

    scoring = sw.Scoring(scorer=sw.Scorer(small, small_forward))
    run = Run(clock, loss_sampling(), scoring=scoring)
    gate = run.selector.timeline.step.gate
    seen = [(gate.ended, small.weight.sum().item()) for _ in run.steps()]
    after = {weight for ended, weight in seen if ended}
    assert len(after) == 1
    assert len({weight for _, weight in seen}) > 50
    assert "Selection ends" in run.said[0]


def test_what_the_user_set_is_where_the_ladder_begins(clock):
    scoring = sw.Scoring(dtype=torch.bfloat16, every=2)
    run = Run(clock, loss_sampling(), score=3.0, scoring=scoring).finish()
    # Half of 3 seconds in every second epoch, and half of the rows: 0.75 + 0.5.
    assert [decision["cost"] for decision in run.selector.ledger.decisions] == pytest.approx([1.25])
    assert "Selection ends" in run.said[0]


def test_the_margin_must_be_saved(clock):
    run = Run(clock, loss_sampling(), gate=sw.Gate(margin=0.5), score=0.1).finish()
    assert "At most 0.5 was allowed" in run.said[0]
    assert run.selector.ledger.decisions[-1]["selects"] == 0


def test_a_longer_probation_is_kept(clock):
    run = Run(clock, loss_sampling(), gate=sw.Gate(probation=30), score=0.1).finish()
    assert run.selector.ledger.plain_steps == 40


def test_without_a_gate_nothing_is_said_or_saved(clock):
    run = Run(clock, loss_sampling(0.875), gate=False, score=2.0).finish()
    assert not any(chosen(run))
    assert "gate" not in run.selector.state_dict()
    assert not {"plain_steps", "decisions"} & run.selector.ledger.state_dict().keys()


def test_states_with_and_without_a_gate_do_not_mix(clock):
    gated, plain = (Run(clock, loss_sampling(), gate=gate, n=64, epochs=1) for gate in (True, False))
    for run in (gated, plain):
        run.finish()
    with pytest.raises(ValueError, match="the new Selector has a gate and the saved one has none"):
        gated.selector.load_state_dict(plain.selector.state_dict())
    with pytest.raises(ValueError, match="the saved Selector has a gate and the new one has none"):
        plain.selector.load_state_dict(gated.selector.state_dict())
    state = gated.selector.state_dict()
    state["gate"]["unit"] = -1
    with pytest.raises(ValueError, match=r"state\['gate'\]\['unit'\] must be a whole number >= 0, got -1"):
        gated.selector.load_state_dict(state)


def test_epochs_are_compared_for_methods_that_choose_for_epochs(clock):
    # A pass before every epoch costs 0.6 of it, and half of the samples train.
    policy = sw.recipes.uncertainty(keep=0.5, period=1)
    run = Run(clock, policy, score=0.6, n=64, epochs=12).finish()
    ledger = run.selector.ledger
    assert ledger.decisions[0]["cost"] == pytest.approx(1.1)
    assert ledger.decisions[0]["bf16"] == 1
    costly = Run(clock, policy, score=5.0, n=64, epochs=12).finish()
    assert "over 6 epochs, uncertainty took 5.50" in costly.said[0]
    assert "Selection ends" in costly.said[0]
    assert costly.rows == [8] * 4 * 6 + [8] * 8 * 6  # half of 8 batches in 6 epochs, and then all
    assert costly.selector.engine.last_plan.weights is None
    assert costly.selector.ledger.scoring_forwards == 64 * 6  # no pass after it
    cheap = Run(clock, policy, score=0.1, n=64, epochs=12).finish()
    assert cheap.said == []
    assert cheap.selector.ledger.decisions[0]["pays"] == 1
    assert cheap.selector.ledger.plain_steps == 0


def test_a_learning_rate_that_follows_what_is_hidden_goes_back(clock):
    run = Run(clock, sw.recipes.kakurenbo(), score=30.0, n=64, epochs=30).finish()
    assert "Selection ends" in run.said[0]
    assert run.selector.lr_factor(29) == 1


def test_a_period_is_compared_as_a_whole(clock):
    policy = sw.recipes.uncertainty(keep=0.5, period=2)
    run = Run(clock, policy, score=0.6, n=64, epochs=14).finish()
    assert run.selector.ledger.decisions[0]["cost"] == pytest.approx(0.8)


def test_plans_and_batches_together_are_compared_with_ordinary_epochs(clock):
    # The plan keeps 3/4 of 800 samples, and a batch of 8 rows 1/2 of them; 0.2 a row for scores.
    parts = {"batch_picker": pickers.TopK(0.5), "picker": pickers.TopK(0.75), "source": "training"}
    policy = Policy(signals.loss, trackers.Last(), **parts)
    run = Run(clock, policy, score=0.2, n=800, epochs=2).finish()
    (decision,) = run.selector.ledger.decisions
    assert decision["cost"] == pytest.approx(0.75 * (0.5 + 0.2), rel=0.02)


def test_a_method_of_your_own_is_measured_too(clock):
    run = Run(clock, sw.recipes.auto_assist(base=0.3), n=512, epochs=3).finish()
    (decision,) = run.selector.ledger.decisions
    assert 0.3 < decision["cost"] < 1


@pytest.mark.parametrize("method", ["full", "tdds", "random_dynamic", "rs2"])
def test_a_method_that_never_scores_ignores_the_gate_and_says_so_once(clock, method):
    run = Run(clock, method, n=64, epochs=20).finish()
    (said,) = run.said
    assert said.startswith(f"gate is ignored: {method} ")
    assert run.selector.ledger.plain_steps == 0


def test_what_cannot_be_gated_is_refused(clock):
    with pytest.raises(ValueError, match=r"selective_backprop\(.*\) cannot be used with a gate"):
        Run(clock, sw.recipes.selective_backprop(assemble=True))
    step = Run(clock, "full", gate=False).selector.timeline.step
    with pytest.raises(TypeError, match=r"Selector.gate must be True, False or a sw.Gate\(...\), got str"):
        gate_for("yes", step)


def test_a_loop_that_calls_choose_is_told_that_it_is_not_timed():
    selector = sw.Selector(loss_sampling(), 16, epochs=1, gate=True)
    for ids in selector.plan(0).ids.split(4):
        selector.observe(ids, torch.rand(4))
        selector.choose(ids)
    with pytest.warns(UserWarning, match=r"selects on without a gate: the loop calls selector\.choose"):
        selector.set_epoch(1)


def test_epochs_of_two_batches_are_too_short_and_are_told(clock):
    run = Run(clock, loss_sampling(), n=16, epochs=40).finish()
    (said,) = run.said
    assert "too few steps could be timed" in said
    assert run.selector.ledger.plain_steps == 28


def test_micro_batches_of_one_optimizer_step_are_of_one_kind(clock):
    run = Run(clock, loss_sampling(), gate=sw.Gate(accumulate=4), score=0.1, epochs=5).finish()
    kinds = chosen(run)
    assert sum(kinds) == 4 * 28
    # Every epoch of 64 batches begins with an optimizer step.
    assert all(len(set(kinds[i : i + 4])) == 1 for i in range(0, len(kinds), 4))
