"""Sentences of a made-up language in Parquet files, with a source for each."""

import random

import pyarrow as pa
import pyarrow.parquet as pq

NOUNS, VERBS = ("cat", "dog", "bird", "fish"), ("sees", "hears", "likes")


def sentences(n, seed=0):
    """Texts and sources: in "animals" a verb comes between two nouns, in "numbers" numbers count up."""
    draw, rows = random.Random(seed), []
    for i in range(n):
        first = draw.randrange(10, 90)
        animals = f"the {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)}" + " ." * (i % 3)
        rows.append((animals, "animals") if i % 2 else (f"{first} {first + 1} {first + 2}", "numbers"))
    return rows


def write(folder, train=48, test=16, **names):
    """Write train.parquet and test.parquet with the columns text and source, and return the folder.

    `names` are other names for the two sources.
    """
    folder.mkdir(exist_ok=True, parents=True)
    for name, n, seed in (("train", train, 0), ("test", test, 1)):
        texts, sources = zip(*sentences(n, seed), strict=True)
        table = pa.table({"text": list(texts), "source": [names.get(one, one) for one in sources]})
        pq.write_table(table, folder / f"{name}.parquet")
    return folder
