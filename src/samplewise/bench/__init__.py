"""Comparing methods: experiments of `samplewise train`, and studies of `samplewise bench`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplewise.bench.study.study import Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    """Load `Study` when it is first used: it needs the extra `bench`."""
    if name == "Study":
        from samplewise.bench.study.study import Study

        return Study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
