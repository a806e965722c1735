"""What a run says of itself where no terminal shows a bar: a line at least every few seconds."""

import io

import pytest
from rich.console import Console

from samplewise.cli import progress


@pytest.fixture
def watched(monkeypatch):
    """A watch whose clock stands still unless a test moves it, and what it has printed."""
    now, file = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Watch(Console(file=file, width=200), 3) as watch:
        yield watch, now, lambda: file.getvalue().splitlines()


def test_a_long_epoch_is_reported_every_ten_seconds(watched):
    watch, now, said = watched
    watch.began("ucb[/]", 1)
    for now[0] in range(36):
        watch.stepped(now[0] / 100)
    assert [line.strip() for line in said()] == [
        f"run 1/3  ucb[/], seed 1: {done} % done" for done in (10, 20, 30)
    ]


def test_a_line_names_the_newest_accuracy(watched):
    watch, now, said = watched
    watch.began("full", 0)
    watch.epoch_ended({"epoch": 2, "epochs": 9, "test_accuracy": 61.25})
    now[0] = 11.0
    watch.stepped(0.25)
    assert said()[-1].strip() == "run 1/3  full, seed 0: 25 % done, epoch 2/9  61.2 %"


def test_a_loss_has_digits_enough_to_see_it_fall(watched):
    watch, now, said = watched
    watch.began("full", 0)
    watch.epoch_ended({"epoch": 2, "epochs": 9, "test_loss": 3.14159})
    now[0] = 11.0
    watch.stepped(0.25)
    assert said()[-1].strip().endswith("epoch 2/9  3.14 nats")


def test_short_runs_get_the_line_of_their_end_only(watched):
    watch, now, said = watched
    for seed in range(3):
        watch.began("full", seed)
        for now[0] in (9.0 * seed, 9.0 * seed + 8):
            watch.stepped(0.5)
        watch.ended({"method": "full", "seed": seed, "test_accuracy": 50.0, "seconds": 1.0})
    assert [line.split("/")[0].strip() for line in said()] == ["1", "2", "3"]
