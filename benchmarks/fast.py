"""Measure how well and how fast `--model fast` learns: full training of the study images-hard.

    python benchmarks/fast.py --data cifar10.npz [--quick] [--out benchmarks/results/fast.json]

One process, one thread. Seconds are the process's CPU clock, without tests. The file is written after every
run, and runs that it holds are not repeated. `--quick` trains on 100 images for each number of epochs. Its
numbers say nothing.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from samplewise.bench import Study
from samplewise.bench.study.jobs import FULL, Job

HERE = Path(__file__).parent
STUDY = HERE.parent / "studies" / "images-hard.toml"


def main() -> None:
    """Train, and write the numbers and a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10.npz")
    parser.add_argument("--epochs", type=int, nargs="+", default=[8, 6])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few images and epochs, and one seed")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fast.json")
    given = parser.parse_args()
    if given.quick:
        given.epochs, given.seeds = [2, 1], 1
    study = loaded(given.data, given.out.with_suffix(".work"), given.quick)
    rows: list[dict[str, Any]] = json.loads(given.out.read_text()) if given.out.exists() else []
    done = {(row["epochs"], row["seed"]) for row in rows}
    for seed in range(given.seeds):
        for epochs in given.epochs:
            if (epochs, seed) in done:
                continue
            job = Job(FULL, epochs, seed)
            row = study.trainer.run(job, lambda progress: None)
            study.trainer.finished(job)
            kept = {key: row[key] for key in ("n", "seconds", "test", "validation", "machine")}
            rows.append({"epochs": epochs, "seed": seed} | kept)
            given.out.write_text(json.dumps(rows, indent=1) + "\n")
            given.out.with_suffix(".md").write_text(page(rows))
            print(f"{epochs} epochs, seed {seed}: {row['test']['accuracy']:.2f} %, {row['seconds']:.0f} s")
    shutil.rmtree(study.folder, ignore_errors=True)  # checkpoints of unfinished runs


def loaded(data: str, out: Path, quick: bool) -> Study:
    """The study; in the quick form with few images."""
    if not quick:
        return Study.load(STUDY, data=data, out=out)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, STUDY.name)
        small.write_text(STUDY.read_text().replace("limit = 20000", "limit = 100"))
        return Study.load(small, data=str(Path(data).resolve()), out=out)


def page(rows: list[dict[str, Any]]) -> str:
    """The numbers as Markdown."""
    about = rows[0]["machine"]
    lines = [
        "# The network `fast` on CIFAR-10",
        "",
        f"Full training of [images-hard](../../studies/images-hard.toml): {rows[0]['n']:,} images with "
        "augmentation, label smoothing 0.1, bfloat16. Accuracy and loss (NLL, without smoothing) are those "
        "of the 10,000 test images after the last epoch.",
        "",
        f"Machine: {about['cpu']}, {about['cores']} cores, torch {about['torch']}. One thread; CPU seconds "
        "of training. Mean (lowest to highest) over the seeds.",
        "",
        "| epochs | runs | test accuracy, % | test loss | CPU seconds |",
        "|---|---|---|---|---|",
    ]
    for epochs in sorted({row["epochs"] for row in rows}):
        own = [row for row in rows if row["epochs"] == epochs]
        accuracy = spread([row["test"]["accuracy"] for row in own], ".2f")
        loss = spread([row["test"]["loss"] for row in own], ".3f")
        seconds = spread([row["seconds"] for row in own], ".0f")
        lines.append(f"| {epochs} | {len(own)} | {accuracy} | {loss} | {seconds} |")
    lines += ["", "Numbers: `fast.json`; made with `python benchmarks/fast.py`."]
    return "\n".join(lines) + "\n"


def spread(values: list[float], form: str) -> str:
    """The mean, and the lowest and highest value."""
    return f"{fmean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
