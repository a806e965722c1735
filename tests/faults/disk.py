"""A disk that is full, played by the limit on the size of the files that a process writes."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

FULL = "[Errno 27] could not be written: File too large. The old file is unchanged: "


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
