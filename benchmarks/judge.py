"""Write how often the judge is wrong, and how often it finds an effect, to `benchmarks/results/judge.md`.

python benchmarks/judge.py [--quick] [--out benchmarks/results/judge.md]

`--quick` makes every count and time from a few short studies. Its numbers say nothing.
"""

import argparse
import gc
import tempfile
import time
from pathlib import Path

import judge_estimate
from judge_rates import rates
from judge_synthetic import Synthetic

from samplewise.bench import Study
from samplewise.bench.study import results

PAGE = Path(__file__).parent / "results" / "judge.md"
NOTE = "\n\nQuick form: it shows that the script works. Its numbers say nothing."


def overhead(count: int) -> tuple[int, float, float]:
    """Runs of a study, and CPU seconds for all of them and for the results: all but the training."""
    methods = [f"ucb:keep=0.{tenth}" for tenth in range(1, count + 1)]
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Synthetic(), methods, epochs=16, out=folder)
        begun = time.process_time()
        study.run()
        ran = time.process_time()
        study.results()
        return len(study.plan.rows), ran - begun, time.process_time() - ran


def page(quick: bool) -> str:
    """The counts in words."""
    (runs, spent, summed), found = overhead(2 if quick else 9), rates(3, 3, 3) if quick else rates()
    return f"""# The judge, judged

`python benchmarks/judge.py` wrote this page. Every study is whole: plan, ladder, exact controls, results.
Only the training takes no time: a result is a curve of the cost, plus an effect, plus normal noise. A study
here has {found["methods"]} methods and {found["seeds"]} seeds. The seeds of the noise are fixed, so the
counts are the same in every run.{NOTE * quick}

| studies | number | counted | share |
| --- | --- | --- | --- |
| no method has an effect: some verdict is "better" or "worse" | {found["null"]} | {found["wrong"]} \
| {found["wrong"] / found["null"]:.1%} |
| `full` at 3/4 of its epochs under another name, with other randomness: "better" or "worse" \
| {found["copies"]} | {found["wrong_copies"]} | {found["wrong_copies"] / found["copies"]:.1%} |
| one method has an effect of the size that is said to be detectable, {found["size"]:.2f} points: "better" \
| {found["real"]} | {found["found"]} | {found["found"] / found["real"]:.1%} |

The level of a study is 5 %, and the power that `detectable` refers to is 80 %.

**Overhead.** A study of {runs} runs takes {spent:.1f} s of CPU time beside its trainings: planning, keys,
rows, results and files. This is {1000 * spent / runs:.0f} ms a run, at most 2 % of runs that take
{50 * spent / runs:.1f} s or more. Its results alone take {summed:.2f} s.

{judge_estimate.section(quick)}"""


if __name__ == "__main__":
    gc.collect = lambda generation=2: 0  # statsmodels collects in every correction, which takes 0.2 s
    results._other_axes = lambda plan, axis: ()  # descriptive: they do not change a verdict
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few short studies")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    given.out.write_text(page(given.quick))
    print(given.out.read_text())
