"""What a run's configuration says of the software that ran."""

from importlib import metadata

import numpy as np
import torch

import samplewise
from samplewise.bench import machine
from samplewise.bench.machine import versions


def test_versions_are_those_that_run_and_not_those_that_metadata_tells(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    told = versions()
    assert told["torch"] == "2.13.0+cu130"
    assert told["samplewise"] == samplewise.__version__
    assert told["numpy"] == np.__version__


def test_the_clock_of_an_accelerator_is_read_when_its_queue_is_empty(monkeypatch):
    """On a CPU it is the time of the process, which another process does not lengthen."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: 7.0 + len(waited))
    monkeypatch.setattr(machine.time, "process_time", lambda: 3.0)
    assert machine.clock(torch.device("cuda:1")) == 8.0
    assert waited == [torch.device("cuda:1")]
    assert machine.clock(torch.device("cpu")) == 3.0
    assert len(waited) == 1
