"""What all tests share: one thread, as they are small and run side by side, and a clean registry."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def registry():
    """Forget the recipes that a test registers."""
    # Imported late: the shape checker must be in place before the package is imported.
    from samplewise.policy import REGISTRY

    before = dict(REGISTRY)
    yield REGISTRY
    REGISTRY.clear()
    REGISTRY.update(before)
