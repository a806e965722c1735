"""The result of `sw.advise`, and what it refuses."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import samplewise as sw
from samplewise.advice import measuring
from tests.advice.toys import Slow


@pytest.fixture(scope="module")
def found():
    return Slow().advise(epochs=4)


def test_every_recipe_has_a_row_or_a_reason(found):
    rows = {row.method for row in found.rows}
    for name in sw.recipes.all():
        assert (name in rows) != (name in found.left_out), name
    assert {"fixed", "rho_loss", "always_set", "dynams_proxy", "greats_last_layer"} <= found.left_out.keys()
    assert found.left_out["fixed"] == "missing a required argument: 'subset'"


def test_methods_that_score_have_a_row_for_each_way(found):
    ways = {row.scoring for row in found.rows if row.method == "evolved_sampling"}
    assert ways == {"full", "bf16", "at=0", "every=2"}
    assert {row.scoring for row in found.rows if row.method == "ucb"} == ways - {"every=2"}
    assert {row.scoring for row in found.rows if row.method in ("infobatch", "aum")} == {""}


def test_rows_are_sorted_and_the_sentence_names_the_first(found):
    seconds = [row.seconds for row in found.rows]
    assert seconds == sorted(seconds)
    assert found.best is found.rows[0]
    assert found.sentence.startswith(f"On this machine, with this model, the cheapest is {found.best.name}, ")
    assert f"nothing saves more than {100 * found.best.saved:.0f} %" in found.sentence
    assert "time, never accuracy" in found.sentence
    assert found.text().endswith(found.sentence)


def test_a_static_method_pays_for_its_scoring_run(found):
    """`aum` records all 4 epochs and then trains on half of the samples."""
    rows = {row.method: row for row in found.rows}
    assert rows["aum"].parts["scoring run"] == pytest.approx(rows["full"].seconds, rel=1e-3)
    assert rows["aum"].saved == pytest.approx(-0.5, abs=1e-3)
    assert rows["aum"].hindrance == "the scoring run: 100 points"
    assert "scoring run" in rows["aum"].needs
    assert rows["random"].saved == pytest.approx(0.5, abs=1e-3)
    assert rows["random"].needs == ()


def test_needs_are_told_and_what_is_missing_is_marked(found):
    rows = {row.name: row for row in found.rows}
    assert rows["kakurenbo (full)"].needs == ("logits", "targets", "pass")
    assert rows["kakurenbo (full)"].lacks == ()
    assert rows["online_ms (full)"].lacks == ("features", "head")
    assert "features (missing)" in found.text()
    assert "labels" in rows["ucb (at=0)"].needs


def test_the_best_lacks_nothing():
    slow = Slow()
    outputs = slow.forward
    slow.forward = lambda batch: outputs(batch).loss
    only = slow.advise(methods=["noise_budget"], epochs=4)
    assert only.best.method == "full"
    assert "the cheapest is ordinary training (full); nothing saves time" in only.sentence


def test_the_result_shows_itself(found):
    saved = f"{100 * found.best.saved:.0f} %"
    assert repr(found) == f"Advice({len(found.rows)} rows, fastest {found.best.name}: {saved} saved)"
    assert str(found) == found.text()
    html = found._repr_html_()
    assert html.count("<tr>") >= len(found.rows)
    assert found.sentence in html
    table = found.table()
    assert len(table) == len(found.rows)
    assert table[0]["method"] == found.rows[0].method
    assert json.loads(json.dumps(found.as_dict()))["rows"][0]["saved"] == found.rows[0].saved
    assert "A step of 16 rows takes" in found.text()


def test_a_note_says_what_would_stop_methods():
    quick = {"methods": ["loss_sampling"], "epochs": 4}
    slow_loading = Slow(read=100).advise(**quick)
    assert any("Loading takes 9" in note and "before an epoch" in note for note in slow_loading.notes)
    fixed = Slow(fixed=1000).advise(**quick)
    assert any(note.startswith("A step of 4 rows takes 9") for note in fixed.notes)
    assert not any(
        note.startswith(("Loading", "A step")) for note in Slow(fixed=0, update=0).advise(**quick).notes
    )
    assert not any("optimizer" in note for note in fixed.notes)
    assert any("SGD with momentum" in note for note in Slow().advise(**quick, optimizer=None).notes)


def test_a_loader_gives_its_batch_size_collate_and_workers():
    slow, seen = Slow(), []

    def collate(samples):
        seen.append(len(samples))
        x, y = zip(*samples, strict=True)
        return torch.stack(x), torch.stack(y)

    loader = DataLoader(slow.data, batch_size=8, collate_fn=collate)
    found = sw.advise(slow.forward, slow.model, loader, methods=["random_batch"], epochs=4, seconds=0.1)
    assert found.batch_size == 8
    assert set(found.narrow) == {2, 4, 8}
    assert 8 in seen
    larger = sw.advise(slow.forward, slow.model, loader, batch_size=16, methods=[], epochs=4, seconds=0.1)
    assert larger.batch_size == 16
    with pytest.raises(ValueError, match="advise takes num_workers from the DataLoader"):
        sw.advise(slow.forward, slow.model, loader, num_workers=2)


def test_workers_are_measured_and_end():
    x = torch.randn(64, 4)
    model = nn.Linear(4, 2)
    found = sw.advise(
        lambda batch: model(batch[0]).sum(1),
        model,
        TensorDataset(x),
        batch_size=8,
        num_workers=1,
        methods=["ucb"],
        epochs=2,
        seconds=0.1,
    )
    assert found.step["loading"] > 0
    assert found.left_out["scoring at"].startswith("its head needs labels or forward.targets")


@pytest.mark.parametrize(("images", "option"), [(True, "half"), (False, "first=3")])
def test_the_view_fits_the_data(images, option):
    """Whole numbers, as pixels are stored, are images too."""
    x = torch.randint(0, 9, (32, 3, 4, 4) if images else (32, 6))
    model = nn.Embedding(10, 4)
    last = nn.Linear(4, 2)
    both = nn.ModuleList([model, last])

    def forward(batch):
        x = batch["image" if images else "input_ids"]
        return last(model(x.long().flatten(1)).mean(1)).sum(1)

    data = [{"image" if images else "input_ids": row} for row in x]
    given = {"batch_size": 8, "methods": ["loss_sampling"], "epochs": 2, "seconds": 0.1}
    assert option in {row.scoring for row in sw.advise(forward, both, data, **given).rows}


class Blocks(nn.Module):
    """A layer, two blocks, and a head, which end in this order."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([nn.Sequential(nn.Linear(6, 6)), nn.Sequential(nn.Linear(6, 6))])
        self.stem, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        for block in self.inner:
            x = block(x)
        return self.head(x)


def test_scoring_ends_at_the_first_block_or_where_it_is_told():
    slow = Slow()
    slow.model = Blocks()
    slow.optimizer = None
    quick = {"methods": ["loss_sampling"], "epochs": 2}
    assert "at=inner.0" in {row.scoring for row in slow.advise(**quick).rows}
    assert "at=stem" in {row.scoring for row in slow.advise(**quick, at="stem").rows}
    with pytest.raises(ValueError, match=r"Scoring\.at must name a module.*Did you mean 'stem'"):
        slow.advise(**quick, at="sten")


def test_a_head_may_learn_the_targets_of_a_forward():

    class Regression:
        def __call__(self, batch):
            return (model(batch[0])[:, 0] - batch[1]).square()

        def targets(self, batch):
            return batch[1]

    data = TensorDataset(torch.randn(32, 4), torch.randn(32))
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    given = {"batch_size": 8, "methods": ["loss_sampling"], "epochs": 2, "seconds": 0.1}
    rows = {row.scoring: row for row in sw.advise(Regression(), model, data, **given).rows}
    assert rows["at=0"].needs == ()


# ------------------------------------------------------------------------------------ errors


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(3)


def linear(batch):
    return LAYER(batch[0]).sum(1)


LAYER = nn.Linear(4, 2)
DATA = TensorDataset(torch.randn(16, 4))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"data": Stream()}, TypeError, r"samples by position, data\[i\], but Stream does not. Give a list"),
        ({"data": iter([1])}, TypeError, r"list\(itertools.islice\(data, 4096\)\)"),
        ({"data": DataLoader(Stream())}, TypeError, "Stream does not"),
        ({"data": TensorDataset(torch.zeros(0, 4))}, ValueError, "at least 1 sample, got 0"),
        (
            {"batch_size": 17},
            ValueError,
            r"advise.batch_size must be in \[2, 16\], the number of samples, got 17",
        ),
        ({"batch_size": None}, ValueError, "advise needs a batch size, got None"),
        ({"batch_size": 1}, ValueError, r"advise.batch_size must be >= 2, got 1"),
        ({"seconds": 0}, ValueError, "advise.seconds must be > 0, got 0"),
        ({"epochs": 0}, ValueError, "advise.epochs must be >= 1, got 0"),
        ({"model": nn.ReLU()}, ValueError, "model must have trainable parameters, got 0 parameters"),
        ({"model": nn.LazyLinear(2)}, ValueError, "some are lazy"),
        ({"model": len}, TypeError, r"model must be a torch.nn.Module, got builtin_function"),
        ({"model": None}, TypeError, "advise needs a model, got None"),
        ({"forward": None}, TypeError, "advise needs a forward, got None"),
        ({"forward": lambda batch: LAYER(batch[0]).mean()}, ValueError, 'reduction="none"'),
        ({"forward": lambda batch: "loss"}, TypeError, "str"),
        ({"forward": lambda batch: batch[0].sum(1)}, ValueError, "with their autograd graph"),
        ({"optimizer": torch.optim.LBFGS(LAYER.parameters())}, ValueError, "got LBFGS"),
        ({"optimizer": 3}, TypeError, "optimizer must be a torch optimizer, got int"),
        ({"methods": "infobatch"}, TypeError, r"Write \['infobatch'\]"),
        ({"methods": ["infobach"]}, ValueError, "Did you mean 'infobatch'"),
        ({"methods": ["ucb:keep=2"]}, ValueError, "keep must be"),
    ],
)
def test_bad_input_is_refused(given, error, said):
    usual = {"forward": linear, "model": LAYER, "data": DATA, "batch_size": 4, "seconds": 0.1, "epochs": 2}
    usual |= {"methods": ["random_batch"]} | given
    with pytest.raises(error, match=said):
        sw.advise(**usual)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_a_forward_for_an_accelerator_that_is_not_there_is_refused():
    def forward(batch):
        return LAYER(batch[0].to("cuda")).sum(1)

    with pytest.raises(ValueError, match="forward needs an accelerator, but torch finds none"):
        sw.advise(forward, LAYER, DATA, batch_size=4)


def test_an_error_of_forward_itself_is_not_hidden():
    def forward(batch):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        sw.advise(forward, LAYER, DATA, batch_size=4)


def test_rounds_end_in_time_and_are_never_less_than_three(monkeypatch):
    assert Slow().advise(methods=[], epochs=2, seconds=1e-3).rounds == 3
    monkeypatch.setattr(measuring, "MOST", 5)
    assert Slow().advise(methods=[], epochs=2, seconds=100).rounds == 5
