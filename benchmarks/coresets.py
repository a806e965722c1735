"""Fourteen static methods on Fashion-MNIST and CIFAR-10, at four shares.

    python benchmarks/coresets.py data/fmnist.npz data/cifar10.npz

Each experiment is one `samplewise train` with its run folder. One training per seed scores for all
methods (another one, of a small proxy, for `svp`). Then every method trains a fresh model on its
coreset by Strategy E. A second call continues from the last finished run. At the end, and with --report at
any time, it writes the rows, the table and the picture to benchmarks/results/.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from samplewise.bench import experiment, files
from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.cli.console import terminal
from samplewise.cli.progress import Watch
from samplewise.subset import Subset

FOURTEEN = (
    "random", "entropy", "forgetting", "el2n", "grand", "aum", "moderate", "ccs", "dyn_unc", "tdds",
    "svp", "herding", "craig", "gradmatch",
)  # fmt: skip
UNWEIGHTED = "tdds, unweighted"
ROWS = (*FOURTEEN, UNWEIGHTED)
PROXY = "mlp"
LIMIT = 10.0
"""The lead over `random`, in points, at which the picture's colour scale ends."""


@dataclass(frozen=True)
class Part:
    """One table: a data set, the number of images, the shares kept, and the share of wrong labels."""

    heading: str
    images: int
    keeps: tuple[float, ...]
    noise: float = 0.0


PARTS = {
    "clean": Part("Fashion-MNIST, clean labels", 20_000, (0.7, 0.5, 0.3, 0.1)),
    "noise": Part("Fashion-MNIST, 20 % uniform label noise", 20_000, (0.7, 0.5, 0.3, 0.1), 0.2),
    "cifar10": Part("CIFAR-10, clean labels", 10_000, (0.5, 0.1)),
}


def spec(row: str, keep: float) -> str:
    """The method of one cell as on the command line."""
    if row == UNWEIGHTED:
        return f"tdds:keep={keep:g},weighting=none"
    return f"{row}:keep={keep:g}"


def experiments(part: Part, data: str, given: argparse.Namespace) -> dict[str, Settings]:
    """The two experiments of a part: all methods scored by the model itself, and svp by the proxy."""
    shared: dict[str, Any] = {
        "data": data,
        "epochs": given.epochs,
        "lr": 0.1,
        "seeds": given.seeds,
        "limit": min(part.images, given.limit or part.images),
        "label_noise": part.noise,
        "test_every": given.epochs,
        "device": "cpu",
        "threads": given.threads,
    }
    own = tuple(spec(row, keep) for row in ROWS if row != "svp" for keep in part.keeps)
    proxied = tuple(spec("svp", keep) for keep in part.keeps)
    return {
        "": Settings(method=("full", *own), **shared).resolved(),
        "-svp": Settings(method=proxied, score_model=PROXY, **shared).resolved(),
    }


def main() -> None:
    """Run what is not finished, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fmnist", help="the .npz file of Fashion-MNIST")
    parser.add_argument("cifar10", help="the .npz file of CIFAR-10")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limit", type=int, help="use fewer images, for a test")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="only these parts")
    parser.add_argument("--report", action="store_true", help="train nothing, only report finished runs")
    parser.add_argument("--runs", type=Path, default=Path("runs/coresets"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    for name, part in PARTS.items():
        if given.report or (given.only and name not in given.only):
            continue
        data = given.cifar10 if name == "cifar10" else given.fmnist
        for suffix, settings in experiments(part, data, given).items():
            path = given.runs / f"{name}{suffix}"
            if RunFolder(path).begun:
                settings = experiment.open_folder(path, settings, True, vars(settings))
            with Watch(terminal(), experiment.count(settings)) as watch:
                experiment.run(path, settings, watch)
        report(given.runs, given.out)
    if given.report:
        report(given.runs, given.out)


def rows_of(runs: Path, name: str) -> list[dict[str, Any]]:
    """Every finished run of a part, each with the table row and the share that it belongs to."""
    return [
        {"part": name, **cell_of(row["method"]), **row}
        for suffix in ("", "-svp")
        for row in RunFolder(runs / f"{name}{suffix}").results()
    ]


def cell_of(method: str) -> dict[str, Any]:
    """The row and the share of a method in the table."""
    recipe, _, said = method.partition(":")
    if not said:
        return {"row": recipe, "keep": 1.0}
    given = dict(item.split("=") for item in said.split(","))
    return {"row": UNWEIGHTED if "weighting" in given else recipe, "keep": float(given["keep"])}


def report(runs: Path, out: Path) -> None:
    """Rows, table and picture of the runs that are finished."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for name in PARTS if (runs / name).exists() for row in rows_of(runs, name)]
    files.write_lines(out / "coresets.jsonl", rows)
    done = [name for name in PARTS if any(row["part"] == name for row in rows)]
    configs = {name: RunFolder(runs / name).config() for name in done}
    files.write_json(out / "coresets.config.json", configs)
    lines = [*_opening(configs, rows), ""]
    for name in done:
        lines += [
            f"## {PARTS[name].heading}",
            "",
            *table(PARTS[name], [r for r in rows if r["part"] == name]),
            "",
        ]
    lines += [*_costs(rows, done), "", *_weights(runs, done[0]), ""]
    lines += [
        "Rows: `coresets.jsonl`; settings: `coresets.config.json`; made with `python benchmarks/coresets.py "
        "data/fmnist.npz data/cifar10.npz`. Data: Xiao et al. 2017; Krizhevsky 2009.",
        "",
    ]
    notes = out / "coresets.notes.md"
    if notes.exists():
        lines += [notes.read_text()]
    (out / "coresets.md").write_text("\n".join(lines))
    draw({name: [row for row in rows if row["part"] == name] for name in done}, out / "coresets.png")


def _opening(configs: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    config = next(iter(configs.values()))
    settings, machine = config["settings"], config["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    minutes = sum(row["seconds_data"] + row["seconds_training"] for row in rows) / 60
    return [
        "# Coresets: fourteen static methods",
        "",
        "![Accuracy of every method at every share, compared with a random draw](coresets.png)",
        "",
        f"Model `{settings['model']}`, {settings['epochs']} epochs, batch {settings['batch_size']}, "
        f"{settings['optimizer']}, top learning rate {settings['lr']:g} ({settings['schedule']}), "
        f"{settings['seeds']} seeds, Strategy E: the same number of epochs on the coreset as on all samples "
        "(batch 32 at keep 0.1). Each method has its defaults, so `tdds`, `el2n` and `dyn_unc` record as "
        "their papers say, scaled to these epochs; `svp` is scored by a proxy (`mlp`), all others by the "
        "model itself. Test accuracy in % after the last epoch, mean ± standard deviation over seeds. No "
        "method was tuned.",
        "",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread(s) of torch; "
        f"{versions}. Training took {minutes:.0f} minutes in all. Other work ran at the same time.",
    ]


def table(part: Part, rows: list[dict[str, Any]]) -> list[str]:
    """Accuracy by method and share; the best of each share in bold."""
    full = [row["test_accuracy"] for row in rows if row["row"] == "full"]
    cells: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        cells.setdefault((row["row"], row["keep"]), []).append(row["test_accuracy"])
    best = {
        keep: max((fmean(cells[row, keep]) for row in ROWS if (row, keep) in cells), default=0.0)
        for keep in part.keeps
    }
    lines = [
        "| method | " + " | ".join(f"keep {keep:g}" for keep in part.keeps) + " |",
        "| --- |" + " ---: |" * len(part.keeps),
    ]
    for row in ROWS:
        said = [_cell(cells.get((row, keep), []), best[keep]) for keep in part.keeps]
        lines.append(f"| {row} | " + " | ".join(said) + " |")
    return [*lines, "", f"`full` (every sample): {_cell(full, 101.0)}."]


def _cell(values: list[float], best: float) -> str:
    if not values:
        return "-"
    said = f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
    return f"**{said}**" if fmean(values) >= best else said


def _costs(rows: list[dict[str, Any]], done: list[str]) -> list[str]:
    """What each method cost, with its scoring run and without."""
    first = [row for row in rows if row["part"] == done[0]]
    keep = 0.3 if any(row["keep"] == 0.3 for row in first) else first[-1]["keep"]
    lines = [
        f"## Cost at keep {keep:g} ({PARTS[done[0]].heading})",
        "",
        "Shares of the forwards and backwards of ordinary training. With the scoring run: as if it had been "
        "made for this method alone. Without it: the cost of a coreset that exists already.",
        "",
        "| method | with scoring run | without |",
        "| --- | ---: | ---: |",
    ]
    for name in ROWS:
        mine = [row for row in first if row["row"] == name and row["keep"] == keep]
        if mine:
            ordinary = [row["cost"] / row["cost_share"] for row in mine]
            without = fmean(row["cost_without_scoring"] / o for row, o in zip(mine, ordinary, strict=True))
            charged = fmean(row["cost_share"] for row in mine)
            lines.append(f"| {name} | {100 * charged:.1f} % | {100 * without:.1f} % |")
    return lines


def _weights(runs: Path, name: str, seed: int = 0) -> list[str]:
    """How uneven the weights of some methods are, for one seed, from the subsets in the run folder."""
    lines = [
        f"## Weights ({PARTS[name].heading}, seed {seed})",
        "",
        "Largest weight, mean weight, and the share of the weight on the heaviest 1 % of the samples.",
        "",
        "| method | " + " | ".join(f"keep {keep:g}" for keep in PARTS[name].keeps) + " |",
        "| --- |" + " ---: |" * len(PARTS[name].keeps),
    ]
    for row in ("tdds", "craig", "gradmatch"):
        said = []
        for keep in PARTS[name].keeps:
            file = RunFolder(runs / name).subset(spec(row, keep), seed)
            weights = Subset.read(file).weights if file.exists() else None
            if weights is None:
                said.append("-")
                continue
            heaviest = weights.sort(descending=True).values[: len(weights) // 100].sum() / weights.sum()
            said.append(f"{weights.max():.1f}, {weights.mean():.2f}, {heaviest:.0%}")
        lines.append(f"| {row} | " + " | ".join(said) + " |")
    return lines


def draw(parts: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """A panel for each part: accuracy of every method at every share, coloured by its lead over random."""
    import matplotlib.pyplot as plt

    widths = [1 + len(PARTS[name].keeps) for name in parts]
    figure, axes = plt.subplots(
        1, len(parts), figsize=(2.2 + 1.1 * sum(widths), 7.2), squeeze=False, width_ratios=widths, sharey=True
    )
    for axis, (name, rows) in zip(axes[0], parts.items(), strict=True):
        keeps = PARTS[name].keeps
        means = {
            (row, keep): fmean(found)
            for row in ROWS
            for keep in keeps
            if (found := [r["test_accuracy"] for r in rows if (r["row"], r["keep"]) == (row, keep)])
        }
        leads = [[_lead(means, row, keep) for keep in keeps] for row in ROWS]
        image = axis.imshow(leads, cmap="RdBu", vmin=-LIMIT, vmax=LIMIT, aspect="auto")
        for y, row in enumerate(ROWS):
            for x, keep in enumerate(keeps):
                if (row, keep) in means:
                    colour = "white" if abs(leads[y][x]) > 0.7 * LIMIT else "black"
                    axis.text(x, y, f"{means[row, keep]:.1f}", ha="center", va="center", color=colour)
        full = [row["test_accuracy"] for row in rows if row["row"] == "full"]
        every = f"\nevery sample: {fmean(full):.1f}" if full else ""
        axis.set_title(PARTS[name].heading.replace(", ", "\n", 1) + every, fontsize=11)
        axis.set_xticks(range(len(keeps)), [f"keep {keep:g}" for keep in keeps])
        axis.set_yticks(range(len(ROWS)), ROWS)
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    bar = figure.colorbar(image, ax=list(axes[0]), shrink=0.6, extend="both", pad=0.02)
    bar.set_label("points above random at the same share")
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def _lead(means: dict[tuple[str, float], float], row: str, keep: float) -> float:
    """Points above `random`, if both are finished."""
    missing = (row, keep) not in means or ("random", keep) not in means
    return 0.0 if missing else means[row, keep] - means["random", keep]


if __name__ == "__main__":
    main()
