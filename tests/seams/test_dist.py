"""Two gloo processes train together: equal shards, one memory, one plan."""

import pytest
import torch
from torch import nn

import samplewise as sw
from samplewise.distributed import collectives
from samplewise.engine import merging
from tests.ranks import on_ranks
from tests.seams.toys import Net, Tensors, forward_of, make, step

N, WORLD, EPOCHS = 41, 2, 3
RECIPES = ["infobatch", "ucb", "eswp", "kakurenbo", "random_batch"]


def trained(name, rank):
    """One training on this rank: the ids of each epoch, plans and memories after each, and the account."""
    model = nn.parallel.DistributedDataParallel(Net(dropout=0.0))
    forward = forward_of(model)

    def with_logits(batch):
        x, y = batch
        logits = model(x)
        losses = nn.functional.cross_entropy(logits, y, reduction="none")
        return sw.Outputs(losses, logits=logits, targets=y)

    policy = sw.recipes.kakurenbo(keep=0.5, tau=0.0) if name == "kakurenbo" else sw.recipes.get(name)()
    selector, _ = make(
        policy,
        Tensors(N),
        model=model,
        forward=with_logits if name == "kakurenbo" else forward,
        epochs=EPOCHS,
        batch_size=6,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    log = {"ids": [], "plans": [], "memory": [], "length": []}
    loader = selector.loader(drop_last=True)
    for _ in range(EPOCHS):
        iterator = iter(loader)
        log["length"].append(len(loader))
        log["plans"].append(selector.engine.last_plan.ids.tolist())
        ids = []
        for batch in iterator:
            step(selector, optimizer, batch)
            ids.append(batch.ids.tolist())
        log["ids"].append(ids)
        table = selector.table()
        columns = {k: c.view(torch.int32) if c.is_floating_point() else c for k, c in table.columns.items()}
        log["memory"].append({k: c.tolist() for k, c in columns.items()})
        log["times"] = table.times_selected.tolist()
    ledger = selector.ledger
    log["counts"] = [ledger.samples_backpropagated, ledger.scoring_forwards, ledger.ordinary_samples]
    log["progress"] = selector.progress
    return log


def recorded(rank):
    """Several static methods on an odd number of samples: every one is seen in every epoch, by somebody."""
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(Net(dropout=0.0))

    def forward(batch):
        x, y = batch
        logits = model(x)
        return sw.Outputs(nn.functional.cross_entropy(logits, y, reduction="none"), logits, y, features=x)

    methods = {
        "tdds": sw.recipes.tdds(T=4, window=3),
        "dyn_unc": sw.recipes.dyn_unc(window=2),
        "aum": sw.recipes.aum(),
        "moderate": sw.recipes.moderate(),
        "craig": sw.recipes.craig(),
    }
    selector, _ = make(sw.Recorder(methods), Tensors(N), model=model, forward=forward, epochs=4, batch_size=6)
    optimizer, loader, seen = torch.optim.SGD(model.parameters(), lr=0.1), selector.loader(), []
    for _ in range(4):
        seen.append([len(loader)])
        for batch in loader:
            step(selector, optimizer, batch)
            seen[-1] += batch.ids.tolist()
    columns = {k: c.double().nan_to_num(-1.5).tolist() for k, c in selector.table().columns.items()}
    kept = {name: selector.subset(name, keep=0.3).ids.tolist() for name in methods}
    return {"seen": seen, "columns": columns, "kept": kept, "model": selector.provenance()["model"]}


def gathered(rank):
    """Unequal sizes, ids above 2**24, every column type and width, and an id that both ranks hold."""
    ids = torch.tensor([5, 2**40, 9][: 3 - rank])
    columns = {
        "single": torch.tensor([0.1, float("nan"), -0.0][: 3 - rank]),
        "half": torch.tensor([0.1, 3.0, -0.0][: 3 - rank], dtype=torch.bfloat16),
        "double": torch.tensor([0.1, 1e300, -0.0][: 3 - rank], dtype=torch.float64),
        "truth": ids > 6,
        "count": (ids % 7).int(),
        "place": ids + 2**50,
        "wide": torch.stack([ids, -ids, ids % 3], 1).T.contiguous().T.float(),
    }
    found, values = collectives.gather(ids, list(columns.values()))
    none, empty = collectives.gather(ids[:0] if rank else ids[:1], [columns["single"][: 1 - rank]])
    return {
        "ids": found.tolist(),
        "columns": dict(zip(columns, values, strict=True)),
        "lone": [none.tolist(), empty[0].tolist()],
        "nobody": [len(collectives.gather(ids[:0], [columns["wide"][:0]])[1][0]), collectives.everyone(rank)],
        "counts": [
            collectives.largest(rank),
            collectives.total(rank + 1),
            collectives.add_up(torch.arange(3) + rank).tolist(),
        ],
    }


def refusals(rank):
    """What a process says that others cannot follow."""
    said = []
    ids, column = torch.arange(3), torch.zeros(3)
    for columns in (
        [column] if rank else [],
        [column if rank else column.int()],
        [column.expand(rank + 1, 3).T],
    ):
        try:
            collectives.gather(ids, columns)
        except RuntimeError as error:
            said.append(str(error))
    selector = sw.Selector("infobatch", N, epochs=2)
    selector.plan(0)
    if rank:
        selector.observe(ids, column)
    try:
        selector.state_dict()
    except ValueError as error:
        said.append(str(error))
    return said


def worker(rank, world):
    told = {name: trained(name, rank) for name in RECIPES}
    told["recorded"] = recorded(rank)
    # Exchanged in many small pieces the memory is the same.
    merging._AT_ONCE = 64
    told["in pieces"] = recorded(rank)
    return told | {"gather": gathered(rank), "refusals": refusals(rank)}


def check_training(name, one, two):
    for epoch in range(EPOCHS):
        plan = one["plans"][epoch]
        assert plan == two["plans"][epoch], name
        assert one["length"][epoch] == two["length"][epoch] == len(plan) // WORLD // 6
        mine, theirs = ([i for ids in log["ids"][epoch] for i in ids] for log in (one, two))
        assert len(mine) == len(theirs) == len(plan) // WORLD // 6 * 6
        assert len(set(mine) | set(theirs)) == 2 * len(mine)
        assert set(mine) | set(theirs) <= set(plan)
        assert one["memory"][epoch] == two["memory"][epoch], name
    assert one["progress"] == two["progress"] == 1.0
    assert one["times"] == two["times"], name
    assert one["counts"] == two["counts"], name


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_ranks(worker, [WORLD], tmp_path_factory.mktemp("ranks"))[WORLD]


def test_two_processes_train_as_one(ranks):
    one, two = ranks
    for name in RECIPES:
        check_training(name, one[name], two[name])
    assert len(one["infobatch"]["plans"][1]) < N
    assert one["infobatch"]["memory"][0]["loss"] != one["infobatch"]["memory"][1]["loss"]
    # Batch level counts what both ranks chose; 3 rows of 6 in each step, 2 ranks.
    batch_level = one["random_batch"]
    assert sum(batch_level["times"]) == 2 * batch_level["counts"][0]
    check_recording(one["recorded"], two["recorded"])
    assert one["in pieces"] == one["recorded"]
    assert two["in pieces"] == two["recorded"]


def test_what_is_gathered_arrives_bit_by_bit_and_an_id_counts_once(ranks):
    ids = torch.tensor([5, 9, 2**40])
    expected = {
        "single": torch.tensor([0.1, -0.0, float("nan")]).view(torch.int32),
        "half": torch.tensor([0.1, -0.0, 3.0], dtype=torch.bfloat16).view(torch.int16),
        "double": torch.tensor([0.1, -0.0, 1e300], dtype=torch.float64).view(torch.int64),
        "truth": torch.tensor([False, True, True]),
        "count": (ids % 7).int(),
        "place": ids + 2**50,
        "wide": torch.stack([ids, -ids, ids % 3], 1).float(),
    }
    for found in (rank["gather"] for rank in ranks):
        assert found["ids"] == ids.tolist()
        for name, wanted in expected.items():
            got = found["columns"][name]
            bits = got.view(wanted.dtype) if name in ("single", "half", "double") else got
            assert bits.dtype == wanted.dtype
            assert torch.equal(bits, wanted), name
        assert found["lone"] == [[5], [torch.tensor(0.1).item()]]
        assert found["nobody"] == [0, [0, 1]]
        assert found["counts"] == [1, 3, [1, 3, 5]]


def test_columns_that_differ_and_states_that_lack_the_others_are_refused_by_both(ranks):
    zero, one = (rank["refusals"] for rank in ranks)
    assert len(zero) == 3
    assert all("processes must hold the same columns" in said for said in zero + one[:3])
    assert "Call selector.sync() on every process before state_dict()" in one[3]


def check_recording(one, two):
    for mine, theirs in zip(one["seen"], two["seen"], strict=True):
        assert mine[0] == theirs[0] == 4  # 21 samples each, in batches of 6
        assert len(mine) == len(theirs) == 1 + 21
        assert set(mine[1:]) | set(theirs[1:]) == set(range(N))
    assert one["columns"] == two["columns"]
    assert one["kept"] == two["kept"]
    assert all(len(kept) == N - int(0.7 * N) for kept in one["kept"].values())
    assert one["model"] == "Net"


def test_alone_there_is_one_rank():
    assert (collectives.world(), collectives.rank()) == (1, 0)
