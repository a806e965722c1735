"""How near the estimated time of a study is to the time that it took: CPU seconds of three small studies."""

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from samplewise.bench import Study

STUDIES = {
    "digits, mlp": 'model = "mlp"\nepochs = 8',
    "digits, cnn": 'model = "cnn"\nepochs = 5',
    "digits, cnn, augmented, batches of 32": 'model = "cnn"\nepochs = 4\naugment = true\nbatch_size = 32',
}
METHODS = '["infobatch", "ucb:keep=0.5,period=1", "evolved_sampling", "loss_sampling", "aum:keep=0.5"]'


def measured(quick: bool) -> Iterator[tuple[str, int, float, float]]:
    """For each study its name, runs, estimated seconds, and CPU seconds. Quick: one method, few images."""
    for name, task in STUDIES.items():
        methods = '["infobatch"]' if quick else METHODS
        if quick:
            methods += "\ncontrols = false"
            task = re.sub(r"epochs = \d", "epochs = 2\nlimit = 100", task)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "study.toml"
            path.write_text(f'seeds = 1\nmethods = {methods}\n[task]\ndata = "digits"\n{task}\n')
            said = Study.load(path).estimate().seconds or 0.0
            study = Study.load(path)
            begun = time.process_time()
            study.run()
            yield name, len(study.plan.rows), said, time.process_time() - begun


def section(quick: bool) -> str:
    """The page's section."""
    found = list(measured(quick))
    rows = "\n".join(
        f"| {name} | {runs} | {said:.1f} s | {took:.1f} s | {said / took:.2f} |"
        for name, runs, said, took in found
    )
    middle = median(abs(said / took - 1) for _, _, said, took in found)
    return f"""**Estimate.** What `--dry-run` says before the first run, and the CPU time of the whole study.
The median error is {middle:.0%}.

| study | runs | estimated | took | ratio |
| --- | ---: | ---: | ---: | ---: |
{rows}
"""
