"""`advise` for a LightningModule: what each method would cost, with its own optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from samplewise.advice.advising import advise as measure
from samplewise.advice.result import Advice

__all__ = ["advise"]


def advise(module: Any, forward: Callable[[Any], Any], data: Any, **given: Any) -> Advice:
    """Predict the seconds of an epoch for every method, by measuring for a minute: see `sw.advise`.

    Args:
        module: a LightningModule. Its first optimizer of `configure_optimizers` is timed. If that needs a
            Trainer, give `optimizer`.
        forward: batch data -> per-sample losses (b,) or `sw.Outputs`, as for the Selector.
        data: the train loader or data set.
        given: other arguments of `sw.advise`, such as `methods` or `seconds`.
    """
    if "optimizer" not in given:
        given["optimizer"] = _first(module.configure_optimizers())
    return measure(forward, module, data, **given)


def _first(configured: Any) -> Any:
    """The first optimizer, whatever form `configure_optimizers` returns."""
    while isinstance(configured, list | tuple | Mapping):
        configured = configured["optimizer"] if isinstance(configured, Mapping) else configured[0]
    return configured
