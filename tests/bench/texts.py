"""A text encoder and Parquet files that are made in a moment: 2 layers, a small vocabulary, short texts."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "good",
    "fine",
    "nice",
    "bad",
    "poor",
    "dull",
    "a",
    "the",
    "film",
]


def encoder(folder, **config):
    """Write an encoder whose words are `WORDS`."""
    split = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    split.pre_tokenizer = pre_tokenizers.Whitespace()
    split.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=split, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(
        BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **sizes | config)
    ).save_pretrained(folder)
    return folder


def sentences(n, seed=0):
    """Texts of 3 to 6 words, with 1 for one good word and 0 for one bad word."""
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        words = [draw.choice(("a", "the", "film")) for _ in range(draw.randint(2, 5))]
        words.insert(
            draw.randrange(len(words)), draw.choice(("bad", "poor", "dull") if i % 2 else ("good", "fine"))
        )
        rows.append((" ".join(words), 1 - i % 2))
    return rows


def write(folder, name="task", train=None, dev=None, **columns):
    """Write NAME-train.parquet and NAME-dev.parquet, and return the first. Columns hold both splits."""
    folder.mkdir(exist_ok=True, parents=True)
    for word, rows, seed in (("train", train or 40, 0), ("dev", dev or 20, 1)):
        texts, labels = zip(*sentences(rows, seed), strict=True)
        held = {"sentence": list(texts), "label": list(labels)}
        held = {k: (v(held) if callable(v) else v) for k, v in columns.items()} if columns else held
        pq.write_table(pa.table(held), folder / f"{name}-{word}.parquet")
    return folder / f"{name}-train.parquet"


def pairs(folder, name="pairs"):
    """The same with two texts and a number: the mean of their labels, and a little more."""

    def numbers(held):
        return [label * 2.5 + 0.1 * (i % 4) for i, label in enumerate(held["label"])]

    return write(
        folder,
        name,
        text_a=lambda held: held["sentence"],
        text_b=lambda held: held["sentence"][1:] + held["sentence"][:1],
        label=numbers,
    )
