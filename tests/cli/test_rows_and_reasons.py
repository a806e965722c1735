"""`samplewise score` on texts and tables of numbers; `select --rows` and `--explain`."""

import json
import math
import re

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from samplewise import recipes
from samplewise.cli import main
from samplewise.coresets.rows import write_rows
from samplewise.coresets.table import ScoreTable, Subset
from samplewise.policy import Policy
from samplewise.report import pictures
from tests.bench import texts

N = 60
STATIC = [
    name
    for name, made in recipes.all().items()
    if made.level == "static" and name not in ("fixed", "color") and made.__module__.startswith("samplewise.")
]


@pytest.fixture(scope="module", autouse=True)
def unpictured():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Training data of numbers in Parquet, in two columns and a list, and their scores by every method."""
    folder = tmp_path_factory.mktemp("numbers")
    rng = np.random.default_rng(0)
    for split, n in (("train", N), ("test", 20)):
        labels = np.arange(n) % 3
        centre = labels + rng.normal(size=n)
        columns = {
            "id": pa.array(np.arange(n) * 7),
            "height": pa.array(centre.astype(np.float32)),
            "when": pa.array(np.arange(n), pa.timestamp("ms")),
            "vector": pa.array([[float(c), float(c) ** 2, 1.0 + c] for c in centre]),
            "label": pa.array(labels, pa.int8()),
        }
        pq.write_table(pa.table(columns), folder / f"some-{split}.parquet", row_group_size=17)
    command = ["score", "--data", str(folder / "some-train.parquet"), "--model", "mlp", "--epochs", "6"]
    command += ["--batch-size", "16", "--threads", "1", "--device", "cpu", "--force"]
    methods = [word for name in STATIC for word in ("--method", SPECS.get(name, name))]
    assert main([*command, *methods, "-o", str(folder / "scores.parquet")]) == 0
    return folder


SPECS = {
    "tdds": "tdds:T=5,window=3,keep=0.5",
    "dual": "dual:T=5,window=3",
    "dyn_unc": "dyn_unc:window=3",
    "el2n": "el2n:first=2",
    "grand": "grand:at=2",
}


def in_json(value):
    return value if math.isfinite(value) else None


def explained(table, capsys, name, *ids, more=()):
    """The explanations of some samples, and the subset, by the command."""
    words = ["select", str(table / "scores.parquet"), "--method", name, "-o", str(table / "s.parquet")]
    for one in ids:
        words += ["--explain", str(one)]
    assert main([*words, "--force", "--json", *more]) == 0
    found = json.loads(capsys.readouterr().out)
    return found["explained"], Subset.read(table / "s.parquet")


def test_columns_of_numbers_are_the_samples(table):
    """height and vector: four numbers. id is none, and a time is neither number nor text."""
    from samplewise.bench import data

    found = data.load(str(table / "some-train.parquet"))
    rows = pq.read_table(table / "some-train.parquet").to_pydict()
    expected = [[h, *v] for h, v in zip(rows["height"], rows["vector"], strict=True)]
    assert found.vectors
    np.testing.assert_allclose(found.train_x[:, :, 0, 0].numpy(), np.array(expected), rtol=1e-6)
    assert found.train_y.tolist() == rows["label"]


REFUSED = {
    ("d2", "--balance"): "a table has no features to choose with balance=True",
    ("craig", "--keep"): "the weights of FacilityLocation are known for 30 picks only",
    ("gradmatch", "--keep"): "the weights of MatchingPursuit are known for 30 picks only",
}
"""What `select` refuses, it does not explain."""


@pytest.mark.parametrize("name", STATIC)
@pytest.mark.parametrize("more", [(), ("--balance",), ("--keep", "0.3")], ids=["plain", "balance", "keep"])
def test_every_sample_is_explained(table, capsys, name, more):
    """Against the subset itself, and against the scores in plain Python."""
    words = ["select", str(table / "scores.parquet"), "--method", name, "-o", str(table / "x.parquet")]
    if (name, *more[:1]) in REFUSED:
        for explains in ((), ("--explain", "0")):
            assert main([*words, "--force", *more, *explains]) != 0
            assert REFUSED[name, *more[:1]] in capsys.readouterr().err
        return
    assert main([*words, "--force", *more]) == 0
    capsys.readouterr()
    told, subset = explained(table, capsys, name, *range(N), more=more)
    scores = ScoreTable.read(table / "scores.parquet")
    policy = scores.policy(name)
    assert isinstance(policy, Policy)
    kept = set(subset.ids.tolist())
    weights = torch.ones(len(subset)) if subset.weights is None else subset.weights
    weight = dict(zip(subset.ids.tolist(), weights.tolist(), strict=True))
    for i, one in enumerate(told):
        assert one["id"] == i
        assert one["kept"] == (i in kept)
        assert f"Sample {i} is {'kept' if i in kept else 'dropped'} by {name}." in one["text"]
        assert one["weight"] == (pytest.approx(weight[i]) if i in kept else None)
        assert one["label"] == i % 3
        assert one["reason"]
        rivals = [j for j in range(N) if not one["by_class"] or j % 3 == i % 3]
        assert (one["of"], one["places"]) == (len(rivals), len(kept & set(rivals)))
        if one["rank"] is not None:
            values = scores[name].double().tolist()
            assert one["score"] == in_json(values[i])
            assert one["rank"] == 1 + sum(values[j] > values[i] for j in rivals)
            assert one["threshold"] == in_json(min(values[j] for j in rivals if j in kept))
    assert one["by_class"] == bool(subset.provenance["balance"])


def test_what_decides_is_said(table, capsys):
    def reason(name, i, *more):
        (one,), _ = explained(table, capsys, name, i, more=more)
        return one["reason"]

    scores = ScoreTable.read(table / "scores.parquet")
    values = scores["aum"].sort(descending=True).values
    assert reason("aum", 0, "--keep", "0.5").startswith(
        f"The 30 highest scores are kept: from {float(values[29]):.6g} on."
    )
    assert "drawn at random, with equal chances" in reason("random", 3)
    hardest = int(scores["ccs"].argmax())
    assert "This is one of them" in reason("ccs", hardest, "--keep", "0.1")
    assert re.search(r"stratum \d+ of 50", reason("ccs", int(scores["ccs"].argmin())))
    first = int(scores["herding"].argmax())
    assert "It was pick 1, among the 20 samples" in reason("herding", first)
    assert re.search(r"Ranks 16 to 45 are kept", reason("moderate", 0))
    assert "times the mean" in reason("dual", 0)


def test_an_unknown_id_is_refused_and_nothing_is_written(table, capsys):
    words = ["select", str(table / "scores.parquet"), "--method", "aum", "-o", str(table / "no.parquet")]
    for wrong in ("60", "-1"):
        assert main([*words, f"--explain={wrong}"]) == 2
        assert f"must be an id from 0 to 59, got {wrong}" in capsys.readouterr().err
    assert not (table / "no.parquet").exists()


def test_an_explanation_needs_no_file(table, capsys):
    words = ["select", str(table / "scores.parquet"), "--method", "aum"]
    assert main([*words, "--explain", "3", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("Sample 3 is ")
    assert main(words) == 2
    assert "--out must name the file" in capsys.readouterr().err


def test_rows_are_written_with_all_columns_in_their_order(table, capsys):
    data, out = table / "some-train.parquet", table / "rows.parquet"
    words = ["select", str(table / "scores.parquet"), "--method", "tdds", "--rows", str(data)]
    assert main([*words, "-o", str(out)]) == 0
    assert "all columns of the data, and weight" in capsys.readouterr().out
    subset = ScoreTable.read(table / "scores.parquet").subset("tdds")
    whole, found = pq.read_table(data), pq.read_table(out)
    assert found.schema.names == [*whole.schema.names, "weight"]
    assert found.select(whole.schema.names).equals(whole.take(subset.ids.numpy()))
    assert found.schema.field("label").type == pa.int8()
    assert found["weight"].to_pylist() == subset.weights.tolist()
    assert main([*words, "-o", str(out)]) == 2
    assert main([*words, "-o", str(data), "--force"]) == 2
    assert "--out must not be a file of the data" in capsys.readouterr().err


def test_rows_are_read_piece_by_piece_over_several_files(tmp_path, monkeypatch):
    """With pieces of 3 rows: ids count on from file to file, and a column called weight stays."""
    from samplewise.coresets import rows

    monkeypatch.setattr(rows, "_READ", 3)
    monkeypatch.setattr(rows, "_WRITTEN", 4)
    whole = pa.table({"x": pa.array([f"text {i}" for i in range(20)]), "weight": pa.array(range(20))})
    sources = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(whole.slice(0, 8), sources[0])
    pq.write_table(whole.slice(8), sources[1])
    subset = Subset([19, 0, 7, 8, 9, 10, 2], [1.5, 1, 2, 3, 4, 5, 6], {"n": 20})
    assert write_rows(subset, sources, tmp_path / "out.parquet") == "coreset_weight"
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["x"].to_pylist() == [f"text {i}" for i in (0, 2, 7, 8, 9, 10, 19)]
    assert found["coreset_weight"].to_pylist() == [1, 6, 2, 3, 4, 5, 1.5]
    assert found["weight"].to_pylist() == [0, 2, 7, 8, 9, 10, 19]
    with pytest.raises(ValueError, match=r"of 20 samples, but .* has 8 rows"):
        write_rows(subset, sources[:1], tmp_path / "out.parquet")


def test_a_subset_of_a_data_set_of_hugging_face_is_one_too(tmp_path):
    label = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    columns = {"text": [f"text {i}" for i in range(9)], "label": [0, 1, 0] * 3}
    rows = datasets.Dataset.from_dict(columns, features)
    subset = Subset([8, 1, 4], provenance={"n": 9})
    found = subset.of(rows)
    assert list(found["text"]) == ["text 1", "text 4", "text 8"]
    assert found.features == rows.features
    found.to_parquet(str(tmp_path / "back.parquet"))
    assert pq.read_table(tmp_path / "back.parquet")["text"].to_pylist() == ["text 1", "text 4", "text 8"]
    with pytest.raises(ValueError, match=r"chosen from 9 samples, but the data set has 8"):
        subset.of(rows.select(range(8)))
    plain = subset.of([f"text {i}" for i in range(9)])
    assert [plain[i] for i in range(3)] == ["text 1", "text 4", "text 8"]


def test_texts_are_scored_and_a_coreset_of_them_trains(tmp_path, capsys):
    """From texts to scores, to a coreset, to its rows, to a training on it."""
    texts.encoder(tmp_path / "encoder")
    texts.write(tmp_path)
    data, model = tmp_path / "task-train.parquet", f"hf:{tmp_path / 'encoder'}"
    usual = [
        "--data",
        str(data),
        "--model",
        model,
        "--epochs",
        "2",
        "--batch-size",
        "8",
        "--max-length",
        "16",
    ]
    usual += ["--device", "cpu", "--threads", "1"]
    scores = tmp_path / "scores.parquet"
    assert main(["score", *usual, "--method", "el2n:first=1", "--method", "aum", "-o", str(scores)]) == 0
    found = ScoreTable.read(scores)
    assert len(found) == 40
    assert {"el2n", "aum"} <= set(found.columns)
    assert found.provenance["scoring"]["el2n"]["cost"] == 3 * 40
    assert found.provenance["scoring"]["aum"]["cost"] == 2 * 3 * 40
    select = ["select", str(scores), "--method", "aum", "--keep", "0.5"]
    assert main([*select, "-o", str(tmp_path / "hard.parquet")]) == 0
    assert main([*select, "--rows", str(data), "-o", str(tmp_path / "rows.parquet")]) == 0
    subset = Subset.read(tmp_path / "hard.parquet")
    rows, whole = pq.read_table(tmp_path / "rows.parquet"), pq.read_table(data)
    assert rows.select(whole.schema.names).equals(whole.take(subset.ids.numpy()))
    train = ["train", *usual, "--seeds", "1", "--subset", str(tmp_path / "hard.parquet")]
    assert main([*train, "--out", str(tmp_path / "run")]) == 0
    (row,) = map(json.loads, (tmp_path / "run" / "results.jsonl").read_text().splitlines())
    assert row["samples_backpropagated"] == 2 * 20
    assert row["cost"] == 2 * 3 * 20 + 2 * 3 * 40
    capsys.readouterr()
    assert main(["score", *usual, "--method", "moderate", "-o", str(tmp_path / "m.parquet")]) == 2
    assert "moderate needs features, which the Trainer does not give" in capsys.readouterr().err
    assert main(["score", *usual, "--method", "irreducible", "-o", str(tmp_path / "i.parquet")]) == 2
    assert "irreducible trains image models" in capsys.readouterr().err
    dry = ["score", *usual, "--method", "el2n:first=1", "-o", str(tmp_path / "d.parquet")]
    assert main([*dry, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] == 0.5
