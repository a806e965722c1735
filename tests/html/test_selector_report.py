"""`selector.report` in plain loops."""

import json
import re

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import samplewise as sw
from samplewise.coresets.table import ScoreTable
from tests.html.made import NAMES


class Images(Dataset):
    """Random images. Sample 3 cannot be read once it is broken."""

    classes = NAMES[:4]
    broken = False

    def __init__(self, n=40):
        self.x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        self.targets = [i % 4 for i in range(n)]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if self.broken and i == 3:
            raise OSError("no such picture <b>")
        torch.rand(1)  # a transform that draws
        return self.x[i], self.targets[i]


def trained(method, data, epochs=3, **more):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    forward = sw.classifier(model, head="1")
    policy = sw.recipes.parse(method)
    selector = sw.Selector(policy, data, forward, model=model, epochs=epochs, batch_size=8, **more)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = selector.loader()
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
    return selector


def text_of(path):
    return re.sub(r"<(script|style).*?</\1>", "", path.read_text(), flags=re.DOTALL)


def test_a_plain_loop_has_a_report(tmp_path):
    data = Images(600)
    selector = trained("infobatch", data, history=True)
    before = torch.random.get_rng_state()
    data.broken = True
    features = np.random.default_rng(0).normal(size=(600, 3))
    features[3] = features[8]  # so it is shown, and the fingerprint of 256 samples does not read it
    path = selector.report(tmp_path / "report.html", features=features)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert path == tmp_path / "report.html"
    text = text_of(path)
    share = f"{100 * selector.ledger.cost_share:.1f} %"
    assert f"infobatch after 3 of 3 epochs: {share} of the cost" in text
    assert "&lt;script&gt;window.broken = 1&lt;/script&gt;" in text
    assert "<script>window" not in text
    for said in ("data:image/png", "Most alike", "report.parquet", "The share of each class", "no verdict"):
        assert said in text
    table = ScoreTable.read(tmp_path / "report.parquet")
    assert torch.equal(table["loss"], selector.table()["loss"])
    assert "This sample cannot be read: OSError: no such picture &lt;b&gt;" in text


def test_the_shares_of_groups_are_drawn(tmp_path):
    groups = ["web </script>" if i % 2 else "books" for i in range(40)]
    selector = trained("uncertainty:keep=0.5,period=1", Images(), groups=groups)
    page = selector.report(tmp_path / "report.html").read_text()
    charts = json.loads(re.search(r'id="facts">(.*?)</script>', page, re.DOTALL)[1])["charts"].values()
    drawn = [chart for chart in charts if "share of the group" in json.dumps(chart)]
    names = {row["name"] for row in drawn[0]["data"]["values"]}
    assert names == {"web </script>", "books"}
    noted = selector.ledger.selections
    shown = {(row["name"], row["x"]): row["y"] for row in drawn[0]["data"]["values"]}
    for notes in noted:
        assert shown["books", notes["epoch"]] == pytest.approx(100 * notes["share books"])


@pytest.mark.parametrize("method", ["full", "evolved_sampling", "el2n:keep=0.5", "random_batch:keep=0.5"])
def test_every_kind_of_method_has_a_report(method, tmp_path):
    selector = trained(method, Images())
    assert "no verdict" in text_of(selector.report(tmp_path / "report.html"))


def test_the_engine_alone_has_a_report(tmp_path):
    selector = sw.Selector("infobatch", 6, epochs=2)
    selector.plan(0)
    selector.observe(torch.arange(6), torch.rand(6))
    text = text_of(selector.report(tmp_path / "report.html"))
    assert "The Selector holds no data set" in text
    assert "No labels are known" in text
    assert "kept no history" in text


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"path": "no/report.html"}, FileNotFoundError, "the folder of the report must exist"),
        ({"path": "."}, ValueError, "must name an HTML file"),
        ({"path": "scores.parquet"}, ValueError, "must name an HTML file"),
        ({"path": "r.html", "features": torch.zeros(5)}, ValueError, r"must have shape \(6, d\)"),
        ({"path": "r.html", "features": torch.zeros(5, 2)}, ValueError, r"must have shape \(6, d\)"),
        ({"path": "r.html", "features": torch.full((6, 2), torch.nan)}, ValueError, "finite"),
    ],
)
def test_bad_arguments_write_nothing(arguments, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        sw.Selector("infobatch", 6, epochs=2).report(**arguments)
    assert not list(tmp_path.iterdir())
