"""`fully_shard` on CPU processes: the choices of the unsharded model, and no trace of scoring."""

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import samplewise as sw
from samplewise.distributed import collectives
from samplewise.loop.scoring import without_trace
from tests.ranks import on_ranks
from tests.seams.toys import Tensors

N, EPOCHS, BATCH = 25, 3, 5


def boundary(features, weight, bias):
    """How near a sample is to the second class: reads the head."""
    first, second = (features @ weight.T + bias).topk(2).values.T
    return second - first


def methods():
    return {
        "eswp": sw.recipes.eswp(keep_epoch=0.7, keep=0.5),
        "loss_sampling": sw.recipes.loss_sampling(keep=0.5),
        "ucb": sw.recipes.ucb(keep=0.5, period=2),
        "kakurenbo": sw.recipes.kakurenbo(keep=0.5, tau=0.0),
        "infobatch": sw.recipes.infobatch(),
        "grand": sw.recipes.grand(keep=0.5),
        "moderate": sw.recipes.moderate(keep=0.5),
        "craig": sw.recipes.craig(keep=0.5),
        "boundary": sw.Policy(
            signal=boundary, tracker=sw.trackers.Last(), picker=sw.pickers.TopK(0.6), source="pass"
        ),
    }


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(4, 7)
        self.body = nn.Sequential(nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 5))
        self.fc = nn.Linear(5, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.fc(self.body(self.stem(x / N)))


def built(sharding, world):
    """The model, sharded or averaging its gradients, and its classifier's forward."""
    net = Net()
    forward = sw.classifier(net, head="fc")
    if sharding == "none":
        wrapped = nn.parallel.DistributedDataParallel(net)
        return net, wrapped, sw.classifier(wrapped, head="module.fc")
    mesh = init_device_mesh("cpu", (world,))
    for part in [net.body, net.fc] if sharding == "each layer" else [net.body]:
        fully_shard(part, mesh=mesh)
    return net, fully_shard(net, mesh=mesh), forward


def whole(parameters):
    return [p.detach().full_tensor() if hasattr(p, "full_tensor") else p.detach().clone() for p in parameters]


def kinds(model):
    return [type(p).__name__ for p in model.parameters()]


def trained(policy, sharding, world):
    net, model, forward = built(sharding, world)
    selector = sw.Selector(
        policy, Tensors(N), forward, model=model, epochs=EPOCHS, batch_size=BATCH, labels=torch.arange(N) % 3
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    plans, trained_on = [], []
    for epoch in range(EPOCHS):
        selector.set_epoch(epoch)
        plans.append(selector.plan(epoch).ids.tolist())
        assert kinds(model) == kinds(net)
        if sharding != "none":
            assert set(kinds(net)) == {"DTensor"}, f"a pass left {kinds(net)}"
        for batch in selector.loader():
            narrowed = selector.narrow(batch)
            if sharding != "none":
                assert set(kinds(net)) == {"DTensor"}, f"scoring left {kinds(net)}"
            loss = selector.reduce(forward(narrowed.data))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trained_on.append(sorted(i for ids in collectives.everyone(narrowed.ids.tolist()) for i in ids))
    return plans, trained_on, whole(net.parameters()), net.calls


def sharded(rank, world):
    told = {}
    for place, (name, policy) in enumerate(methods().items()):
        if world > 2 and place % 2:
            continue  # what one more process changes does not depend on the method
        kinds = ("none", "root") if place % 4 == 1 else ("none", "each layer")
        told[name] = {kind: trained(policy, kind, world) for kind in kinds}
    for sharding in ("root", "each layer"):
        net, _, forward = built(sharding, world)
        weight, bias = whole(net.fc.parameters())
        batch = (torch.randn(3, 4), torch.tensor([0, 1, 2]))
        with without_trace(net, sw.Scoring(mode="train")):
            scored = forward(batch)
        outputs = forward(batch)
        outputs.loss.mean().backward()
        for head in (scored.head, outputs.head):
            assert torch.equal(head[0], weight)
            assert torch.equal(head[1], bias)
    return told


def test_a_sharded_model_gets_the_choices_of_the_whole_one(tmp_path):
    for ranks in on_ranks(sharded, (2, 3), tmp_path).values():
        for name in ranks[0]:
            plans, trained_on, parameters, _ = ranks[0][name]["none"]
            calls = [{kind: run[3] for kind, run in rank[name].items()} for rank in ranks]
            assert all(counts == calls[0] for counts in calls), (
                f"{name}: some rank calls the model more often"
            )
            assert len(set(calls[0].values())) == 1
            for rank in ranks:
                for kind, (theirs, rows, ended, _) in rank[name].items():
                    assert theirs == plans, f"{name} plans otherwise with {kind} sharded"
                    assert rows == trained_on, f"{name} trains on other rows with {kind} sharded"
                    for ours, other in zip(parameters, ended, strict=True):
                        torch.testing.assert_close(other, ours, rtol=1e-4, atol=1e-5)
        assert any(len(plan) < N for plan in ranks[0]["boundary"]["none"][0])
