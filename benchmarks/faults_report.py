"""The table of kills that were tried and survived, from the rows of `faults.py`."""

from collections import Counter
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import faults_train

from samplewise.bench import files
from samplewise.bench.machine import machine, versions

KINDS = ("checkpoint write", "scoring pass", "scoring of a batch", "training step", "any time")
PLACES = {
    "half of a file": "with half of a file written",
    "open": "before a file is created",
    "os.rename": "before a file or folder is renamed",
    "os.remove": "before an old file is removed",
    "os.mkdir": "before a folder is made",
    "shutil.rmtree": "before an old folder is removed",
    "os.rmdir": "before an emptied folder is removed",
}
PLAIN = ("plain loop", 0)
_PACKAGES = ("lightning", "transformers", "accelerate", "safetensors")


def kind(row: dict[str, Any]) -> str:
    """What was running when the kill came, in words."""
    if row["kind"] == "score":
        return KINDS[1] if row["policy"] == "ucb" else KINDS[2]
    return {"write": KINDS[0], "step": KINDS[3], "clock": KINDS[4]}[row["kind"]]


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """`faults.md` and `faults.config.json`."""
    config = {
        "policies": {name: repr(make()) for name, make in faults_train.POLICIES.items()},
        "samples": faults_train.N,
        "batch_size": faults_train.BATCH,
        "epochs": max(row["epochs"] for row in rows),
        "checkpoint_every_steps": faults_train.EVERY,
        "machine": machine("cpu"),
        "versions": versions() | {name: metadata.version(name) for name in _PACKAGES},
    }
    files.write_json(out / "faults.config.json", config)
    text = [_summary(rows), "", *_table(rows), "", *_notes(rows, config), *_failures(rows)]
    (out / "faults.md").write_text("\n".join(["# Kills tried and survived", "", *text]) + "\n")


def _summary(rows: list[dict[str, Any]]) -> str:
    kills, survived = sum(row["kills"] for row in rows), sum(row["survived"] for row in rows)
    return (
        f"{len(rows)} trainings were killed with signal 9, some of them twice ({kills} kills), started again "
        f"from their last complete checkpoint and trained to the end. {survived} of them trained the same "
        "ids in every step as the run that was never killed, and ended with the same bits in the weights "
        "and in the state of the selector. Survived / tried, by what was running at the first kill:"
    )


def _table(rows: list[dict[str, Any]]) -> list[str]:
    tried: Counter[tuple[str, int, str]] = Counter()
    survived: Counter[tuple[str, int, str]] = Counter()
    for row in rows:
        cell = row["framework"], row["workers"], kind(row)
        tried[cell] += 1
        survived[cell] += row["survived"]
    lines = [
        f"| loop | workers | {' | '.join(KINDS)} | all |",
        f"| --- | ---: | {'---: | ' * len(KINDS)}---: |",
    ]
    order = list(faults_train.FRAMEWORKS)
    pairs = sorted({cell[:2] for cell in tried}, key=lambda pair: (order.index(pair[0]), pair[1]))
    for name, workers, included in [*((*pair, [pair]) for pair in pairs), ("all", "", pairs)]:
        of_kinds = [[(*pair, of_kind) for pair in included] for of_kind in KINDS]
        cells = [_share(cells, survived, tried) for cells in (*of_kinds, [*chain(*of_kinds)])]
        lines.append(f"| {name} | {workers} | {' | '.join(cells)} |")
    return lines


def _share(cells: list[tuple[str, int, str]], survived: Counter[Any], tried: Counter[Any]) -> str:
    total = sum(tried[cell] for cell in cells)
    return f"{sum(survived[cell] for cell in cells)} / {total}" if total else "-"


def _notes(rows: list[dict[str, Any]], config: dict[str, Any]) -> list[str]:
    places = Counter(row["what"] for row in rows if row["kind"] == "write")
    inside = ", ".join(f"{PLACES[name]} {count}" for name, count in places.most_common())
    lost = [row["killed_in_step"] - row["resumed_at"] for row in rows if row["resumed_at"] is not None]
    about, software = config["machine"], ", ".join(f"{n} {v}" for n, v in config["versions"].items())
    mean, most = sum(lost) / max(1, len(lost)), max(lost, default=0)
    policies = " and ".join(f"`{text}`" for text in config["policies"].values())
    return [
        f"Inside checkpoint writes: {inside}. Steps repeated after a kill: {mean:.1f} on average and "
        f"{most} at most, with a checkpoint every {config['checkpoint_every_steps']} steps. Any time: by the "
        "clock, between the first forward of a run and its end.",
        "",
        f"A training has {config['samples']} samples, batches of {config['batch_size']}, {config['epochs']} "
        f"epochs and a network with dropout that reports the ids it trains on. The recipes are {policies}, "
        "in turns. The plain loop and the Lightning module save torch's random state themselves. The "
        "Trainer and Accelerate save it for their users.",
        *_agreeing(rows),
        "",
        f"Machine: {about['cpu']}, {about['cores']} cores, {about['threads']} thread of torch; {software}. "
        f"{sum(row['seconds'] for row in rows) / 60:.0f} minutes in all, with other work at the same time.",
        "",
        "Rows: `faults.jsonl`; settings: `faults.config.json`; made with `python benchmarks/faults.py "
        f"--moments {max(Counter((row['framework'], row['workers']) for row in rows).values())}`.",
    ]


def _agreeing(rows: list[dict[str, Any]]) -> list[str]:
    """The uninterrupted runs that ended with the same weights as the plain loop without workers."""
    ends = {(row["policy"], row["framework"], row["workers"]): row["weights"] for row in rows}
    plain = {policy: end for (policy, name, workers), end in ends.items() if (name, workers) == PLAIN}
    others = {
        (policy, *run): end for (policy, *run), end in ends.items() if policy in plain and run != [*PLAIN]
    }
    same = [run for run, end in others.items() if end == plain[run[0]]]
    if not others:
        return []
    return [
        "",
        f"{len(same)} of {len(others)} other uninterrupted runs (a loop, workers, a recipe) ended with "
        "exactly the weights of the plain loop without workers.",
    ]


def _failures(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        if not row["survived"]:
            where = f"{row['framework']}, {row['workers']} workers, moment {row['number']}"
            lines += ["", f"Not survived: {where}: {'; '.join(row['wrong'])[:300]}"]
    return lines
