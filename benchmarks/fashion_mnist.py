"""Thirteen methods on 20,000 Fashion-MNIST images, with clean and with 40 % wrong labels.

    python benchmarks/fashion_mnist.py data/fmnist.npz

Two experiments of `samplewise train`, each with its run folder. A second call continues from the last
finished run. At the end, and with --report at any time, it writes the rows, the table and the picture to
benchmarks/results/.
"""

import argparse
from pathlib import Path

from samplewise.bench import experiment, files
from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.cli.console import terminal
from samplewise.cli.progress import Watch
from samplewise.report import dots, table
from samplewise.report.summary import summarise

# The default period is 10 epochs of 200. Here it is 3 of 30, so that there are ten checkpoints.
METHODS = (
    "full",
    "random_dynamic:period=3",
    "uncertainty:period=3",
    "uncertainty_ema:period=3",
    "epsilon_greedy:period=3",
    "ucb:period=3",
    "infobatch",
    "kakurenbo",
    "random_batch",
    "loss_sampling",
    "ordered_sgd",
    "evolved_sampling",
    "eswp",
)
LABELS = {"clean": 0.0, "noise": 0.4}
HEADINGS = {"clean": "Clean labels", "noise": "40 % uniform label noise"}


def main() -> None:
    """Run what is not finished, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="the .npz file")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=list(LABELS), help="only this experiment")
    parser.add_argument("--report", action="store_true", help="train nothing, only report finished runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    for name, share in LABELS.items():
        if given.report or given.only not in (None, name):
            continue
        settings = Settings(
            data=given.data,
            method=METHODS,
            epochs=given.epochs,
            lr=0.1,
            seeds=given.seeds,
            limit=given.limit,
            label_noise=share,
            device="cpu",
            threads=given.threads,
        ).resolved()
        path = given.runs / name
        if RunFolder(path).begun:
            settings = experiment.open_folder(path, settings, True, vars(settings))
        with Watch(terminal(), experiment.count(settings)) as watch:
            experiment.run(path, settings, watch)
    if all(RunFolder(given.runs / name).results_file.exists() for name in LABELS):
        report(given.runs, given.out)


def report(runs: Path, out: Path) -> None:
    """Rows, table and picture of the runs that are finished."""
    out.mkdir(parents=True, exist_ok=True)
    folders = {name: RunFolder(runs / name) for name in LABELS}
    results = {name: folder.results() for name, folder in folders.items()}
    rows = [{"labels": name} | row for name in LABELS for row in results[name]]
    files.write_lines(out / "fashion_mnist.jsonl", rows)
    config = folders["clean"].config()
    files.write_json(out / "fashion_mnist.config.json", config)
    settings, data, machine = folders["clean"].settings(), config["data"], config["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    trained = sum(row["seconds"] for row in rows) / 60
    lines = [
        f"# Fashion-MNIST, {data['train']:,} images: thirteen methods",
        "",
        "![Accuracy, cost and wall clock of every method](fashion_mnist.png)",
        "",
        f"{data['train']:,} training images, drawn once with balanced classes, and the whole test split of "
        f"{data['test']:,}; model `{settings.model}`, {settings.epochs} epochs, batch {settings.batch_size}, "
        f"{settings.optimizer}, top learning rate {settings.lr:g} ({settings.schedule}), {settings.seeds} "
        "seeds. Every method has its defaults except for the period (3 epochs of 30 instead of 10 of 200), "
        "and all have the same learning rate. No method was tuned. Accuracy is that of the last epoch.",
        "",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread(s) of torch; "
        f"{versions}. Training and selecting took {trained:.0f} minutes in all, without tests. Other "
        "work ran on the machine at times, so single wall clocks may be wrong; counts are exact.",
        "",
    ]
    for name, heading in HEADINGS.items():
        summaries = summarise(results[name], list(METHODS))
        lines += [f"## {heading}", "", table.markdown(summaries), *table.notes(summaries), ""]
    lines += [
        "Rows: `fashion_mnist.jsonl`; settings: `fashion_mnist.config.json`; made with "
        "`python benchmarks/fashion_mnist.py data/fmnist.npz`. Data: Xiao et al. 2017.",
        "",
    ]
    (out / "fashion_mnist.md").write_text("\n".join(lines))
    panels = [dots.Panel(heading, results[name]) for name, heading in HEADINGS.items()]
    dots.draw(panels, list(METHODS), f"Fashion-MNIST, {data['train']:,} images", out / "fashion_mnist.png")


if __name__ == "__main__":
    main()
