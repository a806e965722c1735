"""`samplewise train --groups`: the shares of the groups of a column, what is stored, and what is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from samplewise import rng
from samplewise.bench.data import load
from samplewise.bench.group_shares import shares_of
from samplewise.bench.grouped import refuse_undivided
from samplewise.bench.settings import Settings
from samplewise.bench.study.images import TASK_SETTINGS
from samplewise.cli import main
from samplewise.coresets.table import ScoreTable
from samplewise.report import pictures
from samplewise.subset import Subset
from tests.bench import texts

N = 40
PLACES = ["web"] * 24 + ["code"] * 12 + ["maths"] * 4
NAMES = ("code", "maths", "web")
SMALL = ["train", "--model", "mlp", "--epochs", "2", "--batch-size", "8", "--seeds", "1", "--threads", "1"]
SMALL += ["--device", "cpu"]


@pytest.fixture(autouse=True)
def unpictured(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def write(path, **columns):
    """A table of numbers with labels and groups; its test split has no groups."""
    path.mkdir(exist_ok=True)
    draw = np.random.default_rng(0)
    held = {"a": draw.normal(size=N), "b": draw.normal(size=N), "label": [i % 2 for i in range(N)]}
    pq.write_table(pa.table(held | columns), path / "rows-train.parquet")
    pq.write_table(pa.table(held), path / "rows-test.parquet")
    return str(path / "rows-train.parquet")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write(tmp_path_factory.mktemp("groups"), place=PLACES)


def command(rows, *more):
    return [*SMALL, "--data", rows, *map(str, more)]


def counted(ids):
    return [sum(PLACES[i] == name for i in ids) for name in NAMES]


def test_every_method_gets_the_shares_and_full_gets_everything(rows, tmp_path, capsys):
    methods = ("full", "random_dynamic:keep=0.5,period=1", "el2n:keep=0.25", "loss_sampling:keep=0.5")
    chosen = [word for method in methods for word in ("--method", method)]
    shares = "web=0.2,code=0.5,maths=0.3"
    out = tmp_path / "run"
    words = command(rows, *chosen, "--groups", "place", "--shares", shares, "--history", "--out", out)
    assert main([*words, "--method", "random_dynamic:keep=1"]) == 2
    assert "groups need a method that keeps an exact share below 1" in capsys.readouterr().err
    words.remove("--history")  # loss_sampling chooses in batches
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"groups by place ({shares})" in shown
    trained = {
        row["method"]: row for row in map(json.loads, (out / "results.jsonl").read_text().splitlines())
    }
    assert trained["full"]["samples_backpropagated"] == 2 * N
    # 20 samples: code 10, maths 4 of 6, and its 2 go to code and web by 5 to 2
    told = ScoreTable.read(out / "scores-random_dynamic_keep=0.5,period=1-0.parquet").provenance["selections"]
    assert told == [{"epoch": e, "share code": 0.55, "share maths": 0.2, "share web": 0.25} for e in range(2)]
    kept = Subset.read(str(out / "subset-el2n_keep=0.25-0.parquet"))
    assert counted(kept.ids.tolist()) == [5, 3, 2]
    assert main(["report", str(out)]) == 0
    assert "The share of each group in every selection." in (out / "report.html").read_text()
    again = ["select", str(out / "scores-scoring-0.parquet"), "--method", "el2n:keep=0.25", "--keep", "0.5"]
    assert main([*again, "-o", str(tmp_path / "more.parquet")]) == 0
    scores = ScoreTable.read(out / "scores-scoring-0.parquet")
    expected = scores["el2n:keep=0.25"].argsort(descending=True)[: N // 2].sort().values
    assert Subset.read(str(tmp_path / "more.parquet")).ids.tolist() == expected.tolist()


@pytest.mark.parametrize(("groups", "fits"), [(20, True), (21, False)])
def test_more_than_half_as_many_groups_as_samples_are_refused(tmp_path, capsys, groups, fits):
    many = write(tmp_path / "data", place=[i % groups for i in range(N)])
    words = command(many, "--method", "random_dynamic:keep=0.5", "--groups", "place", "--dry-run")
    assert main(words) == (0 if fits else 2)
    said = "--groups place must have at least 2 samples in a group on average, but it has 21 groups of 40"
    assert (said in capsys.readouterr().err) != fits


def test_groups_are_a_part_of_the_run_folder(rows, tmp_path, capsys):
    out = tmp_path / "run"
    words = command(rows, "--method", "random_dynamic:keep=0.5", "--out", out)
    assert main([*words, "--groups", "place"]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["groups"] == "place"
    assert config["data"]["groups"] == {"code": 12, "maths": 4, "web": 24}
    capsys.readouterr()
    assert main([*words, "--groups", "label", "--resume"]) == 2
    assert "groups was 'place', now 'label'" in capsys.readouterr().err
    assert main([*words, "--groups", "place", "--shares", "temperature", "--resume"]) == 2
    assert "shares was None, now 'temperature'" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    # the same column with other values
    (out / "results.jsonl").unlink()
    (out / "curves.jsonl").unlink()
    moved = write(tmp_path, place=PLACES[::-1])
    config["settings"]["data"] = moved
    (out / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["train", "--out", str(out), "--resume"]) == 2
    assert "the data changed since it started" in capsys.readouterr().err


def test_a_run_without_groups_says_nothing_of_them(tmp_path):
    out = tmp_path / "run"
    assert main(command(write(tmp_path), "--method", "full", "--out", out)) == 0
    data = json.loads((out / "config.json").read_text())["data"]
    assert not {name for name in data if "group" in name}
    assert not {"groups", "shares"} & {*TASK_SETTINGS}
    assert (Settings().groups, Settings().shares) == (None, None)


def test_groups_go_with_their_rows(rows, tmp_path):
    """Classes, drawn rows and shares by losses; the column of groups is no part of a sample."""
    numbered = write(tmp_path, number=[7 + (i > 9) for i in range(N)])
    data = load(numbered, group_column="number")
    assert data.train_x.shape == (N, 2, 1, 1)
    assert data.taking(data.train_y == 1).train_groups.tolist() == [7 + (i > 9) for i in range(1, N, 2)]
    out = tmp_path / "run"
    given = ("--per-class", "6", "--seeds", "2", "--groups", "label", "--shares", "online:rate=2,explore=0.5")
    assert (
        main(command(write(tmp_path / "plain"), "--method", "random_dynamic:keep=0.5", *given, "--out", out))
        == 0
    )
    assert json.loads((out / "config.json").read_text())["data"]["groups"] == {"0": 6, "1": 6}
    (first, last) = (
        ScoreTable.read(out / f"scores-random_dynamic_keep=0.5-{seed}.parquet").provenance["selections"][0]
        for seed in (0, 1)
    )
    assert first == last == {"epoch": 0} | dict.fromkeys(("share 0", "share 1", "weight 0", "weight 1"), 0.5)


def test_rows_that_are_drawn_keep_their_groups(rows, tmp_path):
    out = tmp_path / "run"
    given = ("--limit", "20", "--groups", "place", "--method", "random_dynamic:keep=0.5,period=1")
    assert main(command(rows, *given, "--out", out)) == 0
    (name,) = out.glob("scores-*.parquet")
    told = ScoreTable.read(name).provenance["selections"][0]
    sizes = json.loads((out / "config.json").read_text())["data"]["groups"]
    kept = torch.randperm(N, generator=rng.generator(0, "limit"))
    kept = [i for c in (0, 1) for i in [i for i in kept.tolist() if i % 2 == c][:10]]
    assert sizes == {name: count for name, count in zip(NAMES, counted(kept), strict=True) if count}
    assert sum(told[f"share {name}"] for name in sizes) == pytest.approx(1)


def test_groups_must_fit_the_rows_of_every_seed(rows):
    """Of 16 drawn rows all three groups are in some draws, and in others one is missing."""
    data = load(rows, group_column="place")
    given = {"groups": "place", "shares": "web=1,code=1,maths=1", "method": ("rs2:keep=0.5",), "per_class": 8}
    refuse_undivided(data, Settings(**given, seeds=1))
    with pytest.raises(ValueError, match="--shares names 'maths', which no sample is in"):
        refuse_undivided(data, Settings(**given, seeds=40))


def test_texts_have_groups(tmp_path):
    encoder = texts.encoder(tmp_path / "encoder")
    data = texts.write(
        tmp_path,
        sentence=lambda held: held["sentence"],
        label=lambda held: held["label"],
        place=lambda held: ["web" if i < 30 else "code" for i in range(len(held["label"]))],
    )
    out = tmp_path / "run"
    words = ["train", "--data", str(data), "--model", f"hf:{encoder}", "--epochs", "1", "--seeds", "1"]
    words += ["--batch-size", "8", "--max-length", "16", "--device", "cpu", "--groups", "place"]
    words += ["--shares", "code=4,web=1", "--out", str(out)]
    assert main([*words, "--method", "infobatch"]) == 2
    assert main([*words, "--method", "random_dynamic:keep=0.25"]) == 0
    (name,) = out.glob("scores-*.parquet")
    assert ScoreTable.read(name).provenance["selections"] == [
        {"epoch": 0, "share code": 0.8, "share web": 0.2}
    ]
    assert json.loads((out / "config.json").read_text())["data"]["groups"] == {"code": 10, "web": 30}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--groups", "plase"), "--groups must be one of a, b, label, place, got 'plase'. Did you mean"),
        (
            ("--groups", "place", "--shares", "wep=1"),
            "--shares names 'wep', which no sample is in. Did you mean",
        ),
        (
            ("--groups", "place", "--shares", "web=1"),
            "--shares must have a number for each group, and has none",
        ),
        (("--groups", "place", "--shares", "web=1,code=0,maths=1"), "must be a number above 0, got 0"),
        (("--groups", "place", "--shares", "web=x,code=1"), "the share of web must be a number, got 'x'"),
        (("--groups", "place", "--shares", "onlin"), "got 'onlin'. Did you mean 'online'?"),
        (("--groups", "place", "--shares", "online:temperature=2"), "online takes rate and explore"),
        (("--groups", "place", "--shares", "online:rate=-1"), "--shares: rate must be"),
        (("--groups", "place", "--shares", "sizes:rate=1"), "sizes takes no parameters"),
        (("--groups", "place", "--shares", "web=1,web=2"), "web is given twice"),
        (("--shares", "sizes"), "--shares needs groups. Give --groups COLUMN."),
        (
            ("--groups", "place", "--method", "infobatch"),
            "infobatch: groups need a method that keeps an exact",
        ),
        (("--groups", "place", "--method", "el2n", "--shares", "online"), "must be numbers or 'sizes'"),
        (("--groups", "place", "--method", "full"), "--groups needs a method that chooses, got full"),
        (("--groups", "place", "--controls"), "--groups divides the budget of single trainings"),
        (("--groups", "place", "--subset", "x.parquet"), "--groups cannot divide the coreset of --subset"),
        (("--groups", "place", "--data", "digits"), "Use --groups label for the classes"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(rows, tmp_path, capsys, more, said):
    out = tmp_path / "run"
    method = () if "--method" in more or "--subset" in more else ("--method", "random_dynamic:keep=0.5")
    assert main(command(rows, *method, *more, "--out", out)) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert said in told
    assert not out.exists()


@pytest.mark.parametrize("lacks", [None, ""])
def test_every_sample_needs_a_group(tmp_path, capsys, lacks):
    rows = write(tmp_path, place=[*PLACES[:-1], lacks])
    out = tmp_path / "run"
    assert main(command(rows, "--method", "random_dynamic:keep=0.5", "--groups", "place", "--out", out)) == 2
    assert "but 1 rows have none (first: row 39)" in " ".join(capsys.readouterr().err.split())
    nothing = write(tmp_path, place=[lacks] * N)
    assert main(command(nothing, "--method", "rs2:keep=0.5", "--groups", "place", "--out", out)) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "no row has one" in told
    floats = write(tmp_path)
    assert main(command(floats, "--method", "rs2:keep=0.5", "--groups", "a", "--out", out)) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "column 'a': groups must be a 1-D array of integers or strings, got float64" in told


def test_shares_by_words_have_parameters():
    assert shares_of("temperature:temperature=0.5") == {"shares": "temperature", "temperature": 0.5}
    assert shares_of("online=0.5,other=2") == {"shares": {"online": 0.5, "other": 2}}
    with pytest.raises(ValueError, match="--shares must be sizes, temperature"):
        shares_of("")
