"""`samplewise report`: run folders, studies and tables become one file, and bad input one line."""

import json
import re
import shutil

import numpy as np
import pytest

from samplewise.cli import main

TRAIN = ["train", "--model", "mlp", "--limit", "60", "--epochs", "2", "--batch-size", "32", "--threads", "1"]
METHODS = ["--method", "full", "--method", "infobatch", "--method", "el2n:keep=0.5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "one"
    command = [*TRAIN, *METHODS, "--seeds", "2", "--history", "--device", "cpu", "--out", str(out)]
    assert main(command) == 0
    return out


@pytest.fixture
def run(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "one")


def text_of(path):
    page = path.read_text()
    return re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)


def data_of(path):
    found = re.search(
        r'<script type="application/json" id="facts">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return json.loads(found[1])


def test_a_run_folder_becomes_one_page(run, capsys):
    assert main(["report", str(run)]) == 0
    said = capsys.readouterr().out
    assert "This is no verdict" in said
    assert "report.html: " in said
    page = run / "report.html"
    text = text_of(page)
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    means = {
        method: sum(row["test_accuracy"] for row in rows if row["method"] == method) / 2
        for method in ("infobatch", "el2n:keep=0.5")
    }
    best = max(means, key=means.get)
    assert f"{best} reaches {means[best]:.2f} %" in text
    for name in (
        "infobatch, seed 0",
        "el2n:keep=0.5, seed 0",
        "scores-infobatch-0.parquet",
        "data:image/png",
    ):
        assert name in text
    assert "full, seed 0" not in text
    assert "kept no history" not in text
    (table,) = data_of(page)["tables"].values()
    assert len(table["data"]) == 2 * 60
    assert page.stat().st_size < 5e6


def test_the_options_choose_what_is_shown(run, tmp_path, capsys):
    np.save(tmp_path / "features.npy", np.random.default_rng(0).normal(size=(60, 4)))
    out = tmp_path / "other.html"
    options = ["--method", "infobatch", "--seed", "1", "--features", str(tmp_path / "features.npy")]
    assert main(["report", str(run), *options, "--no-samples", "-o", str(out)]) == 0
    text = text_of(out)
    assert "scores-infobatch-1.parquet" in text
    assert "infobatch, seed 1" in text or "infobatch" in text
    assert "el2n:keep=0.5, seed" not in text
    assert "Most alike" in text
    assert "data:image" not in text
    assert "The samples were left out" in text


def test_an_existing_file_stays_without_force(run, capsys):
    (run / "report.html").write_text("mine")
    assert main(["report", str(run)]) == 2
    assert "add --force" in capsys.readouterr().err
    assert (run / "report.html").read_text() == "mine"
    assert main(["report", str(run), "--force", "--no-samples"]) == 0
    assert "<!doctype html>" in (run / "report.html").read_text()


def test_what_is_missing_is_said_in_the_page(run, tmp_path):
    (run / "scores-infobatch-0.parquet").unlink()
    out = tmp_path / "report.html"
    assert main(["report", str(run), "--method", "infobatch", "-o", str(out)]) == 0
    assert "scores-infobatch-0.parquet is missing" in text_of(out)


def test_data_that_are_gone_are_said_in_the_page(run, tmp_path, capsys):
    config = json.loads((run / "config.json").read_text())
    config["settings"]["data"] = str(tmp_path / "gone.npz")
    (run / "config.json").write_text(json.dumps(config))
    assert main(["report", str(run)]) == 0
    text = text_of(run / "report.html")
    assert "The samples cannot be shown" in text
    assert "Name the data with --data" in text
    assert main(["report", str(run), "--data", "digits", "--force"]) == 0
    assert "data:image/png" in text_of(run / "report.html")
    assert main(["report", str(run), "--data", "gone.npz", "--force"]) == 2
    assert "--data gone.npz" in capsys.readouterr().err


def test_a_table_of_scores_is_enough(run, tmp_path):
    out = tmp_path / "report.html"
    assert main(["report", str(run / "scores-el2n_keep=0.5-0.parquet"), "-o", str(out)]) == 0
    text = text_of(out)
    assert "holds scores of 60 samples" in text
    assert "Hardest" in text


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "judged"
    command = [*TRAIN, "--method", "infobatch", "--epochs", "3", "--seeds", "2", "--controls"]
    assert main([*command, "--device", "cpu", "--out", str(out)]) == 0
    return out


def test_a_study_shows_its_verdicts_and_its_ladder(study, tmp_path):
    out = tmp_path / "report.html"
    assert main(["report", str(study), "--out", str(out)]) == 0
    text = " ".join(text_of(out).split())
    verdicts = json.loads((study / "verdicts.json").read_text())
    assert verdicts["in_words"] in text
    assert "the ladder" in text
    for line in verdicts["lines"]:
        assert line["name"] in text
    assert "Studies keep none: give run folders" in text


def test_folders_are_shown_together(study, run, tmp_path):
    out = tmp_path / "report.html"
    assert main(["report", str(study), str(run), "--out", str(out)]) == 0
    assert "2 folders" in text_of(out)


def test_damaged_verdicts_are_named(study, tmp_path, capsys):
    broken = shutil.copytree(study, tmp_path / "broken")
    for content in ("{", "[]", "{}", '{"lines": [{"name": 1}]}'):
        (broken / "verdicts.json").write_text(content)
        assert main(["report", str(broken)]) == 2
        assert "verdicts.json is damaged" in capsys.readouterr().err
    (broken / "verdicts.json").unlink()
    assert main(["report", str(broken)]) == 2
    assert "no verdicts.json: its study was stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["nowhere", "-o", "x.html"], "nowhere does not exist"),
        (["empty"], "neither a run folder"),
        (["file.txt"], "neither a run folder"),
        (["one", "-o", "no/such/report.html"], "no/such is not a folder"),
        (["one", "-o", "empty"], "must name a file"),
        (["one", "--method", "infobtach"], "Did you mean 'infobatch'?"),
        (["one", "--seed", "7"], "no finished run has this seed"),
        (["one", "--features", "none.npy"], "no such file"),
        (["one", "--features", "few.npy"], "must have a vector for each of the 60 samples"),
        (["one", "--features", "flat.npy"], "must have shape (n, d)"),
        (["bad.parquet", "-o", "x.html"], "bad.parquet"),
    ],
)
def test_bad_input_gives_one_line(run, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "bad.parquet").write_text("PAR1 and no more")
    np.save("few.npy", np.zeros((3, 2)))
    np.save("flat.npy", np.zeros(60))
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.glob("*.html"))


def test_a_damaged_table_is_named_before_anything_is_written(run, capsys):
    (run / "scores-infobatch-0.parquet").write_bytes(b"PAR1" + b"\0" * 40)
    assert main(["report", str(run)]) == 2
    assert "scores-infobatch-0.parquet" in capsys.readouterr().err
    assert not (run / "report.html").exists()
