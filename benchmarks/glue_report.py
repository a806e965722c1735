"""The table and the picture of the fine-tunings."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from samplewise.bench import files
from samplewise.report import dots

Row = dict[str, Any]
METHODS = ("full", "infobatch", "loss_sampling", "ordered_sgd", "evolved_sampling", "eswp")


@dataclass(frozen=True)
class Task:
    """A data set, its metric, and the number of seeds."""

    heading: str
    metric: str
    seeds: int


TASKS = {"cola": Task("CoLA", "Matthews correlation", 2), "sst2": Task("SST-2", "accuracy", 1)}

PAPER = {
    "full": (56.7, 92.2, None),
    "infobatch": (57.9, 92.1, 28.3),
    "loss_sampling": (55.1, 92.3, 20.8),
    "ordered_sgd": (55.4, 92.6, 20.8),
    "evolved_sampling": (58.4, 92.4, 20.2),
    "eswp": (57.5, 93.1, 33.1),
}
"""Table 4 of Evolved Sampling (arXiv:2509.23461): CoLA, SST-2, % of time saved over all eight tasks."""


def read_json(path: Path) -> Row:
    """One JSON document."""
    content: Row = json.loads(path.read_text())
    return content


def write(out: Path) -> None:
    """Table and picture of the finished trainings, and the overhead if it was measured."""
    lines: list[str] = ["# Fine-tuning with the Hugging Face Trainer: CoLA and SST-2", ""]
    rows = files.read_lines(out / "glue.jsonl")
    if rows:
        lines += fine_tunings(rows, read_json(out / "glue.config.json"), out)
    if (out / "glue_overhead.json").exists():
        lines += overhead(read_json(out / "glue_overhead.json"))
    (out / "glue.md").write_text("\n".join(lines))


def fine_tunings(rows: list[Row], config: Row, out: Path) -> list[str]:
    """The part on whole trainings; draws the picture."""
    settings, machine = config["settings"], config["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    saved = [row | _saved(row, rows) for row in rows]
    lines = [
        "![Metric, cost and wall clock of every method](glue.png)",
        "",
        _line(f"""
            The encoder of `{settings["model"]}` with a fresh head, {settings["rows"]:,} training rows of each
            task (one draw, the same for all), the whole dev set, at most {settings["max_length"]} tokens,
            {settings["epochs"]} epochs, batch {settings["batch_size"]}, AdamW with learning rate
            {settings["learning_rate"]:g}, {100 * settings["warm_up"]:g} % linear warm-up, then linearly to 0,
            weight decay {settings["weight_decay"]:g}. These are the same for every method. Each method has
            its published defaults, and none was tuned. The metric is that of the last epoch, in %, with each
            seed in brackets.
        """),
        "",
        _line(f"""
            Machine: {machine["cpu"]}, {machine["cores"]} cores, {machine["threads"]} thread(s) of torch;
            {versions}. Training took {sum(row["seconds"] for row in rows) / 60:.0f} minutes in all. The
            methods of a task and seed ran in turns of a tenth of an epoch, so that all of them had the same
            load on the machine. Evaluation is not counted.
        """),
        "",
    ]
    for name, task in TASKS.items():
        mine = [row for row in saved if row["task"] == name]
        if mine:
            lines += [f"## {task.heading}", "", *table(task, mine), ""]
    lines += [
        _line("""
            Saved: compared with `full` of the same task and seed. By cost, a sample's forward counts 1 and
            its backward 2. Epochs that select: those that back-propagate fewer samples than there are.
        """),
        "",
        *beside_the_paper(saved),
        "",
    ]
    notes = out / "glue.notes.md"
    if notes.exists():
        lines += [notes.read_text()]
    lines += [
        _line("""
            Rows: `glue.jsonl`; settings: `glue.config.json`; made with `python benchmarks/glue.py data/glue`.
            Data: Wang et al. 2018 (GLUE); Warstadt et al. 2019 (CoLA); Socher et al. 2013 (SST-2).
        """),
        "",
    ]
    panels = [
        dots.Panel(task.heading, [r for r in saved if r["task"] == name], f"{task.metric}, %")
        for name, task in TASKS.items()
        if any(row["task"] == name for row in saved)
    ]
    dots.draw(panels, list(METHODS), "Fine-tuning with the Hugging Face Trainer", out / "glue.png")
    return lines


def _saved(row: Row, rows: list[Row]) -> Row:
    """What the clocks saved against `full`, and the numbers for the picture."""
    ordinary = [r for r in rows if (r["task"], r["seed"], r["method"]) == (row["task"], row["seed"], "full")]
    realised = 1 - row["seconds"] / ordinary[0]["seconds"] if ordinary else None
    by_cpu = 1 - row["cpu_seconds"] / ordinary[0]["cpu_seconds"] if ordinary else None
    return {
        "realised": realised,
        "realised_cpu": by_cpu,
        "baseline": "given" if ordinary else "not measured",
        "test_accuracy": row["metric"],
        "overhead": 0.0,
    }


def table(task: Task, rows: list[Row]) -> list[str]:
    """One row per method: metric, what was trained, what was saved."""
    lines = [
        f"| method | {task.metric}, % | best epoch | epochs that select | samples back-propagated "
        "| saved by cost | saved by wall clock | saved by CPU clock | wall clock / cost |",
        "| --- |" + " ---: |" * 8,
    ]
    for method in METHODS:
        mine = sorted((row for row in rows if row["method"] == method), key=lambda row: row["seed"])
        if mine:
            lines.append("| " + " | ".join(_cells(method, mine)) + " |")
    return lines


def _cells(method: str, rows: list[Row]) -> list[str]:
    metric = [row["metric"] for row in rows]
    promised = [1 - row["cost_share"] for row in rows]
    samples = round(fmean(row["samples_backpropagated"] for row in rows))
    cells = [
        method,
        _each(metric),
        f"{fmean(row['best'] for row in rows):.1f}",
        _selecting(rows),
        f"{samples:,}",
    ]
    if method == "full":
        return [*cells, "-", "-", "-", "-"]
    cells += [f"{100 * fmean(promised):.1f} %"]
    if any(row["realised"] is None for row in rows):
        return [*cells, "not measured", "not measured", "-"]
    wall = [row["realised"] for row in rows]
    return [
        *cells,
        _each([100 * share for share in wall]) + " %",
        f"{100 * fmean(row['realised_cpu'] for row in rows):.1f} %",
        f"{fmean(wall) / fmean(promised):.2f}",
    ]


def _each(values: list[float], sign: str = "") -> str:
    """The mean, and the values that it comes from."""
    mean, *each = (f"{value:{sign}.1f}" for value in (fmean(values), *values))
    return mean if len(each) == 1 else f"{mean} ({', '.join(each)})"


def _selecting(rows: list[Row]) -> str:
    """The number of epochs that back-propagated fewer samples than there are."""
    counts = set()
    for row in rows:
        ends = [0, *(point["samples"] for point in row["curve"])]
        trained = [after - before for before, after in pairwise(ends)]
        counts.add(f"{sum(count < row['rows'] for count in trained)} of {len(trained)}")
    return " or ".join(sorted(counts))


def beside_the_paper(rows: list[Row]) -> list[str]:
    """Points above `full`, here and in the paper."""
    lines = [
        "## Compared with the paper",
        "",
        _line("""
            Points above `full`, here and in Table 4 of Evolved Sampling (arXiv:2509.23461: ALBERT-base, the
            whole training sets, 10 epochs), and the time saved that the paper reports for all eight tasks
            together.
        """),
        "",
        "| method | CoLA here | CoLA paper | SST-2 here | SST-2 paper | time saved in the paper |",
        "| --- |" + " ---: |" * 5,
    ]
    for method in METHODS[1:]:
        cells = [method]
        for column, task in enumerate(TASKS):
            leads = [
                row["metric"] - other["metric"]
                for row in rows
                for other in rows
                if (row["task"], row["method"], other["method"]) == (task, method, "full")
                and (row["task"], row["seed"]) == (other["task"], other["seed"])
            ]
            cells.append(_each(leads, sign="+") if leads else "-")
            cells.append(f"{PAPER[method][column] - PAPER['full'][column]:+.1f}")
        lines.append("| " + " | ".join([*cells, f"{PAPER[method][2]} %"]) + " |")
    return lines


def overhead(found: Row) -> list[str]:
    """The part on single steps."""
    lines = [
        "## A step with the adapter and without",
        "",
        _line(f"""
            The same {found["rows"]:,} rows of CoLA in the same batches, one epoch, {found["repeats"]}
            repeats. Both run in turns of five steps, each in its own process. Medians over the steps, and
            differences step by step with the 95 % interval of their median. The small encoder has one layer
            of width 8, so almost all of its time is that of the Trainer and the adapter. The first
            {found["losses_compared"]} losses of the bare Trainer and of `full` through the adapter, with
            dropout, differ by at most {found["losses_differ_by"]:.1g}.
        """),
        "",
        "| | clock | ms without | ms with | adds, us a step | 95 % | share of a step |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key, name in (("alone", "small encoder"), ("encoder", "MiniLM, 32 rows")):
        for clock in ("wall", "cpu"):
            s = found[key][clock]
            lines.append(
                f"| `full`, {name} | {clock} | {1e3 * s['base']:.2f} | {1e3 * s['other']:.2f} | "
                f"{1e6 * s['difference']:.0f} | {1e6 * s['low']:.0f} to {1e6 * s['high']:.0f} | "
                f"{100 * s['difference'] / s['base']:.2f} % |"
            )
    alone, step = found["alone"]["cpu"]["difference"], found["encoder"]["cpu"]["base"]
    narrowed, promised = found["narrowed"], found["narrowed"]["promised"]
    shares = {clock: 1 - narrowed[clock]["other"] / narrowed[clock]["base"] for clock in ("wall", "cpu")}
    parts = ", ".join(f"{name} {ms:.0f} ms" for name, ms in found["parts"].items())
    return [
        *lines,
        "",
        _line(f"""
            The adapter's own time, measured on the small encoder, is {100 * alone / step:.2f} % of a step of
            the real encoder (target: at most 1 %).
        """),
        "",
        _line(f"""
            A step that `loss_sampling` narrows to a quarter takes {1e3 * narrowed["wall"]["other"]:.0f} ms
            instead of {1e3 * narrowed["wall"]["base"]:.0f} ms. The wall clock saves
            {100 * shares["wall"]:.1f} % and the CPU clock {100 * shares["cpu"]:.1f} %, of
            {100 * promised:.1f} % promised by cost (ratio {shares["wall"] / promised:.2f} and
            {shares["cpu"] / promised:.2f}). The parts of a step take: {parts}.
        """),
        "",
        f"Measured with `python benchmarks/glue.py data/glue --overhead --rows {found['rows']}`; numbers: "
        "`glue_overhead.json`.",
        "",
    ]


def _line(text: str) -> str:
    """A paragraph as one line of Markdown."""
    return " ".join(text.split())
