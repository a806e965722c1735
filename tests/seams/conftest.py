"""Fixtures of the seams: a clock that tests move."""

import time

import pytest


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """In place of `time.perf_counter`."""
    moved = Clock()
    monkeypatch.setattr(time, "perf_counter", moved)
    return moved
