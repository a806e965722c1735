"""Another, small model scores: the choices, the training beside the model, and what it leaves alone."""

import copy
import io
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from tests.ranks import on_ranks
from tests.seams.toys import (
    CLASSES,
    N,
    Net,
    Plain,
    Tensors,
    flat,
    forward_of,
    make,
    random_states,
    step,
    train,
)


class Small(nn.Module):
    """A linear classifier, so that its gradients can be written down."""

    def __init__(self, seed=5):
        super().__init__()
        torch.manual_seed(seed)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.fc(x / N)


def outputs_of(model):
    def forward(batch):
        logits = model(batch[0])
        return sw.Outputs(F.cross_entropy(logits, batch[1], reduction="none"), logits, batch[1])

    return forward


def with_scorer(policy, small=None, *, model=None, scoring=None, epochs=4, **more):
    small = Small() if small is None else small
    settings = {"every": more.pop("every", 1), "lr": more.pop("lr", 0.5), "optimizer": torch.optim.SGD}
    scorer = sw.Scorer(small, outputs_of(small), **settings)
    scoring = sw.Scoring(scorer=scorer, **(scoring or {}))
    model = Plain() if model is None else model
    return make(policy, model=model, scoring=scoring, epochs=epochs, **more)


def by_hand(batches, every, momentum, keep):
    """The loop with two models in plain torch and Python: chosen ids by step, and both models at the end."""
    data, large, small = Tensors(), Plain(), Small()
    gradient_of = {}
    velocity = {name: torch.zeros_like(value) for name, value in small.named_parameters()}
    optimizer = torch.optim.SGD(large.parameters(), lr=0.05)
    chosen = []
    for number, ids in enumerate(batches):
        x, y = torch.stack([data[i][0] for i in ids]), torch.tensor([int(data[i][1]) for i in ids])
        with torch.no_grad():
            scores = F.cross_entropy(small(x), y, reduction="none").tolist()
        rows = sorted(sorted(range(len(ids)), key=lambda row: -scores[row])[: round(keep * len(ids))])
        chosen.append([ids[row] for row in rows])
        if number % every == 0:
            error = (small(x).softmax(1) - F.one_hot(y, CLASSES)).detach() / len(ids)
            gradient_of = {"fc.weight": error.T @ (x / N), "fc.bias": error.sum(0)}
            with torch.no_grad():
                for name, value in small.named_parameters():
                    velocity[name] = momentum * velocity[name] + gradient_of[name]
                    value -= 0.5 * velocity[name]
        optimizer.zero_grad()
        F.cross_entropy(large(x[rows]), y[rows]).backward()
        optimizer.step()
    return chosen, large, small


def told(selector, model, lr=0.05):
    """Train to the end: the ids that came and the ids that were trained, by step."""
    optimizer, came, trained = torch.optim.SGD(model.parameters(), lr=lr), [], []
    for _ in range(selector.epoch, selector.epochs):
        for batch in selector.loader():
            came.append(batch.ids.tolist())
            kept = selector.narrow(batch)
            trained.append(kept.ids.tolist())
            loss = selector.reduce(selector.forward(kept.data))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return came, trained


@pytest.mark.parametrize("every", [1, 3])
def test_choices_and_both_models_equal_a_loop_written_by_hand(every):
    small = Small()
    scorer = sw.Scorer(
        small,
        forward_of(small),
        every=every,
        lr=0.5,
        optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    )
    selector, model = make(sw.recipes.ordered_sgd(keep=0.5), model=Plain(), scoring=sw.Scoring(scorer=scorer))
    came, trained = told(selector, model)
    chosen, large, other = by_hand(came, every, 0.9, 0.5)
    assert trained == chosen
    for mine, other_one in ((model, large), (small, other)):
        for one, two in zip(mine.parameters(), other_one.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_loss_and_narrow_give_the_same_training():
    found = []
    for one_call in (True, False):
        selector, model = with_scorer(sw.recipes.ordered_sgd(keep=0.5))
        if one_call:
            train(selector, model, selector.loader())
        else:
            told(selector, model)
        found.append([value.clone() for value in model.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_a_pass_scores_with_the_small_model_as_trained_so_far():
    small = Small()
    selector, model = with_scorer(sw.recipes.uncertainty(keep=0.5, period=2), small, lr=2.0)
    data, optimizer = Tensors(), torch.optim.SGD(model.parameters(), lr=0.05)
    loader = selector.loader()
    for epoch in range(4):
        if epoch % 2 == 0:
            with torch.no_grad():
                shares = small(data.x).softmax(1).tolist()
            losses = [-math.log(row[i % CLASSES]) for i, row in enumerate(shares)]
            wanted = sorted(sorted(range(N), key=lambda i: -losses[i])[: N // 2])
        seen = []
        for batch in loader:
            seen.append(batch.ids.tolist())
            step(selector, optimizer, batch)
        assert flat(seen) == wanted
    assert selector.table().provenance["model"] == "Small"


def test_memory_holds_the_small_models_losses_alone():
    """In annealing the model's training losses are free, but they are another model's."""
    policy = sw.recipes.evolved_sampling(keep=0.5, anneal=0.25, beta1=0.0, beta2=0.0)
    small = Small()
    selector, model = with_scorer(policy, small, every=1, lr=0.0)
    with torch.no_grad():
        losses = F.cross_entropy(small(Tensors().x), Tensors().targets, reduction="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for batch in selector.loader():  # an epoch of annealing
        step(selector, optimizer, batch)
    assert selector.ledger.samples_backpropagated == N
    torch.testing.assert_close(selector.score(), losses)


def test_between_scoring_epochs_only_the_small_model_is_remembered():
    small = Small()
    policy = sw.recipes.ordered_sgd(keep=0.5)
    selector, model = with_scorer(policy, small, every=None, scoring={"every": 2})
    train(selector, model, selector.loader())
    with torch.no_grad():
        losses = F.cross_entropy(small(Tensors().x), Tensors().targets, reduction="none")
    torch.testing.assert_close(selector.score(), losses)
    assert selector.ledger.cheap_scoring_forwards == 2 * N


def test_a_given_model_is_not_trained_without_every():
    small = Small()
    before = copy.deepcopy(small.state_dict())
    selector, model = with_scorer(sw.recipes.ordered_sgd(keep=0.5), small, every=None)
    train(selector, model, selector.loader())
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


def test_training_stops_with_the_last_choice_that_needs_scores():
    small, policy = Small(), sw.recipes.uncertainty(keep=0.5, period=2)
    selector, model = with_scorer(policy, small, epochs=5)
    trained, optimizer, loader = [], torch.optim.SGD(model.parameters(), lr=0.05), selector.loader()
    for _ in range(5):
        before = small.fc.weight.clone()
        for batch in loader:
            step(selector, optimizer, batch)
        trained.append(not torch.equal(small.fc.weight, before))
    assert trained == [True, True, True, True, False]  # the last pass is before epoch 4


def test_the_learning_rate_may_be_a_schedule():
    small = Small()
    selector, model = with_scorer(
        sw.recipes.ordered_sgd(keep=0.5),
        small,
        lr=sw.schedules.Between(1.0, outside=0.0, start=0.5),
        epochs=4,
    )
    moved, optimizer, loader = [], torch.optim.SGD(model.parameters(), lr=0.05), selector.loader()
    for _ in range(4):
        before = small.fc.weight.clone()
        for batch in loader:
            step(selector, optimizer, batch)
        moved.append(not torch.equal(small.fc.weight, before))
    assert moved == [False, False, True, True]


# ----------------------------------------------------------------------------------------- the cost


def test_the_cost_is_counted_by_hand():
    """2 FLOPs for a multiplication and an addition. A linear layer needs its weight's gradient too."""
    small, epochs, every = Small(), 3, 2
    selector, model = with_scorer(sw.recipes.ordered_sgd(keep=0.5), small, every=every, epochs=epochs)
    train(selector, model, selector.loader())
    ledger, forward = selector.ledger, 2 * 4 * CLASSES
    large = 2 * (4 * 8 + 8 * CLASSES)
    batches = epochs * N // 8
    scored, taught = epochs * N, 8 * -(-batches // every)
    assert ledger.cheap_flops == scored * forward + taught * 2 * forward
    assert ledger.cost == pytest.approx(3 * epochs * N // 2 + ledger.cheap_flops / large)
    assert (ledger.scoring_forwards, ledger.cheap_scoring_forwards) == (0, scored)


def test_seconds_of_the_small_model_are_scoring():
    selector, model = with_scorer(sw.recipes.uncertainty(keep=0.5, period=2))
    spent = selector.ledger.seconds["scoring"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for number, batch in enumerate(selector.loader()):
        step(selector, optimizer, batch)
        assert selector.ledger.seconds["scoring"] > spent, number
        spent = selector.ledger.seconds["scoring"]


# ------------------------------------------------------------------------------- nothing is touched


def test_random_states_and_gradients_stay_as_they_are():
    small = Net(dropout=0.5)  # draws while it trains
    model = Plain()
    selector, _ = with_scorer(sw.recipes.ordered_sgd(keep=0.5), small, model=model)
    for parameter in [*model.parameters(), *small.parameters()]:
        parameter.grad = torch.full_like(parameter, 7.0)
    for batch in selector.loader():
        before, weights = random_states()[::2], small.fc.weight.clone()
        kept = selector.narrow(batch)
        assert random_states()[::2] == before  # the shape checker of the tests draws from Python's
        assert all((p.grad == 7).all() for p in [*model.parameters(), *small.parameters()])
        assert not torch.equal(small.fc.weight, weights)
        selector.reduce(selector.forward(kept.data))


def test_flags_of_the_small_model_stay_and_scoring_moves_no_buffer():
    small = Net()
    small.body[3].eval()
    selector, _ = with_scorer(sw.recipes.ordered_sgd(keep=0.5), small, every=2)
    batches = iter(selector.loader())
    flags = [module.training for module in small.modules()]
    moved = []
    for _ in range(4):
        before = small.body[1].running_mean.clone()
        selector.loss(next(batches))
        moved.append(not torch.equal(before, small.body[1].running_mean))
        assert [module.training for module in small.modules()] == flags
    assert moved == [True, False, True, False]
    assert [call[1:] for call in small.calls[:3]] == [(False, False), (True, True), (False, False)]


def test_with_a_view_the_small_model_scores_and_trains_on_it():
    small = nn.Linear(2, CLASSES)  # fails on all four columns
    before = small.weight.clone()
    for policy in (sw.recipes.ordered_sgd(keep=0.5), sw.recipes.uncertainty(keep=0.5, period=1)):
        selector, model = with_scorer(
            policy, small, scoring={"view": lambda data: (data[0][:, 2:], data[1])}, epochs=2
        )
        train(selector, model, selector.loader())
    assert not torch.equal(small.weight, before)


def test_a_batch_of_one_row_does_not_train_it():
    small = Net()
    policy = sw.recipes.ordered_sgd(keep=0.5)
    selector, model = with_scorer(policy, small, dataset=Tensors(9), epochs=1)
    train(selector, model, selector.loader())
    assert [rows for rows, _, graph in small.calls if graph] == [8]


def test_bf16_scoring_is_of_the_scoring_forward_alone():
    small, seen = Small(), []
    small.fc.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    selector, _ = with_scorer(
        sw.recipes.ordered_sgd(keep=0.5), small, scoring={"dtype": torch.bfloat16}, every=1
    )
    selector.loss(next(iter(selector.loader())))
    assert seen == [torch.bfloat16, torch.float32]


# --------------------------------------------------------------------------------- states and copies


def test_a_resumed_training_goes_on_bit_for_bit():
    for policy in (
        sw.recipes.evolved_sampling(keep=0.5, anneal=0.2),
        sw.recipes.uncertainty(keep=0.5, period=2),
        sw.recipes.kakurenbo(keep=0.7),
    ):

        def built(policy=policy):
            small = Net(dropout=0.4)
            scorer = sw.Scorer(small, outputs_of(small), every=2, lr=0.01)
            made, model = make(policy, model=Plain(), scoring=sw.Scoring(scorer=scorer))
            return made, model, small

        selector, model, small = built()
        optimizer, states, losses = torch.optim.SGD(model.parameters(), lr=0.1), [], []
        for _ in range(4):
            for batch in selector.loader():
                losses.append(step(selector, optimizer, batch))
                file = io.BytesIO()
                torch.save((selector.state_dict(), model.state_dict(), torch.get_rng_state()), file)
                states.append(file)
        for done in range(2, len(losses), 7):
            states[done - 1].seek(0)
            saved, weights, random = torch.load(states[done - 1], weights_only=True)
            other, again, copied = built()
            other.load_state_dict(saved)
            again.load_state_dict(weights)
            torch.set_rng_state(random)
            rest = torch.optim.SGD(again.parameters(), lr=0.1)
            later = [step(other, rest, b) for _ in range(other.epoch, 4) for b in other.loader()]
            assert later == losses[done:]
            for name, value in copied.state_dict().items():
                assert torch.equal(value, small.state_dict()[name]), name
            assert other.ledger.cheap_flops == selector.ledger.cheap_flops


def test_a_state_of_another_scorer_is_refused_and_nothing_is_loaded():
    policy = sw.recipes.ordered_sgd(keep=0.5)
    selector, model = with_scorer(policy)
    train(selector, model, selector.loader(), until=1)
    state = selector.state_dict()
    plain, _ = make(policy, model=Plain())
    with pytest.raises(ValueError, match="trains nothing that scores"):
        plain.load_state_dict(state)
    with pytest.raises(ValueError, match="trains nothing that scores"):
        with_scorer(policy)[0].load_state_dict(plain.state_dict())
    wider = Plain()
    other, _ = with_scorer(policy, wider)
    with pytest.raises(ValueError, match=r"state\['scoring'\]\['model'\]"):
        other.load_state_dict(state)
    small = Small()
    adam = sw.Scoring(
        scorer=sw.Scorer(
            small,
            forward_of(small),
            optimizer=lambda p, lr: torch.optim.Adam([{"params": [x]} for x in p], lr),
        )
    )
    third, _ = make(policy, model=Plain(), scoring=adam)
    with pytest.raises(ValueError, match=r"\['optimizer'\] must be of the same optimizer"):
        third.load_state_dict(state)
    assert third.epoch == other.epoch == 0


def test_a_copy_trains_its_own_small_model():
    model, small = Plain(), Plain(3)
    scoring = sw.Scoring(scorer=small)
    selector, _ = make(
        sw.recipes.ordered_sgd(keep=0.5), model=model, forward=sw.classifier(model), scoring=scoring
    )
    loader = selector.loader()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in loader:
        step(selector, optimizer, batch)
    copied = copy.deepcopy(selector)
    train(selector, model, loader)
    with torch.no_grad():
        kept = [value.clone() for value in copied.scoring.scorer.parameters()]
    assert not torch.equal(kept[0], small.body.weight)
    train(copied, copied.model, copied.loader())
    for one, two in zip(copied.scoring.scorer.parameters(), small.parameters(), strict=True):
        assert one is not two


def test_a_copy_is_refused_if_the_forward_would_run_the_original():
    selector, _ = with_scorer(sw.recipes.ordered_sgd(keep=0.5))
    with pytest.raises(TypeError, match="forward of its scorer is a function"):
        copy.deepcopy(selector)


# --------------------------------------------------------------------------------- several processes


def _on_a_rank(rank, world):
    found = []
    for small in (Plain(seed=rank), Net(dropout=0.0)):
        if rank:  # rank 0's weights count
            for value in small.parameters():
                value.data += 1.0
        scorer = sw.Scorer(small, outputs_of(small), every=2, lr=0.1, optimizer=torch.optim.SGD)
        selector, model = make(
            sw.recipes.ordered_sgd(keep=0.5),
            Tensors(43),
            model=Plain(),
            batch_size=8 // world,
            scoring=sw.Scoring(scorer=scorer),
        )
        train(selector, model, selector.loader(drop_last=True))
        found.append((small.state_dict(), selector.score(), selector.ledger.cheap_flops))
    return found


def test_ranks_have_one_small_model_and_it_is_that_of_one_process(tmp_path):
    found = on_ranks(_on_a_rank, [1, 2], tmp_path)
    for number in range(2):
        one, other = (rank[number] for rank in found[2])
        for name, value in one[0].items():
            assert torch.equal(value, other[0][name]), name
        assert torch.equal(one[1].nan_to_num(), other[1].nan_to_num())
    alone, both = found[1][0][0], found[2][0][0]
    for name, value in alone[0].items():
        torch.testing.assert_close(value, both[0][name], rtol=1e-5, atol=1e-6)
    assert alone[2] == sum(rank[0][2] for rank in found[2])


def _disagreeing(rank, world):
    small = Plain()
    scorer = sw.Scorer(small, outputs_of(small), every=1 + rank)
    selector, _ = make("ordered_sgd", model=Plain(), scoring=sw.Scoring(scorer=scorer))
    with pytest.raises(ValueError, match=r"these differ: scorer .*every=1.* on rank 0.*every=2.* on rank 1"):
        selector.set_epoch(0)


def test_ranks_with_other_settings_are_refused(tmp_path):
    on_ranks(_disagreeing, [2], tmp_path)


# ---------------------------------------------------------------------------------- forms of a scorer


def test_a_model_alone_scores_with_the_selectors_forward():
    """`sw.classifier` builds the same forward for it, and finds its head."""
    model, small = Net(), nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, CLASSES))

    def smooth(logits, targets):
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.3)

    forward = sw.classifier(model, loss=smooth)
    selector, _ = make(
        sw.recipes.ordered_sgd(keep=0.5), model=model, forward=forward, scoring=sw.Scoring(scorer=small)
    )
    batch = next(iter(selector.loader()))
    with torch.no_grad():
        wanted = smooth(small(batch.data[0]), batch.data[1])
    selector.loss(batch)
    torch.testing.assert_close(selector.score()[batch.ids], wanted)


def test_the_training_forward_need_not_give_what_the_method_reads():
    model, small = Plain(), Small()
    scorer = sw.Scorer(small, outputs_of(small))
    selector, _ = make(
        "uncertainty", model=model, forward=forward_of(model), scoring=sw.Scoring(scorer=scorer), period=1
    )
    train(selector, model, selector.loader())


def test_batches_that_are_filled_are_scored_by_the_small_model():
    small = Small()
    policy = sw.recipes.selective_backprop(beta=1.0, assemble=True)
    selector, model = with_scorer(policy, small, every=2)
    before = small.fc.weight.clone()
    train(selector, model, selector.loader())
    assert selector.ledger.scoring_forwards == 0 < selector.ledger.cheap_scoring_forwards
    assert not torch.equal(before, small.fc.weight)


# ---------------------------------------------------------------------------------------- bad input


def _scoring(*arguments, **more):
    return lambda: sw.Scoring(scorer=sw.Scorer(*arguments, **more))


def _selector(scorer, policy=None, **more):
    policy = sw.recipes.ordered_sgd(keep=0.5) if policy is None else policy
    more = {"model": Plain()} | more
    return make(policy, scoring=sw.Scoring(scorer=scorer), **more)


def _frozen():
    small = Small()
    return sw.Scorer(small.requires_grad_(False), forward_of(small))


def _own(small=None, **more):
    small = Small() if small is None else small
    return sw.Scorer(small, outputs_of(small), **more)


def _same():
    model = Plain()
    return _selector(_own(model), model=model)


def _tied():
    model, small = Plain(), Plain(1)
    small.fc = model.fc
    return _selector(_own(small), model=model)


@pytest.mark.parametrize(
    ("build", "kind", "text"),
    [
        (
            lambda: sw.Scoring(scorer="small"),
            TypeError,
            "Scoring.scorer must be a torch.nn.Module or a sw.Sco",
        ),
        (lambda: sw.Scoring(scorer=Small(), at="fc"), ValueError, "Scoring.at='fc' ends the forward"),
        (_scoring("small"), TypeError, "Scorer.model must be a torch.nn.Module, got str"),
        (_scoring(Small(), 3), ValueError, "Scorer.forward must be a function, got 3"),
        (_scoring(Small(), every=0), ValueError, "Scorer.every must be >= 1, got 0"),
        (_scoring(Small(), lr=-1), ValueError, "Scorer.lr must be >= 0, got -1"),
        (_scoring(Small(), optimizer="adam"), ValueError, "Scorer.optimizer must be a function, got 'adam'"),
        (lambda: _selector(Small()), ValueError, "needs a forward of its own.*no `of"),
        (_same, ValueError, "must be another model than .* got the same object"),
        (_tied, ValueError, "must not share parameters .* 'fc.weight' is in both"),
        (lambda: _selector(_frozen()), ValueError, "must have parameters that require gradients"),
        (lambda: _selector(_own(Small().to("meta"))), ValueError, "device of .* which is cpu, got meta"),
        (
            lambda: _selector(_own(nn.DataParallel(Small()))),
            ValueError,
            "must not be wrapped, got DataParallel",
        ),
        (lambda: _selector(_own(), "infobatch"), ValueError, "infobatch, which makes no scoring forward"),
        (lambda: _selector(_own(), "full"), ValueError, "full, which makes no scoring forward"),
        (lambda: _selector(_own(), "auto_assist"), ValueError, "auto_assist, which makes no scoring forward"),
        (lambda: _selector(_own(), "grand"), ValueError, "grand, whose scoring run trains a model only to"),
        (
            lambda: _selector(_own(), sw.recipes.dynams_proxy(keep=0.5, period=1), model=Net()),
            ValueError,
            "already scores with forw",
        ),
        (
            lambda: sw.Selector("ordered_sgd", N, scoring=sw.Scoring(scorer=_own()), epochs=2),
            ValueError,
            r"Selector\(model=...\) is None",
        ),
    ],
)
def test_bad_scorers_are_refused_when_they_are_built(build, kind, text):
    with pytest.raises(kind, match=text):
        build()


def test_bad_outputs_are_refused_at_the_first_batch():
    small = Small()

    def run(forward, policy="ordered_sgd", **more):
        selector, _ = _selector(sw.Scorer(small, forward, **more), policy)
        selector.loss(next(iter(selector.loader())))

    with pytest.raises(ValueError, match=r"Scorer.forward must return losses of shape \(8,\), got \(7,\)"):
        run(lambda batch: forward_of(small)(batch)[1:])
    with pytest.raises(ValueError, match=r"Scorer.forward returned one loss for the whole batch"):
        run(lambda batch: forward_of(small)(batch).mean())
    with pytest.raises(TypeError, match=r"Scorer.forward must return per-sample losses"):
        run(lambda batch: [1.0])
    with pytest.raises(ValueError, match=r"dynams with a scorer needs features and targets"):
        run(forward_of(small), sw.recipes.dynams(keep=0.5, period=1))
    with pytest.raises(ValueError, match=r"losses that depend on the parameters of Scorer.model"):
        run(lambda batch: batch[0].sum(1))
    with pytest.raises(ValueError, match=r"depends? on none of its parameters"):
        run(forward_of(Plain(9)))
    with pytest.raises(TypeError, match=r"must return a torch.optim.Optimizer, got list"):
        run(forward_of(small), optimizer=lambda parameters, lr: list(parameters))
    model = Net()
    forward = sw.classifier(model)
    with pytest.raises(ValueError, match=r"must have 3 outputs, as that of Net, got 5"):
        _selector(nn.Linear(4, 5), model=model, forward=forward)
    with pytest.raises(ValueError, match=r"must have a linear layer as its head"):
        _selector(nn.Conv1d(1, 1, 1), model=model, forward=forward)


def test_calls_that_give_no_data_are_refused():
    selector, _ = with_scorer(sw.recipes.ordered_sgd(keep=0.5))
    ids = selector.plan(0).ids
    with pytest.raises(ValueError, match=r"Scoring.scorer cannot be used with selector.observe"):
        selector.observe(ids, torch.rand(N))
    with pytest.raises(ValueError, match=r"Scoring.scorer cannot be used with selector.choose"):
        selector.choose(ids)
