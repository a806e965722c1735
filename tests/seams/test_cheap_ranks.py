"""Cheap scores on two processes: their scores and choices are those of one process that sees all rows."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from samplewise.coresets.table import ScoreTable
from samplewise.distributed import collectives
from samplewise.loop.head import BETAS, EPSILON, RATE, Head
from tests.ranks import on_ranks
from tests.seams.toys import CLASSES, Plain, Tensors, forward_of

N, EPOCHS, BATCH, LR = 32, 4, 8, 0.2
"""`BATCH` rows of all processes together."""
IRREDUCIBLE = torch.rand(N, generator=torch.Generator().manual_seed(4))
SECOND = 2
"""The small model trains on every second batch."""


def seen(batch):
    """Scores see two features of four."""
    x, y = batch
    return x * torch.tensor([1.0, 1.0, 0.0, 0.0]), y


def policy_of(name):
    if name == "rho_loss":
        said = {"n": N, "fit": "cross"}
        times = torch.zeros(N, dtype=torch.int32)
        return sw.recipes.rho_loss(
            ScoreTable(torch.arange(N), {"irreducible": IRREDUCIBLE}, times, None, said), keep=0.5
        )
    return sw.recipes.get(name)(keep=0.5, **({"period": 1} if name == "ucb" else {}))


def scoring_of(kind):
    if "scorer" in kind:
        small = Plain(seed=1)
        return sw.Scoring(
            scorer=sw.Scorer(small, forward_of(small), every=SECOND, lr=LR, optimizer=torch.optim.SGD)
        )
    return sw.Scoring(
        at="body" if "at" in kind else None,
        view=seen if "view" in kind else None,
        every=1 + ("every" in kind),
    )


def dealt(selector):
    """Whole batches in turns, the last ones filled up from the start, as Accelerate deals them; with the ids
    that do not pad.
    """
    order, data = torch.tensor(list(selector.sampler("global"))), selector.dataset
    world, rank, b = collectives.world(), collectives.rank(), selector.batch_size
    whole = -(-len(order) // BATCH) * BATCH
    places = torch.arange(whole)
    for at in torch.split(places, b)[rank::world]:
        ids = order[at % len(order)]
        yield sw.Batch(ids, (data.x[ids], data.targets[ids])), ids[at < len(order)]


def trained(name, kind):
    """A training of this process: each of its steps, its plans, what it remembers, and what it cost."""
    world, model = collectives.world(), Plain()
    selector = sw.Selector(
        policy_of(name), Tensors(N - 2 * ("uneven" in kind)), forward_of(model), model=model, epochs=EPOCHS,
        batch_size=BATCH // world, scoring=scoring_of(kind),
    )  # fmt: skip
    scored, chosen, steps, plans = [], [], [], []
    score, narrow = selector._step.score, selector._step.narrow
    selector._step.score = lambda batch: scored.append(score(batch)) or scored[-1]
    selector._step.narrow = lambda batch: chosen.append(narrow(batch)) or chosen[-1]
    loader = selector.loader()
    for epoch in range(EPOCHS):
        if "uneven" in kind:
            selector.set_epoch(epoch)
        for batch, real in dealt(selector) if "uneven" in kind else ((batch, batch.ids) for batch in loader):
            if not steps or steps[-1]["epoch"] < epoch:
                plans.append(selector.plan(epoch).ids.tolist())
            model.zero_grad()
            selector.loss(batch).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= LR * collectives.add_up(parameter.grad) / world
            steps.append(
                {
                    "epoch": epoch,
                    "given": real,
                    "chosen": torch.tensor([i for i in chosen.pop().ids.tolist() if i in real]),
                    "scores": scored.pop().loss if scored else None,
                }
            )
    selector.set_epoch(EPOCHS)
    ledger, state = selector.ledger, selector.state_dict()
    return {
        "steps": steps,
        "plans": plans,
        "memory": state["engine"]["memory"],
        "head": state["scoring"].get("head") if "scoring" in state else None,
        "weights": [parameter.detach() for parameter in model.parameters()],
        "scored": ledger.cheap_scoring_forwards,
        "flops": ledger.cheap_flops,
    }


CASES = [
    *[(name, kind) for name in ("rho_loss", "evolved_sampling") for kind in ("at", "scorer", "view")],
    ("evolved_sampling", "at, every"),
    ("rho_loss", "view, at"),
]
PASSES = [("ucb", kind) for kind in ("at", "scorer", "view", "view, at")]
UNEVEN = [("evolved_sampling", f"{kind}, uneven") for kind in ("at", "scorer")]
"""30 rows: in the last step of an epoch one process has 2 rows and 2 that pad."""


def all_of_them(rank, world):
    return {case: trained(*case) for case in (*CASES, *PASSES, *UNEVEN)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return on_ranks(all_of_them, (1, 2), tmp_path_factory.mktemp("ranks"), seconds=300)


def one_process(kind):
    """Gives the scores of a meta-batch, and takes a step on all of its rows and the chosen ones, by hand."""
    data, model, small = Tensors(N - 2 * ("uneven" in kind)), Plain(), Plain(seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    beside = torch.optim.SGD(small.parameters(), lr=LR)
    start = Head(CLASSES, seed=0)
    start(torch.zeros(1, 8))
    head = nn.Linear(8, CLASSES)
    with torch.no_grad():
        head.weight.copy_(start.layer[0])
        head.bias.copy_(start.layer[1])
    adam = torch.optim.Adam(head.parameters(), lr=RATE, betas=BETAS, eps=EPSILON)
    taken = 0

    def features(x):
        out = model.body(x / model.scale).detach()
        mean, var = out.mean(1, keepdim=True), out.var(1, unbiased=False, keepdim=True)
        return (out - mean) / (var + 1e-5).sqrt()

    def scores(ids):
        x, y = data.x[ids], data.targets[ids]
        if "view" in kind:
            x, y = seen((x, y))
        with torch.no_grad():
            logits = small(x) if "scorer" in kind else head(features(x)) if "at" in kind else model(x)
            return F.cross_entropy(logits, y, reduction="none")

    def step(given, chosen):
        nonlocal taken
        if taken % SECOND == 0:
            beside.zero_grad()
            F.cross_entropy(small(data.x[given]), data.targets[given]).backward()
            beside.step()
        x, y = data.x[chosen], data.targets[chosen]
        learned = features(x)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if taken:
            adam.zero_grad()
            F.cross_entropy(head(learned), y).backward()
            adam.step()
        taken += 1

    return scores, step, head, model


@pytest.mark.parametrize(("name", "kind"), [*CASES, *UNEVEN])
def test_two_ranks_score_and_choose_as_one_process_with_all_rows(name, kind, found):
    ranks = [rank[name, kind] for rank in found[2]]
    scores, step, head, model = one_process(kind)
    in_epoch, sizes = set(), set()
    for at_once in zip(*(rank["steps"] for rank in ranks), strict=True):
        for one in at_once:
            if one["scores"] is not None:
                in_epoch.add(one["epoch"])
                wanted = scores(one["given"])
                torch.testing.assert_close(one["scores"], wanted, rtol=1e-4, atol=1e-5)
                if name == "rho_loss":
                    above = wanted - IRREDUCIBLE[one["given"]]
                    k = len(above) // 2
                    assert sorted(one["chosen"].tolist()) == sorted(
                        one["given"][above.topk(k).indices].tolist()
                    )
        given = torch.cat([one["given"] for one in at_once])
        assert len(set(given.tolist())) == len(given)
        sizes.add(len(given))
        step(given, torch.cat([one["chosen"] for one in at_once]))
    scored = {"rho_loss": {0, 1, 2, 3}, "evolved_sampling": {1, 2}}[name]
    assert in_epoch == (scored if "every" not in kind else {1})
    assert sizes == ({BATCH, 6} if "uneven" in kind else {BATCH})
    rows = (16, 14) if "uneven" in kind else (16, 16)
    assert [rank["scored"] for rank in ranks] == [len(in_epoch) * of for of in rows]
    for rank in ranks:
        for mine, wanted in zip(rank["weights"], model.parameters(), strict=True):
            torch.testing.assert_close(mine, wanted.detach(), rtol=1e-4, atol=1e-5)
        if rank["head"] is not None:
            torch.testing.assert_close(rank["head"]["weight"], head.weight.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [*CASES, *PASSES, *UNEVEN])
def test_both_ranks_remember_the_same(name, kind, found):
    one, other = (rank[name, kind] for rank in found[2])
    assert one["plans"] == other["plans"]
    for column, values in one["memory"].items():
        assert torch.equal(values.nan_to_num(), other["memory"][column].nan_to_num()), column
    if one["head"] is not None:
        assert all(
            value is None or torch.equal(torch.as_tensor(value), torch.as_tensor(other["head"][part]))
            for part, value in one["head"].items()
        )


@pytest.mark.parametrize(("name", "kind"), PASSES)
def test_two_ranks_plan_what_one_plans(name, kind, found):
    (alone,), both = ([rank[name, kind] for rank in found[world]] for world in (1, 2))
    assert alone["plans"] == both[0]["plans"]
    assert len(alone["plans"]) == EPOCHS
    assert alone["scored"] == sum(rank["scored"] for rank in both) > 0
    assert alone["flops"] == pytest.approx(sum(rank["flops"] for rank in both), rel=0.05)
    for column, values in alone["memory"].items():
        torch.testing.assert_close(values, both[0]["memory"][column], rtol=1e-4, atol=1e-5, equal_nan=True)
