"""Comparing methods: experiments of `samplewise train`, and studies of `samplewise bench`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplewise.bench.saved import load_model
    from samplewise.bench.study.study import Study

__all__ = ["Study", "load_model"]


def __getattr__(name: str) -> Any:
    """Load what is used: `Study` needs the extra `bench`."""
    if name == "load_model":
        from samplewise.bench.saved import load_model

        return load_model
    if name == "Study":
        from samplewise.bench.study.study import Study

        return Study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
