"""Training killed with signal 9 and resumed: the same choices and the same weights, bit for bit.

    python benchmarks/faults.py

A plain loop, Lightning, the Trainer and Accelerate, with 0 and 2 workers: 30 moments each, 12 of them
inside a checkpoint write and 5 inside a pass. At each moment the training process is killed and
started again from its last complete checkpoint. Then it is compared with the run that was never killed: the
ids of every training step, the final weights and the whole state of the selector. Finished moments are
in the rows file, and a second call continues after them.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faults_report
import faults_train
import torch
from faults_kill import Attempt, Case, attempt, differences
from faults_watch import SCORE, STEP, WRITE

from samplewise.bench import files

CLOCK = "clock"
_ROUND = (
    *(("ucb", WRITE), ("ucb", SCORE), ("eswp", WRITE), ("eswp", STEP)),
    *(("ucb", WRITE), ("ucb", SCORE), ("eswp", WRITE), ("eswp", CLOCK)),
    *(("ucb", WRITE), ("ucb", STEP), ("eswp", WRITE), ("eswp", SCORE)),
)
SCHEDULE = (
    *_ROUND,
    *_ROUND,
    ("ucb", SCORE),
    ("ucb", CLOCK),
    ("eswp", STEP),
    ("eswp", CLOCK),
    ("ucb", CLOCK),
    ("eswp", STEP),
)
"""Recipe and kind of each of the 30 moments of a combination. Further moments start again from the first."""
SOON = 40
"""A resumed run may be killed again within this number of events."""


@dataclass(frozen=True)
class Moment:
    """A kill. `share` selects an event of its kind, or the time of the kill as a share of the run's time."""

    case: Case
    kind: str
    number: int
    share: float


def moments(framework: str, workers: int, epochs: int, count: int, first: int) -> list[Moment]:
    """`count` moments of one combination. Those of a kind are spread over the run, with random shifts."""
    chosen = [SCHEDULE[(first + i) % len(SCHEDULE)] for i in range(count)]
    of_a_kind, drawn, seen = Counter(chosen), random.Random(f"{framework} {workers}"), Counter()
    planned = []
    for number, (policy, kind) in enumerate(chosen):
        share = (seen[policy, kind] + drawn.random()) / of_a_kind[policy, kind]
        seen[policy, kind] += 1
        planned.append(Moment(Case(framework, workers, policy, epochs), kind, number, share))
    return planned


def killed(moment: Moment, reference: Attempt, folder: Path) -> tuple[list[Attempt], dict[str, Any]]:
    """All attempts: one is killed at the moment, and one continues to the end.

    In every third case the second attempt is killed too, soon after its start, and a third one continues.
    """
    if moment.kind == CLOCK:
        begun, ended = (reference.events[i]["at"] for i in (0, -1))
        after = begun + moment.share * (ended - begun)
        while not (first := attempt(moment.case, folder, after=after)).killed:
            shutil.rmtree(folder)
            after *= 0.8  # the run had ended: the machine was faster than for the reference
        place = {"after_seconds": round(after, 3)}
    else:
        fitting = reference.of_kind(moment.kind)
        event = fitting[int(moment.share * len(fitting))]
        first = attempt(moment.case, folder, stop=event["n"])
        place = {"event": event["n"], "what": event.get("what", event["kind"])}
        if not first.killed:
            return [first], place
    attempts = [first]
    if moment.number % 3 == 2:
        attempts.append(attempt(moment.case, folder, stop=int(moment.share * SOON)))
    if attempts[-1].killed:
        attempts.append(attempt(moment.case, folder))
    return attempts, place


def tried(moment: Moment, reference: Attempt, folder: Path) -> dict[str, Any]:
    """One row: the moment, and whether the resumed run equals the uninterrupted one."""
    begun = time.perf_counter()
    attempts, place = killed(moment, reference, folder)
    wrong = list(differences(reference, attempts))
    if not attempts[0].killed:
        wrong.append("the run ended before the kill")
    return {
        **asdict(moment.case),
        "kind": moment.kind,
        "number": moment.number,
        **place,
        "steps": len(reference.steps),
        "killed_in_step": (attempts[0].start or 0) + len(attempts[0].steps),
        "resumed_at": next((one.start for one in attempts[1:] if one.start is not None), None),
        "kills": sum(one.killed for one in attempts),
        "weights": (reference.end or {}).get("weights"),
        "survived": not wrong,
        "wrong": wrong,
        "seconds": round(time.perf_counter() - begun, 2),
    }


def combination(framework: str, workers: int, wanted: list[Moment], work: Path) -> Iterator[dict[str, Any]]:
    """The rows of one combination. The uninterrupted runs are made first."""
    references: dict[str, Attempt] = {}
    for moment in wanted:
        policy = moment.case.policy
        if policy not in references:
            references[policy] = attempt(moment.case, work / f"{policy}-whole")
            if references[policy].end is None:
                raise RuntimeError(f"{moment.case} fails without a kill:\n{references[policy].output}")
        yield tried(moment, references[policy], work / f"{policy}-{moment.number}")


def main() -> None:
    """Try every moment that has no row yet, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=len(SCHEDULE), help="moments of each combination")
    parser.add_argument("--epochs", type=int, default=16, help="epochs of each training")
    parser.add_argument("--only", action="append", choices=list(faults_train.FRAMEWORKS))
    parser.add_argument("--workers", type=int, action="append", help="numbers of workers (default: 0 and 2)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--report", action="store_true", help="kill nothing, only report finished moments")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    rows_file = given.out / "faults.jsonl"
    rows = files.read_lines(rows_file)
    done = {(row["framework"], row["workers"], row["number"]) for row in rows}
    pairs = [
        (name, workers)
        for name in given.only or faults_train.FRAMEWORKS
        for workers in given.workers or (0, 2)
    ]
    for index, (framework, workers) in enumerate([] if given.report else pairs):
        planned = moments(framework, workers, given.epochs, given.moments, first=2 * index)
        if left := [moment for moment in planned if (framework, workers, moment.number) not in done]:
            faults_train.prepare(framework)
            with tempfile.TemporaryDirectory() as work:
                for row in combination(framework, workers, left, Path(work)):
                    rows.append(row)
                    files.write_lines(rows_file, rows)
                    print(json.dumps(row), flush=True)
    faults_report.write(rows, given.out)
    raise SystemExit(not all(row["survived"] for row in rows))


if __name__ == "__main__":
    main()
