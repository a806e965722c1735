"""What all tests share: one thread (they are small and run side by side), drawn examples, a registry."""

import jaxtyping
import pytest
import torch
from hypothesis import settings

from tests.typechecks import checked

# The import hook of --jaxtyping-packages puts it on every function and dataclass of the package.
jaxtyping.jaxtyped = checked

# The same examples in every run, and no limit on time, which a busy machine would break.
settings.register_profile("samplewise", deadline=None, derandomize=True)
settings.load_profile("samplewise")


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
