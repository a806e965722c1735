"""Data and reference losses of studies/lm.toml: a pile of sentences of three sources, one of them the target.

    python benchmarks/language.py make glue --out lm
    python benchmarks/language.py references studies/lm.toml --data lm --out studies/lm

`make` writes train.parquet and test.parquet with the columns text and source. The sources are phrases of film
reviews (SST-2), sentences of the pages of this project as they were at one commit, and sentences of books on
linguistics (CoLA), the target. The last rows of the training split are CoLA sentences, too: they are *known*
to be of the target, while nobody says so of the others. Sentences have 5 to 14 words. No page gives sentences
to both splits, and SST-2 and CoLA have their own test sentences (dev).

`references` writes what some methods of the study need, for the training rows that it has after its
validation split:

- `marginal.parquet`: the losses of every token under a small model that was trained on all rows.
- `conditional.parquet`: those under this model after a further training on the known rows. What both
  trainings cost is in this file.
- `known.parquet`, `cola.parquet`: the ids of the known rows, and of all rows of the target.

With `--quick`, `make` takes few rows, and `references` trains for one epoch.
"""

import argparse
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import samplewise as sw
from samplewise import recipes
from samplewise.bench.data import held_out_rows
from samplewise.bench.language import data as language
from samplewise.bench.language.run import LanguageRun, LanguageTask, padded
from samplewise.bench.settings import Settings
from samplewise.bench.study.language import LanguageTrainer
from samplewise.bench.study.spec import parsed
from samplewise.bench.text.data import TextData
from samplewise.cost.ledger import Ledger

COMMIT = "2e78c79"
"""The pages are those of this commit."""
WRITTEN_BY_SCRIPTS = ("architecture", "methods", "reference")
"""Pages that repeat docstrings."""
WORDS = range(5, 15)
ROWS = {"sst2": 1000, "docs": 500, "cola": 500}
"""Training rows of each source whose source nobody knows."""
KNOWN, TESTED = 200, 500
"""Known rows of the target, and the most test rows of each source."""
SMALL = "llama:width=64,layers=2,heads=2"
"""The reference: a small model, as it runs on all rows before a training that may take a part of them."""
EPOCHS, AFTER = 2, 6
"""Epochs of the small model on all rows, and then on the known ones."""
RATE, RATE_AFTER = 6e-3, 2e-3
"""Its learning rates. With the first one on the known rows, it only remembers them."""
QUICK = 20


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make", help="write the sentences")
    make.add_argument("glue", type=Path, help="a folder with sst2-train.parquet, cola-dev.parquet, ...")
    make.add_argument(
        "--pages", type=Path, help="a folder of Markdown files in place of the pages of a commit"
    )
    make.set_defaults(run=write_data)
    references = commands.add_parser("references", help="write reference losses and ids")
    references.add_argument("study", type=Path, help="studies/lm.toml: its task decides tokens and rows")
    references.add_argument("--data", type=Path, required=True, help="the folder that `make` wrote")
    references.set_defaults(run=write_references)
    for command in (make, references):
        command.add_argument("--out", type=Path, required=True, help="a folder")
        command.add_argument("--quick", action="store_true", help="few rows, or one epoch")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    given.run(given)


def write_data(given: argparse.Namespace) -> None:
    """Draw the rows, and write both splits."""
    rng, part = np.random.default_rng(0), QUICK if given.quick else 1
    pages = dict(pages_of(given.pages))
    tested = set(sorted(pages)[2::5])
    train = {name: glue(given.glue / f"{name}-train.parquet") for name in ("sst2", "cola")}
    test = {name: glue(given.glue / f"{name}-dev.parquet") for name in ("sst2", "cola")}
    train["docs"] = unique(s for name in sorted(set(pages) - tested) for s in sentences(pages[name]))
    test["docs"] = unique(s for name in sorted(tested) for s in sentences(pages[name]))
    held = {text for texts in test.values() for text in texts}
    rows, known = list[tuple[str, str]](), list[tuple[str, str]]()
    for name, size in ROWS.items():
        order = rng.permutation([text for text in train[name] if text not in held]).tolist()
        rows += [(text, name) for text in order[: size // part]]
        if name == "cola":
            known = [(text, name) for text in order[size // part :][: KNOWN // part]]
    mixed = [rows[i] for i in rng.permutation(len(rows))]
    write(given.out / "train.parquet", mixed + known)
    drawn = {name: rng.permutation(texts).tolist()[: TESTED // part] for name, texts in test.items()}
    write(given.out / "test.parquet", [(text, name) for name in ROWS for text in drawn[name]])


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write texts and their sources."""
    texts, sources = zip(*rows, strict=True)
    pq.write_table(pa.table({"text": list(texts), "source": list(sources)}), path)
    print(f"{path}: {', '.join(f'{sources.count(name)} of {name}' for name in ROWS)}")


def glue(path: Path) -> list[str]:
    """The sentences of a file of GLUE."""
    found = pq.read_table(path)
    column = next(name for name in ("sentence", "text_a") if name in found.column_names)
    return unique(text.strip() for text in found[column].to_pylist())


def unique(texts: Iterable[str]) -> list[str]:
    """Those of a usual length, each once, in order."""
    return [text for text in dict.fromkeys(texts) if len(text.split()) in WORDS]


def pages_of(folder: Path | None) -> Iterator[tuple[str, str]]:
    """The names and texts of the pages in a folder, or in docs/ at the commit."""
    root = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout

    if folder is not None:
        paths = sorted(folder.glob("*.md"))
    else:
        paths = [Path(line) for line in git("ls-tree", "--name-only", COMMIT, "docs/").split()]
    for path in paths:
        if path.suffix == ".md" and path.stem not in WRITTEN_BY_SCRIPTS:
            yield path.stem, path.read_text() if folder is not None else git("show", f"{COMMIT}:{path}")


def sentences(page: str) -> Iterator[str]:
    """The sentences of a page: of its paragraphs and lists, without code, tables, titles and marks."""
    page = re.sub(r"```.*?```", "\n\n", page, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*[-*] |\d+\. )", page):
        if not paragraph.lstrip().startswith(("#", "|", "!", "<", ">")):
            text = re.sub(r"^\s*([-*]|\d+\.) ", "", paragraph)
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
            yield from re.split(r"(?<=[.!?:])\s+", " ".join(re.sub(r"[*`]", "", text).split()))


def write_references(given: argparse.Namespace) -> None:
    """Train the small model on all rows, then on the known ones, and write its losses after both."""
    content = parsed(given.study)
    task = {"threads": 1} | content["task"] | {"data": str(given.data), "method": ("full",)}
    settings = Settings.made(**task).resolved()
    torch.set_num_threads(settings.threads or 1)
    trainer = LanguageTrainer(settings, content.get("validation", 0.1), given.out)
    data, whole = trainer.data, language.load(settings)
    known = known_rows(whole, content.get("validation", 0.1), KNOWN // (QUICK if given.quick else 1))
    small = replace(settings, model=f"{SMALL},vocabulary={len(trainer.vocabulary)}")

    def run(rows: TextData, epochs: int, lr: float = RATE) -> LanguageRun:
        own = replace(small, epochs=epochs, lr=lr)
        return LanguageRun(LanguageTask("reference", recipes.full(), 0, rows, trainer.vocabulary, own))

    def stored(done: LanguageRun, name: str, training: tuple[Ledger, ...]) -> None:
        found = sw.reference_losses(
            sw.language_model(done.model),
            run(data, 1).rows,
            model=done.model,
            out=given.out / f"{name}.parquet",
            batch_size=settings.batch_size,
            collate_fn=padded,
            dtype="float16",
            training=training,
        )
        spent, tested = found.provenance["scoring"], done.evaluate("validation")
        print(f"{name}: {spent}, {', '.join(f'{key} {value:.3f}' for key, value in tested.items())}")

    before = run(data, 1 if given.quick else EPOCHS).train()
    stored(before, "marginal", ())
    rows = data.trained_on(data.train_x[known.numpy()], data.train_y[known])
    after = run(rows, 1 if given.quick else AFTER, RATE_AFTER)
    after.model.load_state_dict(before.model.state_dict())
    after.train()
    stored(after, "conditional", (before.selector.ledger, after.selector.ledger))
    target = (data.train_y == data.class_names.index("cola")).nonzero().flatten()
    for name, ids in (("known", known), ("cola", target)):
        sw.Subset(ids, provenance={"n": len(data)}).to_parquet(given.out / f"{name}.parquet")
        print(f"{name}: {len(ids)} of {len(data)} rows")


def known_rows(whole: TextData, share: float, known: int) -> torch.Tensor:
    """The positions of the known rows after the validation split. Rows keep their order."""
    left = (~held_out_rows(whole.train_y, whole.classes, share, whole.name)).nonzero().flatten()
    return (left >= len(whole) - known).nonzero().flatten()


if __name__ == "__main__":
    main()
