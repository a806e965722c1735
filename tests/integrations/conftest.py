"""What several frameworks' tests stand on."""

import gc

import pytest


@pytest.fixture(scope="module")
def quick_training():
    """The Trainer collects garbage whenever it begins, through all that is imported: leave that out."""
    gc.freeze()
    yield
    gc.unfreeze()
