"""Makes the pictures of the page on reports: a run on digits and a study, in a headless Chromium.

    python docs/screenshots.py

It trains for a minute, and writes docs/images/report-light.png, report-dark.png and report-phone.png.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from samplewise.cli import main  # noqa: E402
from tests.html import browser  # noqa: E402

IMAGES = ROOT / "docs" / "images"
TRAIN = (
    "train --data digits --epochs 12 --seeds 3 --label-noise 0.05 --history --device cpu --threads 1 "
    "--method full --method infobatch --method ucb:keep=0.5,period=2,alpha=0.5"
)


def make() -> None:
    """Train, report, photograph."""
    with tempfile.TemporaryDirectory() as folder:
        run, study = Path(folder, "digits-1"), Path(folder, "study.html")
        calls = (
            [*TRAIN.split(), "--out", str(run)],
            ["report", str(run)],
            ["report", str(ROOT / "studies" / "images-easy"), "--out", str(study)],
        )
        for arguments in calls:
            if main(arguments) != 0:
                raise SystemExit(f"samplewise {' '.join(arguments)} failed")
        with browser.chromium() as chromium:
            chromium.open(study, width=1000, height=760)
            chromium.picture(IMAGES / "report-light.png")
            chromium.open(run / "report.html", width=1000, height=760, dark=True)
            chromium.js("document.querySelector('#samples').scrollIntoView()")
            chromium.picture(IMAGES / "report-dark.png")
            chromium.open(run / "report.html", width=375, height=760)
            chromium.picture(IMAGES / "report-phone.png")


if __name__ == "__main__":
    missing = browser.missing()
    if missing:
        raise SystemExit(missing)
    make()
