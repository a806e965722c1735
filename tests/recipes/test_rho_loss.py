"""`rho_loss` (METHODS C4): the largest loss minus irreducible loss of every meta-batch, by plain loops."""

import math
import pickle
import re
from dataclasses import replace

import pytest
import torch
from plain import LOSSES, N, close, count, inclusion, shares
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from samplewise.coresets.parse import parse
from samplewise.coresets.table import ScoreTable
from samplewise.data.dataset import fingerprint
from samplewise.policy import Policy, recipe
from samplewise.rng import generator
from samplewise.testing import LAWS, Trace, Training
from samplewise.trackers import IrreducibleLosses
from tests.seams.toys import plainly

IRREDUCIBLE = [2.0, 0.25, 1.5, 0.5, 3.0, 0.25, 0.0, 1.0]
nan = math.nan


def table(values, provenance=None, ids=None):
    n = len(values)
    ids = torch.arange(n) if ids is None else torch.tensor(ids)
    times = torch.zeros(n, dtype=torch.int32)
    said = {"n": n, "fit": "cross"} if provenance is None else provenance
    return ScoreTable(ids, {"irreducible": torch.tensor(values)}, times, None, said)


BATCHES = ([6, 1, 4, 0, 3], [7, 2, 5])


@pytest.mark.parametrize("keep", [0.1, 0.4, 0.75, 1.0])
def test_the_trace_equals_plain_loops(keep):
    policy = sw.recipes.rho_loss(table(IRREDUCIBLE), keep=keep)
    selector = sw.Selector(policy, N, epochs=len(LOSSES))
    for epoch, losses in enumerate(LOSSES):
        selector.plan(epoch)
        for ids in BATCHES:
            batch = torch.tensor(ids)
            selector.observe(batch, torch.tensor(losses)[batch])
            above = [losses[i] - IRREDUCIBLE[i] for i in ids]
            assert selector.score()[batch].tolist() == pytest.approx(above)
            rows, weights = selector.choose(batch)
            ranked = sorted(range(len(ids)), key=lambda row: (-above[row], ids[row]))
            assert rows.tolist() == sorted(ranked[: count(len(ids), keep, least=2)])
            assert weights is None
    assert selector.score("irreducible").tolist() == IRREDUCIBLE


@pytest.mark.parametrize("temperature", [0.25, 0.01, 4.0])
def test_the_softmax_trace_equals_plain_loops(temperature):
    policy = sw.recipes.rho_loss(
        table(IRREDUCIBLE), keep=0.4, variant="softmax", temperature=temperature
    )  # fmt: skip
    selector = sw.Selector(policy, N, epochs=len(LOSSES), seed=2)
    for epoch, losses in enumerate(LOSSES):
        selector.plan(epoch)
        for step, ids in enumerate(BATCHES):
            batch = torch.tensor(ids)
            selector.observe(batch, torch.tensor(losses)[batch])
            rng = generator(2, epoch, "choose", step, 0)
            uniform = torch.empty(len(ids), dtype=torch.float64).uniform_(generator=rng).tolist()
            keys = [
                (losses[i] - IRREDUCIBLE[i]) / temperature - math.log(-math.log(1 - u))
                for i, u in zip(ids, uniform, strict=True)
            ]
            ranked = sorted(range(len(ids)), key=lambda row: -keys[row])
            assert selector.choose(batch)[0].tolist() == sorted(ranked[: count(len(ids), 0.4, least=2)])


def test_the_softmax_draws_follow_the_law():
    losses, draws = [1.0, 0.5, 0.9, 0.1], 2000
    irreducible = [0.9, 0.1, 0.2, 0.4]
    policy = sw.recipes.rho_loss(table(irreducible), keep=0.5, variant="softmax")
    selector = sw.Selector(policy, 4, epochs=1)
    selector.plan(0)
    ids = torch.arange(4)
    selector.observe(ids, torch.tensor(losses))
    found = shares([selector.choose(ids)[0].tolist() for _ in range(draws)])
    odds = [math.exp((loss - il) / 0.25) for loss, il in zip(losses, irreducible, strict=True)]
    for i, chance in enumerate(inclusion(odds, 2)):
        assert close(found[i], chance, draws), (i, found[i], chance)


def test_samples_held_out_never_train_and_budgets_are_of_the_rest():
    n = 20
    held = [i for i in range(n) if i % 3 == 0]
    values = [nan if i in held else 0.1 * i for i in range(n)]
    losses = table(values, {"n": n, "fit": "holdout"})
    training = Training(sw.recipes.rho_loss(losses, keep=0.4), Trace(n, epochs=3), batch=5).finish()
    rest = [i for i in range(n) if i not in held]
    seen = [i for _, batch in training.seen for i in batch.ids.tolist()]
    assert sorted(seen) == sorted(3 * rest)
    ledger, model = training.selector.ledger, training.model
    batches = [5, 5, len(rest) - 10]
    assert ledger.samples_backpropagated == 3 * sum(count(m, 0.4, least=2) for m in batches)
    assert ledger.scoring_forwards == model.rows_without_grad == 3 * len(rest)
    assert training.selector.policy.level == "epoch+batch"
    assert training.selector.table().times_selected[held].sum() == 0


def _softmax(n):
    losses = IrreducibleLosses(torch.arange(n), torch.linspace(0, 1, n), {"n": n})
    return sw.recipes.rho_loss(losses, keep=0.4, variant="softmax")


def _held_out(n):
    values = torch.linspace(0, 1, n).where(torch.arange(n) % 4 != 1, nan)
    return sw.recipes.rho_loss(
        IrreducibleLosses(torch.arange(n), values, {"n": n, "fit": "holdout"}), keep=0.4
    )


FORMS = {_softmax: "batch", _held_out: "epoch+batch"}
ABOUT_CHOICES = [
    law for law in LAWS if re.match("ids|budget|same|resume|one|dup|pick|half|decl|stated", law.__name__)
]


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("law", ABOUT_CHOICES, ids=lambda law: law.__name__)
@pytest.mark.parametrize("toy", FORMS, ids=["softmax", "held_out"])
def test_law_of_another_form(toy, law):
    @recipe(paper="-", level=FORMS[toy], source="training", toy=toy)
    def form() -> Policy:
        """Memory: 8 bytes a sample."""
        return toy(24)

    law(form)


def test_the_table_comes_from_a_file_and_the_repr_reads_back(tmp_path):
    path = tmp_path / "il.parquet"
    table([0.5, nan, 0.25, 1.0], {"n": 4, "fit": "holdout", "scoring": {"irreducible": SPENT}}).to_parquet(
        path
    )
    policy = sw.recipes.rho_loss(str(path), keep=0.5)
    back = parse(repr(policy))
    assert (
        repr(policy)
        == f"recipes.rho_loss(irreducible={str(path)!r}, keep=0.5, variant='top', temperature=0.25)"
    )
    for other in (
        back,
        pickle.loads(pickle.dumps(policy)),
        sw.recipes.parse(f"rho_loss:irreducible={path},keep=0.5"),
    ):
        assert other == policy
        assert repr(other) == repr(policy)
    losses = policy.tracker.losses
    assert losses.held_out.tolist() == [1]
    assert losses.values.nan_to_num(-1).tolist() == [0.5, -1, 0.25, 1.0]
    assert losses.provenance["scoring"] == SPENT


def test_a_table_in_memory_is_shown_by_its_digest():
    one, same, other = (sw.recipes.rho_loss(table([0.5, x, 0.25])) for x in (1.0, 1.0, 2.0))
    assert one == same
    assert repr(one) == repr(same)
    assert repr(one).startswith("recipes.rho_loss(irreducible=IrreducibleLosses(3 of 3 ids, sha256 ")
    assert one != other
    assert repr(one) != repr(other)
    assert hash(one.tracker) == hash(same.tracker) != hash(other.tracker)
    assert pickle.loads(pickle.dumps(one)) == one


def test_the_order_of_a_table_does_not_matter():
    shuffled = table([1.0, 0.5, 0.25], {"n": 3}, ids=[2, 0, 1])
    assert sw.recipes.rho_loss(shuffled) == sw.recipes.rho_loss(table([0.5, 0.25, 1.0], {"n": 3}))


SPENT = {"cost": 120.0, "seconds": 3.5}


def test_what_the_table_cost_is_charged():
    said = {"n": 4, "scoring": {"irreducible": SPENT}}
    selector = sw.Selector(sw.recipes.rho_loss(table([0.0] * 4, said)), 4, epochs=2)
    assert (selector.ledger.prior_cost, selector.ledger.prior_seconds) == (120.0, 3.5)
    assert (selector.ledger.cost, selector.ledger.cost_without_scoring) == (120.0, 0.0)
    selector = sw.Selector(sw.recipes.rho_loss(table([0.0] * 4)), 4, epochs=2)
    assert selector.ledger.prior_cost == 0
    held = {"n": 4, "fit": "holdout", "scoring": {"irreducible": SPENT}}
    selector = sw.Selector(sw.recipes.rho_loss(table([0.0, nan, 0.0, 0.0], held)), 4, epochs=2)
    assert selector.ledger.prior_cost == 120.0  # once, though picker and tracker both come from the table


class Modes(nn.Module):
    """Notes in which mode it runs without gradient."""

    def __init__(self):
        super().__init__()
        self.net, self.seen = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), []

    def forward(self, batch):
        x, y = batch
        if not torch.is_grad_enabled():
            self.seen.append(self.training)
        return F.cross_entropy(self.net(x), y, reduction="none")


@pytest.mark.parametrize(
    ("scoring", "training"),
    [(None, True), (sw.Scoring(), False), (sw.Scoring(mode="train"), True), (sw.Scoring(mode="eval"), False)],
)
def test_it_scores_in_train_mode_unless_told_otherwise_and_puts_buffers_back(scoring, training):
    model = Modes()
    x = torch.randn(8, 2, generator=generator("modes"))
    data = torch.utils.data.TensorDataset(x, torch.arange(8) % 2)
    policy = sw.recipes.rho_loss(table([0.1] * 8), keep=0.5)
    selector = sw.Selector(policy, data, model, model=model, epochs=1, batch_size=4, scoring=scoring)
    for batch in selector.loader():
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        chosen = selector.narrow(batch)
        assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
        selector.reduce(model(chosen.data)).backward()
    assert model.seen == [training, training]
    assert model.training
    assert sw.Selector("loss_sampling", 8, epochs=1).scoring.mode == "eval"


def selector_for(values, provenance, n=4, ids=None):
    return sw.Selector(sw.recipes.rho_loss(table(values, provenance, ids)), n, epochs=2)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: sw.Selector("rho_loss", 4, epochs=1), r"score --method irreducible --out il\.parquet"),
        (
            lambda: selector_for([0.0] * 3, {"n": 4}),
            r"but 1 of 4 are missing, first ids \[3\]",
        ),
        (
            lambda: selector_for([0.0] * 3, {}, ids=[0, 2, 3]),
            r"but 1 of 4 are missing, first ids \[1\]",
        ),
        (
            lambda: selector_for([0.0] * 5, {"n": 5}),
            "are of 5 samples, but this data set has 4. Run samplewise score --method irreducible on these",
        ),
        (lambda: selector_for([0.0] * 5, {}), "are of data with id 4, but this data set has 4 samples"),
        (
            lambda: selector_for([0.0, nan, 1.0, nan], {"n": 4, "fit": "cross"}),
            r"NaN for 2 samples, first id 1, but their table was made with fit='cross'",
        ),
        (lambda: selector_for([0.0, nan, 1.0, nan], {"n": 4}), r"NaN for 2 samples.* made with fit=None"),
        (lambda: selector_for([nan] * 4, {"n": 4, "fit": "holdout"}), "must be finite, or NaN for a"),
        (lambda: selector_for([math.inf, 0.0, 0.0, 0.0], {"n": 4}), "must be finite"),
        (lambda: selector_for([0.0] * 4, {}, ids=[0, 1, 1, 2]), "must hold each id once, but id 1"),
        (lambda: selector_for([0.0] * 4, {}, ids=[0, 1, -1, 2]), "must be >= 0, got -1"),
        (
            lambda: sw.recipes.rho_loss(replace(table([0.0] * 4), columns={"el2n": torch.zeros(4)})),
            "must be a table with a column 'irreducible', got the columns el2n",
        ),
        (lambda: sw.recipes.rho_loss("nowhere.parquet"), "no such file: nowhere.parquet"),
        (
            lambda: sw.recipes.rho_loss(table([0.0] * 4), variant="topk"),
            r"rho_loss\.variant must be one of 'top', 'softmax', got 'topk'\. Did you mean 'top'\?",
        ),
        (
            lambda: sw.recipes.rho_loss(table([0.0] * 4), temperature=0),
            r"rho_loss\.temperature must be > 0, got 0",
        ),
        (lambda: IrreducibleLosses(torch.arange(3), torch.zeros(2)), "got 3 ids and 2 values"),
        (lambda: IrreducibleLosses(torch.arange(0), torch.zeros(0)), "got 0 ids"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_at_the_start(build, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        build()


def test_an_object_that_is_no_table_is_refused():
    code = """
import torch
import samplewise as sw
try:
    sw.recipes.rho_loss(torch.zeros(4))
except ValueError as error:
    print(error)
"""
    (said,) = plainly(code).splitlines()
    assert said.startswith("rho_loss.irreducible must be a ScoreTable with a column 'irreducible'")
    assert said.endswith("or a path to it, got a Tensor.")


def test_a_table_of_other_data_is_refused_by_its_fingerprint():
    data = [(torch.ones(2) * i, i % 2) for i in range(4)]
    policies = [
        sw.recipes.rho_loss(table([0.0] * 4, {"n": 4, "fingerprint": fingerprint(known, None)}))
        for known in (data, data[::-1])
    ]
    model = nn.Linear(2, 2)
    sw.Selector(policies[0], data, model, model=model, epochs=1)
    with pytest.raises(ValueError, match="are of other data: the fingerprints differ"):
        sw.Selector(policies[1], data, model, model=model, epochs=1)
    sw.Selector(policies[1], 4, epochs=1)  # without data nothing can be compared
