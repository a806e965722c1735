"""The narrow view in the training loop: both losses train, passes run it alone, the ledger has its FLOPs."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw

N, EPOCHS = 24, 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.body(x))


def narrow_by_hand(net, norm, x):
    """The leading halves of every layer, written out."""
    first, second, last = net.body[0], net.body[3], net.fc
    h = F.linear(x, first.weight[:4], first.bias[:4])
    h = F.relu(norm(h))
    h = F.relu(F.linear(h, second.weight[:3, :4], second.bias[:3]))
    return F.linear(h, last.weight[:, :3], last.bias), h


class Data(torch.utils.data.Dataset):
    def __init__(self):
        rng = torch.Generator().manual_seed(3)
        self.x, self.targets = torch.randn(N, 5, generator=rng), torch.randint(3, (N,), generator=rng)

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.x[i], self.targets[i]


def build(policy="dynams_proxy", seed=0, **options):
    torch.manual_seed(seed)
    net, data = Net(), Data()
    view = sw.proxy.slim(net, width=0.5, head="fc", example=data.x[:4])
    forward = sw.classifier(net, head="fc", proxy=view)
    if policy == "dynams_proxy":
        policy = sw.recipes.dynams_proxy(period=1)
    selector = sw.Selector(policy, data, forward, model=net, epochs=EPOCHS, batch_size=8, **options)
    return net, view, selector, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def test_the_loop_equals_one_written_by_hand():
    net, view, selector, optimizer = build()
    mine = copy.deepcopy(net)
    norm = nn.BatchNorm1d(4)
    wide = [p for name, p in mine.named_parameters() if "narrow" not in name]
    plain = torch.optim.SGD([*wide, *norm.parameters()], lr=0.1, momentum=0.9)
    data = selector.dataset
    for epoch in range(EPOCHS):
        if epoch:
            norm.eval()
            with torch.no_grad():
                _, h = narrow_by_hand(mine, norm, data.x)
                margins = sw.signals.class_margins(h, data.targets, mine.fc.weight[:, :3], mine.fc.bias)
            norm.train()
        planned = None
        for batch in selector.loader():
            if planned is None:
                planned = selector.plan(epoch).ids
                if epoch:
                    k = len(planned)
                    assert planned.tolist() == sw.pickers.ClassBalanced(k / N).pick(
                        sw.pickers.Pool(N, torch.Generator(), {"margins": margins}, "margins")
                    ).rows.tolist()  # fmt: skip
            loss = selector.loss(batch)
            x, y = batch.data
            expected = F.cross_entropy(mine(x), y) + F.cross_entropy(narrow_by_hand(mine, norm, x)[0], y)
            torch.testing.assert_close(loss, expected)
            for some, that in ((optimizer, loss), (plain, expected)):
                some.zero_grad()
                that.backward()
                some.step()
    for name, parameter in mine.named_parameters():
        if "narrow" not in name:
            torch.testing.assert_close(net.get_parameter(name), parameter)
    own = list(view.own_parameters())
    torch.testing.assert_close(own, list(norm.parameters()))


def test_the_ledger_charges_the_narrow_pass_by_its_flops():
    _, view, selector, _ = build()
    for _ in range(EPOCHS):
        for batch in selector.loader():
            selector.loss(batch).backward()
    share = (5 * 4 + 4 * 3 + 3 * 3) / (5 * 8 + 8 * 6 + 6 * 3)
    ledger = selector.ledger
    assert ledger.proxy_share == pytest.approx(share)
    assert view.flops_share == pytest.approx(share)
    trained = ledger.samples_backpropagated
    assert trained == 24 + 18 + 11 + 5  # 24 times 1, 0.733, 0.467, 0.2, in whole numbers
    assert ledger.scoring_forwards == 0
    assert ledger.proxy_scoring_forwards == 3 * N
    assert ledger.cost == pytest.approx(3 * trained + share * (3 * trained + 3 * N))
    assert ledger.realised is None  # its own full steps train the narrow view, too
    assert "proxy's share of FLOPs" in str(ledger)


def test_a_pass_runs_the_narrow_view_alone_and_leaves_no_trace():
    net, _, selector, _ = build()
    for batch in selector.loader():
        selector.loss(batch)
    before = copy.deepcopy(net.state_dict())
    calls = []
    net.body[0].register_forward_hook(lambda module, inputs, output: calls.append(output.shape[1]))
    selector.set_epoch(1)
    assert calls == [4, 4, 4]
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_keep_1_trains_no_narrow_view():
    net, _, selector, _ = build(sw.recipes.dynams_proxy(keep=1.0, period=1))
    for batch in selector.loader():
        loss = selector.loss(batch)
        x, y = batch.data
        net.body[1].momentum = 0.0
        torch.testing.assert_close(loss, F.cross_entropy(net(x), y))
    assert selector.ledger.promised == 0


def test_a_recipe_with_a_proxy_is_refused_without_one():
    net, data = Net(), Data()
    for forward in (sw.classifier(net), lambda batch: None):
        with pytest.raises(ValueError, match=r"forward needs a `proxy`: sw.classifier\(model, head="):
            sw.Selector("dynams_proxy", data, forward, model=net, epochs=20, batch_size=8)


def test_a_forward_without_the_proxy_cannot_replace_one_that_has_it():
    _, _, selector, _ = build()
    with pytest.raises(ValueError, match="forward needs a `proxy`"):
        selector.forward = lambda batch: None


def test_a_loop_that_runs_the_forward_itself_is_refused_as_it_lacks_the_proxys_loss():
    _, _, selector, _ = build()
    batch = next(iter(selector.loader()))
    with pytest.raises(ValueError, match=r"dynams_proxy cannot be used with selector\.narrow"):
        selector.narrow(batch)
    selector.loss(batch).backward()


def test_a_view_of_another_model_or_head_is_refused():
    net, other = Net(), Net()
    view = sw.proxy.slim(other, head="fc", example=torch.zeros(4, 5))
    with pytest.raises(ValueError, match="proxy must be a narrow view of this model with the same head 'fc'"):
        sw.classifier(net, head="fc", proxy=view)
    with pytest.raises(ValueError, match=r"with the same head 'body\.3'"):
        sw.classifier(other, head="body.3", proxy=view)


def test_a_stopped_training_goes_on_bit_for_bit():
    def train(stop=None):
        net, _, selector, optimizer = build()
        losses, steps = [], 0
        for _ in range(selector.epoch, EPOCHS):
            for batch in selector.loader():
                loss = selector.loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                steps += 1
                if steps == stop:
                    saved = copy.deepcopy((net.state_dict(), optimizer.state_dict(), selector.state_dict()))
                    net, _, selector, optimizer = build(seed=9)
                    net.load_state_dict(saved[0])
                    optimizer.load_state_dict(saved[1])
                    selector.load_state_dict(saved[2])
                    for _ in range(selector.epoch, EPOCHS):
                        for again in selector.loader():
                            loss = selector.loss(again)
                            optimizer.zero_grad()
                            loss.backward()
                            optimizer.step()
                            losses.append(loss.item())
                    return losses, selector.ledger.cost, net.state_dict()
        return losses, selector.ledger.cost, net.state_dict()

    losses, cost, weights = train()
    for stop in (2, 4, 7):
        again, spent, state = train(stop)
        assert again == losses
        assert spent == cost
        assert all(torch.equal(state[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("head", "the model has no layer 'head'.*Linear layers: body.0, body.3, fc"),
        (
            "body.1",
            "must name a linear layer, but 'body.1' is a BatchNorm1d. Linear layers: body.0, body.3, fc",
        ),
    ],
)
def test_a_head_that_is_none_is_refused_with_the_linear_layers(head, words):
    with pytest.raises(ValueError, match=words):
        sw.classifier(Net(), head=head)


def test_a_head_inside_a_sequential_is_found_by_its_path():
    net = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    outputs = sw.classifier(net, head="1.2")((torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)))
    assert outputs.features.shape == (2, 4)
    assert outputs.head[0].shape == (3, 4)


def test_labels_beyond_the_heads_classes_are_refused_at_the_start():
    net, data = Net(), Data()
    data.targets[5] = 3
    with pytest.raises(
        ValueError, match=r"labels must be in \[0, 3\), the classes of the head of forward, got 3"
    ):
        sw.Selector("dynams", data, sw.classifier(net), model=net, epochs=20, batch_size=8)


def test_features_that_are_missing_are_said_at_the_first_batch():
    net, data = Net(), Data()

    def forward(batch):
        x, y = batch
        logits = net(x)
        loss = F.cross_entropy(logits, y, reduction="none")
        return sw.Outputs(loss, logits, y, head=(net.fc.weight, net.fc.bias))

    selector = sw.Selector("dynams", data, forward, model=net, epochs=20, batch_size=8)
    with pytest.raises(
        ValueError, match=r"dynams needs features: return sw.Outputs\(loss=..., features=...\)"
    ):
        selector.loss(next(iter(selector.loader())))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"features": torch.zeros(8, 5)},
            "Outputs.features must have 6 numbers per sample, as Outputs.head, got 5",
        ),
        ({"logits": torch.zeros(8, 4)}, "Outputs.logits must have 3 classes, as Outputs.head, got 4"),
        ({"targets": torch.full((8,), 3)}, r"in \[0, 3\), because Outputs\.head has 3 classes, got 3 to 3"),
    ],
)
@pytest.mark.parametrize("policy", ["dynams", "online_ms"])
def test_outputs_that_do_not_fit_the_head_are_refused_at_the_first_batch(policy, change, words):
    net, data = Net(), Data()
    whole = sw.classifier(net)
    forward = lambda batch: replace(whole(batch), **change)  # noqa: E731
    selector = sw.Selector(policy, data, forward, model=net, epochs=20, batch_size=8)
    with pytest.raises(ValueError, match=words):
        selector.loss(next(iter(selector.loader())))
