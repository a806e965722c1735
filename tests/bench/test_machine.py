"""What a run's configuration says of the software that ran."""

from importlib import metadata

import numpy as np
import torch

import samplewise
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
