"""The report of one Selector: what it knows after, or inside, a plain loop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samplewise.checks import require
from samplewise.cost.ledger import Ledger
from samplewise.data.randomness import kept
from samplewise.distributed import collectives
from samplewise.html.facts import Comparison, Facts, Picture, Run, Spent
from samplewise.html.pictures import picture
from samplewise.html.sections.text import percent
from samplewise.html.write import write

__all__ = ["facts_of", "report"]

_TABLE = ".parquet"


def report(selector: Any, path: str | Path, features: Any = None, class_names: Sequence[str] = ()) -> Path:
    """Write the page, and the table beside it: see `Selector.report`."""
    path = Path(path)
    for module, extra in (("jinja2", "html"), ("vl_convert", "html"), ("pyarrow", "scores")):
        require(module, extra)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of the report must exist, but {path.parent} does not.")
    if path.is_dir() or path.suffix == _TABLE:
        raise ValueError(f"path must name an HTML file, such as report.html, got {path}.")
    facts = facts_of(selector, path.with_suffix(_TABLE).name, features, class_names)
    if collectives.rank() == 0:
        (run,) = facts.runs
        if run.table is not None:
            run.table.to_parquet(path.with_suffix(_TABLE))
        write(facts, path)
    return path


def facts_of(selector: Any, file: str, features: Any = None, class_names: Sequence[str] = ()) -> Facts:
    """What a Selector knows, as facts. `file` is the Parquet file of its table."""
    table, ledger, policy = selector.table(), selector.ledger, selector.policy
    name, dataset = policy.name or "the method", selector.dataset
    if not class_names and isinstance(found := getattr(dataset, "classes", None), list | tuple):
        class_names = [str(one) for one in found]
    show = _shows(dataset)
    lacks = {
        "features": "No features were given, so nearest neighbours cannot be found: "
        "selector.report(path, features=...).",
        "history": "The Selector kept no history of its selections, so the shares of classes are not known: "
        "Selector(history=True).",
    }
    if show is None:
        lacks["samples"] = "The Selector holds no data set, so only the ids of samples are here."
    about = {key: value for key, value in table.provenance.items() if key not in ("versions", "selections")}
    run = Run(
        name=name,
        table=table,
        class_names=class_names,
        show=show,
        features=None if features is None else _vectors(features, len(table)),
        file=file,
        lacks=lacks,
    )
    settings = [
        (
            "run",
            about | {"epochs": selector.epochs, "batch_size": selector.batch_size, "seed": selector.seed},
        ),
        ("versions", table.provenance["versions"]),
    ]
    return Facts(f"{name}, {len(table):,} samples", [_costs(name, selector, ledger)], [run], settings)


def _costs(name: str, selector: Any, ledger: Ledger) -> Comparison:
    """What the ledger says. A Selector knows no result on test data."""
    time = {"scoring run": ledger.prior_seconds} if ledger.prior_seconds else {}
    spent = Spent(
        name, ledger.promised, ledger.realised, time | ledger.seconds, ledger.baseline == "estimated"
    )
    said = [
        f"{name} after {selector.epoch} of {selector.epochs} epochs: {percent(ledger.cost_share)} of the "
        "cost of ordinary training.",
        "A Selector sees no result on test data, so this is no verdict: samplewise bench judges methods.",
    ]
    return Comparison(name, said, spent=[spent])


def _shows(dataset: Any) -> Callable[[Sequence[int]], list[Picture]] | None:
    """How samples of a data set are shown; None if it has none. Random states are left as found."""
    if not hasattr(dataset, "__getitem__"):
        return None

    def show(ids: Sequence[int]) -> list[Picture]:
        with kept():
            return [_shown(dataset, i) for i in ids]

    return show


def _shown(dataset: Any, sample: int) -> Picture:
    try:
        return picture(dataset[sample])
    except Exception as error:  # the user's code: one bad sample must not cost the report of a long run
        return Picture("text", f"This sample cannot be read: {type(error).__name__}: {error}")


def _vectors(features: Any, n: int) -> np.ndarray:
    """Features as an array (n, d)."""
    found: np.ndarray = torch.as_tensor(features).detach().cpu().numpy()
    if found.ndim != 2 or len(found) != n:
        raise ValueError(f"features must have shape ({n}, d), a vector for each sample, got {found.shape}.")
    if not np.isfinite(found).all():
        raise ValueError("features must be finite numbers.")
    return found
