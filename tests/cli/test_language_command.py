"""`samplewise train` and `score` on language models: what they write, how they continue, what they refuse."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from samplewise.bench.folder import RunFolder
from samplewise.bench.language.data import load
from samplewise.bench.language.run import LanguageRun, LanguageTask
from samplewise.bench.language.vocabulary import Vocabulary
from samplewise.cli import main
from samplewise.coresets.table import ScoreTable
from samplewise.recipes import full
from samplewise.report import pictures
from samplewise.subset import Subset
from tests.bench import language

MODEL = "llama:width=16,layers=1,heads=2,vocabulary=280"
OWN = """
from samplewise import pickers, signals, trackers
from samplewise.policy import Policy

def hard(keep=0.5):
    return Policy(
        signal=signals.loss, tracker=trackers.Mean(), picker=pickers.TopK(keep), source="training",
        final="end",
    )
"""


@pytest.fixture(autouse=True)
def unpictured(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return language.write(tmp_path_factory.mktemp("language") / "texts")


def usual(made, *more, sources=True):
    words = [
        "--model",
        MODEL,
        "--data",
        str(made),
        "--max-length",
        "12",
        "--batch-size",
        "8",
        "--epochs",
        "2",
    ]
    words += ["--lr", "0.01", "--device", "cpu", "--threads", "1"]
    return [*words, *(("--label-column", "source") if sources else ()), *map(str, more)]


def train(made, *more):
    return ["train", *usual(made, "--seeds", "1", *more)]


def test_runs_have_the_loss_per_token_in_table_and_sentence(made, tmp_path, capsys):
    out = tmp_path / "run"
    methods = ("--method", "full", "--method", "token_topk:keep=0.5", "--method", "random:keep=0.5")
    words = train(made, *methods, "--save-model", "--log", "csv", "--out", out)
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    rows = {row["method"]: row for row in RunFolder(out).results()}
    plain, half = rows["full"], rows["random:keep=0.5"]
    assert f"texts: 48 texts, {MODEL}" in shown
    assert "test loss per token nats" in shown
    best = min(("token_topk:keep=0.5", "random:keep=0.5"), key=lambda name: rows[name]["test_loss"])
    assert f"{best} reaches {rows[best]['test_loss']:.3f} nats test loss per token" in shown
    assert "That is the least of the 2 methods" in shown
    assert {"test_loss_animals", "test_loss_numbers"} <= plain.keys()
    assert (plain["cost"], half["cost_without_scoring"]) == (3 * 48 * 2, 3 * 24 * 2)
    assert (
        rows["token_topk:keep=0.5"]["tokens_trained"] < 0.6 * plain["tokens"] == 0.6 * plain["tokens_trained"]
    )
    curve = [row["test_loss"] for row in RunFolder(out).curves() if row["method"] == "full"]
    assert plain["best_loss"] == min(curve)
    assert len((out / "log-full-0.csv").read_text().splitlines()) == 3
    kept = AutoModelForCausalLM.from_pretrained(out / "model-full-0")
    # the same training without the command
    settings = RunFolder(out).settings().resolved()
    data = load(settings)
    vocabulary = Vocabulary(data.train_x[:, 0].tolist(), 280)
    again = LanguageRun(LanguageTask("full", full(), 0, data, vocabulary, settings)).train()
    assert plain["test_loss"] == again.evaluate()["loss"]
    assert torch.equal(kept.model.embed_tokens.weight, again.model.model.embed_tokens.weight)
    # the last method is missing, as after a kill
    for name in ("results.jsonl", "curves.jsonl"):
        lines = (out / name).read_text().splitlines(keepends=True)
        (out / name).write_text("".join(line for line in lines if '"random' not in line))
    assert main(["train", "--out", str(out), "--resume"]) == 0
    assert RunFolder(out).results()[-1]["test_loss"] == half["test_loss"]
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "down and left is better" in page
    assert "test loss per token, nats" in page


def test_groups_and_estimates(made, tmp_path, capsys):
    out = tmp_path / "run"
    words = train(made, "--method", "random_dynamic:keep=0.5", "--groups", "label", "--shares")
    assert main([*words, "animals=3,numbers=1", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] == pytest.approx(0.5, rel=0.05)
    assert main([*words, "animals=3,numbers=1", "--out", str(out)]) == 0
    told = ScoreTable.read(out / "scores-random_dynamic_keep=0.5-0.parquet").provenance["selections"][0]
    assert told == {"epoch": 0, "share animals": 0.75, "share numbers": 0.25}
    assert RunFolder(out).config()["data"]["groups"] == {"animals": 24, "numbers": 24}
    alone = ["train", *usual(made, "--method", "random_dynamic", "--groups", "label", sources=False)]
    assert main([*alone, "--out", str(tmp_path / "other")]) == 2
    assert "--groups label needs classes" in capsys.readouterr().err


@pytest.mark.parametrize("sources", [True, False])
def test_a_report_suspects_no_label_and_advises_no_history(made, tmp_path, sources):
    out = tmp_path / "run"
    words = usual(made, "--method", "infobatch", "--seeds", "1", "--out", out, sources=sources)
    assert main(["train", *words]) == 0
    table = ScoreTable.read(out / "scores-infobatch-0.parquet")
    assert table.columns
    assert (table.labels is not None) == sources
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "The highest loss." in page
    assert "A run on texts keeps no history" in page
    assert "Train with --history" not in page
    assert "wrong labels" not in page.lower()
    assert "class 0" not in page
    assert ("The model does not predict the classes, so none is suspected." in page) == sources
    assert ("No labels are known, so none is suspected." in page) != sources


def test_texts_are_scored_by_their_losses(made, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    scores, method = tmp_path / "scores.parquet", f"{tmp_path}/mine.py:hard"
    assert main(["score", *usual(made, "--method", method, "-o", scores)]) == 0
    table = ScoreTable.read(scores)
    name = next(name for name in table.columns if "hard" in name)
    assert table[name].isfinite().all()
    assert len(table) == 48
    said = capsys.readouterr().out
    assert "has scores of 48 samples" in said
    (spent,) = table.provenance["scoring"].values()
    assert spent["cost"] == 3 * 48 * 2
    select = ["select", str(scores), "--method", name, "--keep", "0.25", "-o", str(tmp_path / "hard.parquet")]
    assert main(select) == 0
    chosen = Subset.read(tmp_path / "hard.parquet").ids
    assert chosen.tolist() == table[name].argsort(descending=True)[:12].sort().values.tolist()
    assert main(train(made, "--subset", tmp_path / "hard.parquet", "--out", tmp_path / "run")) == 0
    (row,) = RunFolder(tmp_path / "run").results()
    assert (row["cost_without_scoring"], row["cost"]) == (3 * 12 * 2, 3 * 12 * 2 + 3 * 48 * 2)


def test_a_method_without_scores_is_said_to_have_none(made, tmp_path, capsys):
    file = tmp_path / "drawn.parquet"
    assert main(["score", *usual(made, "--method", "random", "-o", file)]) == 0
    said = capsys.readouterr().out
    assert f"{file} has no scores, because random needs none." in said
    assert "It has 48 samples in the columns id, label, times_selected." in said
    _, _, command = said.strip().partition("Choose with: samplewise ")
    chosen = tmp_path / "chosen.parquet"
    assert main([*command.split()[:-1], str(chosen)]) == 0
    assert len(Subset.read(chosen).ids) == 15  # 14.4, rounded up


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("score", "--method", "el2n"),
            "el2n needs logits and targets, which the language model of the command",
        ),
        (("score", "--method", "entropy"), "does not give. Use color, or a static method of your own whose"),
        (("score", "--method", "irreducible"), "For a language model, use sw.reference_losses."),
        (("train", "--method", "ucb", "--method", "aum:keep=0.5"), "aum:keep=0.5 needs logits and targets"),
        (("train", "--method", "full", "--history"), "--history cannot be used with --model llama"),
        (("train", "--method", "full", "--data", "digits"), "needs texts: --data must be a Parquet file"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(made, tmp_path, capsys, words, said):
    out, data = tmp_path / "out", [] if "--data" in words else ["--data", str(made)]
    given = [words[0], "--model", MODEL, "--max-length", "12", *data, *words[1:], "--out", str(out)]
    assert main(given) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
