"""Language models in a study: data, tokens, losses by hand, and every kind of method of the study lm."""

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

import samplewise as sw
from samplewise import recipes
from samplewise.bench import Study
from samplewise.bench.language import data
from samplewise.bench.language.fits import Sizes, sizes_of
from samplewise.bench.language.run import LanguageRun, LanguageTask, padded
from samplewise.bench.language.vocabulary import END, Vocabulary
from samplewise.bench.settings import Settings
from samplewise.bench.study.jobs import Job
from samplewise.bench.study.language import LanguageTrainer
from tests.bench import language

torch.set_num_threads(1)
MODEL = "llama:width=16,layers=1,heads=2,vocabulary=280"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return language.write(tmp_path_factory.mktemp("language") / "texts")


def settings_of(made, **given):
    usual = {"model": MODEL, "data": str(made), "label_column": "source", "max_length": 12, "batch_size": 8}
    usual |= {"device": "cpu", "threads": 1, "method": ("full",), "epochs": 2, "lr": 0.01}
    return Settings.made(**usual | given).resolved()


def trainer_of(made, tmp_path, **given):
    return LanguageTrainer(settings_of(made, **given), 0.25, tmp_path)


def run_of(trainer, method="full", seed=0):
    made = trainer.data, trainer.vocabulary, trainer.settings
    return LanguageRun(LanguageTask(method, recipes.parse(method), seed, *made))


def test_texts_have_sources_and_a_held_out_part_of_each(made):
    found = data.load(settings_of(made))
    assert found.class_names == ("animals", "numbers")
    assert found.train_x.shape == (48, 1)
    texts, sources = zip(*language.sentences(48), strict=True)
    assert found.train_x[:, 0].tolist() == list(texts)
    assert [found.class_names[y] for y in found.train_y.tolist()] == list(sources)
    alone = data.load(settings_of(made, label_column=None))
    assert (alone.classes, alone.class_names, int(alone.train_y.max())) == (1, (), 0)


def test_texts_need_no_labels_and_one_column(made, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("x-train", "x-dev"):
        pq.write_table(pa.table({"text_a": ["a b", "c"], "text_b": ["", "d"]}), tmp_path / f"{name}.parquet")
    file = str(tmp_path / "x-train.parquet")
    with pytest.raises(
        ValueError, match=r"an empty 'text_b' \(first: row 0\)\. Leave out these rows, or name one"
    ):
        data.load(settings_of(made, data=file, label_column=None))
    found = data.load(settings_of(made, data=file, label_column=None, text_column="text_a"))
    assert found.train_x.tolist() == [["a b"], ["c"]]
    with pytest.raises(ValueError, match="--data must be a Parquet file"):
        data.load(settings_of(made, data="digits"))


@pytest.mark.parametrize("second", ["", None])
def test_a_second_column_that_is_empty_everywhere_is_left_out(made, tmp_path, second):
    """As the tasks of GLUE with single sentences are stored."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def load(train, test):
        for name, other in (("train", train), ("test", test)):
            columns = {"text_a": ["a b", "c"], "text_b": pa.array(other, pa.string())}
            pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        return data.load(settings_of(made, data=str(tmp_path), label_column=None))

    found = load([second] * 2, [second] * 2)
    assert found.train_x.tolist() == found.test_x.tolist() == [["a b"], ["c"]]
    with pytest.raises(ValueError, match=r"pairs of texts, text_a and text_b\. Name one column with"):
        load(["d", "e"], ["f", "g"])
    with pytest.raises(ValueError, match="an empty 'text_b'"):
        load([second] * 2, ["f", "g"])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("label", [None, "source"])
def test_a_split_without_rows_is_refused(tmp_path, split, label):
    import pyarrow.parquet as pq

    file = language.write(tmp_path) / f"{split}.parquet"
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    with pytest.raises(ValueError, match=f"the {split} split must have at least one row, but has none"):
        data.load(settings_of(tmp_path, label_column=label))


def test_a_vocabulary_is_the_same_in_every_process_and_knows_every_text(made):
    texts = [text for text, _ in language.sentences(200)]
    mine = Vocabulary(texts, 300)
    code = (
        "from tests.bench import language; from samplewise.bench.language.vocabulary import Vocabulary;"
        "print(Vocabulary([text for text, _ in language.sentences(200)], 300).digest)"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == mine.digest
    rows = mine.rows(["the cat", "völlig anders \n ✓"], 100)
    assert all(row[0] == row[-1] == END for row in rows)
    assert END not in rows[1][1:-1]
    assert mine.rows(["the cat"], 2) == [rows[0][:2]]
    back = mine.tokenizer(100).decode(rows[1][1:-1])
    assert back.strip() == "völlig anders \n ✓"
    # the first pair that is joined is the most frequent one, counted here by hand
    words = Counter(f"Ġ{word}" for text in texts for word in text.split())
    pairs = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            pairs[pair] += count
    merges = json.loads(mine._made.to_str())["model"]["merges"]
    assert pairs[tuple(merges[0])] == max(pairs.values())


def test_sizes_are_those_of_the_name():
    found = sizes_of("llama:width=64,layers=2,vocabulary=512")
    assert found == Sizes(width=64, layers=2, vocabulary=512)
    for name, said in (
        ("llama:widht=64", "unknown size 'widht'. Did you mean 'width'?"),
        ("llama:width=20", "width must be a multiple of twice the heads, got 20 and 4 heads"),
        ("llama:width=64,width=32", "width is given twice"),
        ("llama:vocabulary=100", "vocabulary must be"),
    ):
        with pytest.raises(ValueError, match=said.replace("?", r"\?").replace("(", r"\(")):
            sizes_of(name)


def test_settings_without_a_meaning_are_refused(made):
    for given, said in (
        ({"augment": True}, "--augment cannot be used with .* It takes texts"),
        ({"label_noise": 0.1}, "--label-noise cannot be used .* predicts tokens"),
        ({"scoring": "bf16"}, "--scoring cannot be used"),
        ({"text_column": ("a", "b")}, "must name one column"),
    ):
        with pytest.raises(ValueError, match=said):
            settings_of(made, **given)


def test_a_model_has_the_form_of_llama_and_weights_of_the_seed(made, tmp_path):
    trainer = trainer_of(made, tmp_path)
    first, again, other = (run_of(trainer, seed=seed).model for seed in (0, 0, 1))
    width, inner, tokens = 16, 48, len(trainer.vocabulary)
    block = 4 * width * width + 3 * width * inner + 2 * width
    assert sum(p.numel() for p in first.parameters()) == tokens * width + block + width
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    with torch.no_grad():  # no token sees what comes after it
        rows = torch.randint(1, tokens, (2, 6))
        rows[1, :4] = rows[0, :4]
        found = first.eval()(input_ids=rows).logits
    assert torch.allclose(found[0, :4], found[1, :4], atol=1e-6)
    assert not torch.allclose(found[0, 4:], found[1, 4:], atol=1e-6)


def test_the_loss_is_that_of_every_token_by_hand(made, tmp_path):
    """Row by row, without filling up: logs of the softmax at the next token, summed and divided."""
    trainer = trainer_of(made, tmp_path)
    run = run_of(trainer)
    run.model.eval()
    sums, counts = {"animals": 0.0, "numbers": 0.0}, {"animals": 0, "numbers": 0}
    for text, source in language.sentences(16, seed=1):
        (row,) = trainer.vocabulary.rows([text], 12)
        with torch.no_grad():
            logits = run.model(input_ids=torch.tensor([row])).logits[0].double()
        for place, token in enumerate(row[1:]):
            chances = [math.exp(value) for value in logits[place].tolist()]
            sums[source] -= math.log(chances[token] / sum(chances))
            counts[source] += 1
    found = run.evaluate()
    assert tuple(found) == trainer.metrics() == ("loss", "loss_animals", "loss_numbers")
    assert found["loss"] == pytest.approx(sum(sums.values()) / sum(counts.values()), rel=1e-5)
    for source in sums:
        assert found[f"loss_{source}"] == pytest.approx(sums[source] / counts[source], rel=1e-5)


def test_a_run_is_a_plain_training(made, tmp_path):
    """Against a loop that is written out here, over the same batches."""
    trainer = trainer_of(made, tmp_path, schedule="polynomial", warmup=0.5, momentum=0.8)
    run, plain = run_of(trainer), run_of(trainer)
    model = plain.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.8, 0.999), weight_decay=0.1)
    loader, step = plain.selector.loader(collate_fn=padded), 0
    for _ in range(2):
        for batch in loader:
            ids, labels = batch.data["input_ids"], batch.data["labels"]
            steps = 2 * math.ceil(36 / 8)
            share = step / steps
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (2 * share if share < 0.5 else 2 * (1 - share))
            flat = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(flat, labels[:, 1:].flatten(), ignore_index=-100)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            plain.selector.loss(batch)  # keeps the progress
            step += 1
    run.train()
    for mine, other in zip(run.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-5)
    assert run.selector.ledger.cost == 3 * 36 * 2


def test_training_learns_and_the_best_epoch_is_kept(made, tmp_path):
    trainer = trainer_of(made, tmp_path, epochs=6, lr=0.02)
    before = run_of(trainer).evaluate()["loss"]
    row = trainer.run(Job("full", 6, 0), lambda progress: None)
    assert row["test"]["loss"] < before - 1
    assert row["tokens"] == row["tokens_trained"] > 0
    values = [point[3] for point in row["curve"]]
    assert row["best"]["epoch"] == 1 + values.index(min(values))


def test_a_study_judges_methods_of_every_kind(made, tmp_path):
    """Losses, tokens, references and coresets, end to end; a repeated run gives the same row."""
    trainer = trainer_of(made, tmp_path)
    reference, rows = run_of(trainer, seed=5).train(), run_of(trainer).rows
    for name, run in (("before", run_of(trainer, seed=5)), ("after", reference)):
        sw.reference_losses(
            sw.language_model(run.model), rows, model=run.model, out=tmp_path / f"{name}.parquet",
            collate_fn=padded, training=(reference.selector.ledger,) if name == "after" else (),
        )  # fmt: skip
    sw.Subset(torch.arange(9), provenance={"n": 36}).to_parquet(tmp_path / "known.parquet")
    methods = [
        "infobatch",
        "loss_sampling",
        "noise_budget:noise=0.5,signal=loss",
        "token_topk:keep=0.5",
        "token_random:keep=0.5",
        f"rho_tokens:reference={tmp_path}/after.parquet,keep=0.5",
        f"rho_loss:irreducible={tmp_path}/after.parquet,keep=0.5",
        f"color:conditional={tmp_path}/after.parquet,marginal={tmp_path}/before.parquet,keep=0.5",
        f"fixed:subset={tmp_path}/known.parquet@epochs=3",
        "random:keep=0.5",
    ]
    (tmp_path / "s.toml").write_text(
        f"seeds = 1\nmetric = 'loss_animals'\ncontrols = false\nvalidation = 0.25\n"
        f"methods = {json.dumps(methods)}\n[task]\ndata = '{made}'\nlabel_column = 'source'\n"
        f"model = '{MODEL}'\nmax_length = 12\nepochs = 2\nbatch_size = 8\nlr = 0.01\n"
    )
    study = Study.load(tmp_path / "s.toml")
    assert (study.spec.sign, study.spec.margin) == (-1, 0.02)
    assert study.estimate().seconds > 0
    results = study.run()
    assert {line.name for line in results.lines} >= {"full, 1 epoch", "full, 2 epochs", *methods}
    rows = {row["method"]: row for row in study.plan.rows if row["epochs"] == 2 or "known" in row["method"]}
    whole = rows["full"]["cost"]
    assert whole == 3 * 36 * 2
    assert rows["token_topk:keep=0.5"]["cost"] == whole
    assert rows["token_topk:keep=0.5"]["tokens_trained"] < 0.6 * rows["full"]["tokens"]
    rho, color, known = (rows[methods[i]] for i in (5, 7, 8))
    # the reference has the size of the model and was trained as long: it costs as much, and 36 forwards
    assert rho["cost_without_scoring"] == whole
    assert rho["cost"] == pytest.approx(whole + whole + 36, rel=0.15)
    assert color["cost_without_scoring"] == whole / 2
    assert color["cost"] == pytest.approx(whole / 2 + whole + 36 + 36, rel=0.15)
    assert known["cost"] == 3 * 9 * 3
    again = Study.load(tmp_path / "s.toml", out=tmp_path / "again").trainer.run(Job(methods[5], 2, 0), print)
    assert {key: again[key] for key in ("test", "cost")} == {key: rho[key] for key in ("test", "cost")}


def test_methods_that_cannot_run_are_named(made, tmp_path):
    trainer = trainer_of(made, tmp_path, method=("full", "el2n:keep=0.5", "ucb"))
    with pytest.raises(
        ValueError, match=r"1 of 2 methods cannot run here. el2n:keep=0.5: .* needs logits and"
    ):
        trainer.check(["el2n:keep=0.5", "ucb"])


def test_rows_are_those_of_the_task(made, tmp_path):
    """Another place of the data changes nothing. Sizes, tokens and sources do."""
    before = trainer_of(made, tmp_path).task()
    moved = language.write(tmp_path / "moved")
    assert trainer_of(moved, tmp_path).task() == before
    changed = [
        {"model": MODEL.replace("280", "290")},
        {"label_column": None},
        {"max_length": 10},
        {"lr": 0.02},
    ]
    for given in changed:
        assert trainer_of(made, tmp_path, **given).task() != before
    assert trainer_of(language.write(moved, train=50), tmp_path).task() != before


def test_a_model_is_kept_in_a_folder_of_transformers(made, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = replace(trainer_of(made, tmp_path, epochs=1), models=tmp_path / "kept")
    trainer.run(Job("full", 1, 0), lambda progress: None)
    (folder,) = (tmp_path / "kept").rglob("config.json")
    model = AutoModelForCausalLM.from_pretrained(folder.parent)
    tokenizer = AutoTokenizer.from_pretrained(folder.parent)
    assert model.config.vocab_size == len(trainer.vocabulary) == len(tokenizer)
