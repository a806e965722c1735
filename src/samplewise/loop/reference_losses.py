"""`reference_losses`: the losses of a reference on every token of a data set, computed once and stored."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from samplewise.checks import Range, check_arguments
from samplewise.cost.ledger import Ledger
from samplewise.data.dataset import length_of
from samplewise.data.outputs import Outputs, as_outputs, walk
from samplewise.loop.scoring import Scoring, device_of, without_trace
from samplewise.loop.scoring_forward import ScoringForward, shape_of
from samplewise.tokens.outputs import IGNORED, refuse_no_model
from samplewise.tokens.reference import ReferenceLosses, digests
from samplewise.tokens.stored import Block, write_rows

__all__ = ["reference_losses"]

_BLOCK = 1 << 22
"""About so many losses are written as a block."""


def reference_losses(
    forward: Callable[[Any], Any],
    dataset: Any,
    *,
    model: nn.Module,
    out: str | Path,
    batch_size: Annotated[int, Range(1)] = 8,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    num_workers: Annotated[int, Range(0)] = 0,
    dtype: str = "float32",
    training: Sequence[Ledger] = (),
) -> ReferenceLosses:
    """Compute the loss of a reference on every token of a data set, and write it to a Parquet file.

    It takes one forward of every sample, in eval mode and without gradients. Rows are written in blocks, so
    neither the data nor the losses need fit into memory. Later runs open the file:
    `sw.recipes.rho_tokens("ref.parquet")`. They refuse rows whose tokens are not those of then.

    Args:
        forward: batch data -> `sw.Outputs` with `token_losses`, by the reference: `sw.language_model(model)`.
        dataset: the training data, map-style, with the tokens as they will be trained on.
        model: the reference.
        out: the Parquet file. An old file is replaced at the end.
        batch_size: of the forwards.
        collate_fn: of a DataLoader; None: torch's own.
        num_workers: of a DataLoader.
        dtype: of the losses in the file, "float32" or "float16": 4 or 2 bytes a token.
        training: the ledgers of the trainings that made the reference. Methods that read the file are charged
            for these trainings, too.

    Returns:
        The losses, memory-mapped, with their cost under `provenance["scoring"]`: forwards, FLOPs and seconds.

    Raises:
        ValueError: if forward gives no losses by token, a loss is not finite, or forward ends with an
            IndexError, as for a token outside the vocabulary of the reference.
    """
    check_arguments(
        "reference_losses", reference_losses, {"batch_size": batch_size, "num_workers": num_workers}
    )
    refuse_no_model("model", model)
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be one of 'float32', 'float16', got {dtype!r}.")
    loader = DataLoader(
        dataset, batch_size, collate_fn=collate_fn, num_workers=num_workers, generator=torch.Generator()
    )
    n, begun, ledger = length_of(dataset), time.perf_counter(), Ledger()
    note: dict[str, Any] = {"n": n}

    def blocks() -> Iterator[Block]:
        yield from _joined(_rows(forward, loader, model, ledger, np.dtype(dtype)))
        cost = n + sum(each.cost for each in training)
        seconds = time.perf_counter() - begun + sum(each.wall for each in training)
        note["scoring"] = {"cost": cost, "flops": ledger.cheap_flops / n * cost, "seconds": seconds}

    write_rows(out, blocks(), dtype == "float16", note)
    return ReferenceLosses.read(out)


def _rows(
    forward: Callable[[Any], Any], loader: DataLoader[Any], model: nn.Module, ledger: Ledger, kind: Any
) -> Iterator[Block]:
    """The losses of each batch."""
    run, there, first = ScoringForward(ledger), device_of(model), 0

    def move(leaf: Any, path: str) -> Any:
        return leaf.to(there) if isinstance(leaf, Tensor) else leaf

    for data in loader:
        moved = walk(data, move)
        try:
            with without_trace(model, Scoring()):
                found, flops = run.flops_of(shape_of(torch.empty(0), moved), partial(forward, moved))
        except IndexError as error:
            raise ValueError(
                f"forward ended with an IndexError on rows from id {first} on: {error}. The reference must "
                "know every token and position: use its tokenizer, and rows that fit into its context."
            ) from error
        b = len(found.loss) if isinstance(found, Outputs) else len(found)
        outputs = as_outputs(found, b)
        losses, targets = outputs.token_losses, outputs.token_targets
        if losses is None or targets is None:
            raise ValueError(
                "forward must return token_losses and token_targets. Return sw.token_outputs(logits, labels) "
                "from it, or build it with sw.language_model(model)."
            )
        ledger.scored_cheaply(b, flops)
        real = targets != IGNORED
        values = losses[real].float().cpu().numpy().astype(kind)
        if not np.isfinite(values).all():
            raise ValueError(
                f"the losses of the reference must be finite in {kind}, but are not for ids {first} to "
                f"{first + b - 1}. Use another model, or dtype='float32'."
            )
        yield Block(real.sum(1).cpu().numpy(), values, digests(targets).cpu().numpy())
        first += b


def _joined(batches: Iterator[Block]) -> Iterator[Block]:
    """The same rows in fewer and larger blocks."""
    held: list[Block] = []
    for batch in batches:
        held.append(batch)
        if sum(len(block.values) for block in held) >= _BLOCK:
            yield Block(*map(np.concatenate, zip(*held, strict=True)))
            held = []
    if held:
        yield Block(*map(np.concatenate, zip(*held, strict=True)))
