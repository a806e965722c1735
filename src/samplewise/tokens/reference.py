"""What losses are compared with token by token: stored losses of a reference, or a reference model."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from samplewise.data.fits import refuse_other_data
from samplewise.data.ids import few
from samplewise.tokens.outputs import IGNORED, refuse_no_model
from samplewise.tokens.stored import Opened, open_rows

__all__ = [
    "Reference",
    "ReferenceLosses",
    "as_reference",
    "digests",
    "refuse_unknown_tokens",
    "stored_losses",
]

_MIX = (0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB)
_ROWS = 1 << 14
"""Number of rows whose losses are in memory at once."""
_AGAIN = "Compute them again for these data with sw.reference_losses(...)."


@dataclass(frozen=True)
class Reference:
    """A model that gives reference losses. It runs a forward on every batch, in eval mode, and never trains.

    Args:
        model: the reference. It must have the tokens of the trained model. It may have more embeddings, as
            padding.
        forward: batch data -> `sw.Outputs` with `token_losses`, by the reference. None: the Selector's
            forward makes it, if it has `of(model)`, as that of `sw.language_model` has.
    """

    model: nn.Module
    forward: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        refuse_no_model("Reference.model", self.model)

    def __repr__(self) -> str:
        return f"Reference({type(self.model).__name__})"


def refuse_unknown_tokens(model: nn.Module, batch: Any) -> None:
    """Raise if a batch has tokens that a reference has no embedding for. Without the sizes, it passes.

    Args:
        model: the reference. Models of transformers have `get_input_embeddings()`.
        batch: a mapping with `input_ids`, as the model takes it. It waits for an accelerator once.
    """
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    embeddings = getattr(model, "get_input_embeddings", None)
    if not isinstance(ids, Tensor) or not ids.numel() or not callable(embeddings):
        return
    known, largest = getattr(embeddings(), "num_embeddings", None), int(ids.max())
    if known is not None and largest >= known:
        raise ValueError(
            f"the reference must know all tokens of the model, but its vocabulary has {known} and the batch "
            f"has token {largest}. Give a reference with the same tokenizer."
        )


@dataclass(frozen=True, eq=False, repr=False)
class ReferenceLosses:
    """The losses of a reference on every token of n rows, computed once: see `sw.reference_losses`.

    Memory: 16 bytes a row, and 4 bytes a token, or 2 in float16. The losses are memory-mapped if they come
    from a file, so they need not fit into memory.

    Args:
        starts: (n + 1,), row i has the losses `starts[i]` to `starts[i + 1]`.
        values: (t,), float32 or float16, those of all rows one after the other, in the order of the tokens.
        digests: (n,), of the tokens that each row had: see `digests`.
        provenance: `n` and `fingerprint` of the data, and under `scoring` what computing them cost.
        path: the file that they come from.

    Raises:
        ValueError: for parts that do not fit together, and losses that are not finite.
    """

    starts: Int[Tensor, " n1"]
    values: Any
    digests: Int[Tensor, " n"]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None

    def __post_init__(self) -> None:
        starts, t = self.starts, len(self.values)
        fits = len(starts) == len(self.digests) + 1 > 1 and int(starts[0]) == 0 and int(starts[-1]) == t
        if not fits or bool((starts.diff() < 0).any()):
            raise ValueError(
                "ReferenceLosses.starts must be n + 1 ascending numbers from 0 to the number of losses, got "
                f"{len(starts)} for {len(self.digests)} rows and {t} losses."
            )
        for start in range(0, t, 1 << 22):
            part = self.values[start : start + (1 << 22)]
            if not np.isfinite(part).all():
                at = start + int(np.flatnonzero(~np.isfinite(part))[0])
                row = int(torch.searchsorted(starts, at, right=True)) - 1
                raise ValueError(f"reference losses must be finite, but are not for id {row}. {_AGAIN}")

    @classmethod
    def of(
        cls,
        losses: Float[Tensor, "n t"],
        targets: Int[Tensor, "n t"],
        provenance: Mapping[str, Any] | None = None,
    ) -> "ReferenceLosses":
        """Those of n rows in memory. A target -100 is no token, and its loss is left out."""
        real = targets != IGNORED
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), real.sum(1).cumsum(0)])
        return cls(starts, losses[real].float().numpy(), digests(targets), provenance or {"n": len(targets)})

    @classmethod
    def read(cls, path: str | Path) -> "ReferenceLosses":
        """Those in a Parquet file. Its losses are decoded once, in blocks, into a file that is mapped."""
        found: Opened = open_rows(path)
        return cls(found.starts, found.values, found.digests, found.provenance, str(path))

    def look_up(self, ids: Int[Tensor, " b"], targets: Int[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        """The losses of rows of a batch, 0 where there is no token. It waits for an accelerator once.

        Raises:
            ValueError: if a row has other tokens than it had when the losses were computed.
        """
        both = torch.stack([ids.to(targets.device), digests(targets)]).cpu()
        rows, now = both[0], both[1]
        if len(wrong := rows[now != self.digests[rows]]):
            had = self.starts[wrong[0] + 1] - self.starts[wrong[0]]
            has = targets[(ids == wrong[0].to(ids.device)).to(targets.device)][0].ne(IGNORED).sum()
            raise ValueError(
                f"the reference losses are of other tokens for ids {few(wrong)}: id {int(wrong[0])} had "
                f"{int(had)} tokens and has {int(has)} now, or they differ. Did the tokenizer, the labels or "
                f"the length of rows change? {_AGAIN}"
            )
        first, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        places = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths - first).repeat_interleave(
            lengths
        )
        flat = torch.from_numpy(np.asarray(self.values[places.numpy()], dtype=np.float32)).to(targets.device)
        return torch.zeros(targets.shape, device=targets.device).masked_scatter(targets != IGNORED, flat)

    def lengths(self) -> Int[Tensor, " n"]:
        """The number of tokens of each row."""
        return self.starts.diff()

    def row_means(self) -> Float[Tensor, " n"]:
        """The mean loss of each row over its tokens; 0 without any."""
        found = torch.zeros(len(self), dtype=torch.float64)
        for first in range(0, len(self), _ROWS):
            starts = self.starts[first : first + _ROWS + 1]
            part = np.asarray(self.values[int(starts[0]) : int(starts[-1])], dtype=np.float64)
            row = torch.arange(len(starts) - 1).repeat_interleave(starts.diff())
            found[first : first + _ROWS].index_add_(0, row, torch.from_numpy(part))
        return (found / self.lengths().clamp(min=1)).float()

    def refuse_other_tokens(self, other: "ReferenceLosses", mine: str, name: str) -> None:
        """Raise unless the other losses are of the same tokens of the same rows.

        Args:
            other: losses of another model.
            mine: what these losses are, for the error.
            name: what the others are.
        """
        if len(self) != len(other):
            raise ValueError(f"{mine} is of {len(self)} rows, but {name} of {len(other)}. {_AGAIN}")
        if len(differ := (self.digests != other.digests).nonzero().flatten()):
            raise ValueError(f"{mine} and {name} are of different tokens for ids {few(differ)}. {_AGAIN}")

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        """Raise for losses of other data than these n samples."""
        last = torch.tensor([len(self) - 1])
        given = {"n": len(self), **self.provenance}
        refuse_other_data("the reference losses are of", last, given, n, fingerprint, _AGAIN)

    def __len__(self) -> int:
        return len(self.digests)

    @cached_property
    def _sha(self) -> str:
        drawn = hashlib.sha256(self.digests.numpy().tobytes())
        for start in range(0, len(self.values), 1 << 22):
            drawn.update(np.asarray(self.values[start : start + (1 << 22)]).tobytes())
        return drawn.hexdigest()[:12]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReferenceLosses) and self._sha == other._sha

    def __hash__(self) -> int:
        return hash(self._sha)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ReferenceLosses":
        return self  # nothing changes it

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return ReferenceLosses.read, (self.path,)
        return ReferenceLosses, (self.starts, self.values, self.digests, dict(self.provenance))

    def __repr__(self) -> str:
        return f"ReferenceLosses({len(self)} rows, {len(self.values)} tokens, sha256 {self._sha})"


def digests(targets: Int[Tensor, "b t"]) -> Int[Tensor, " b"]:
    """A number of 64 bits for the tokens of each row and their order. Padding (-100) does not change it."""
    real: Bool[Tensor, "b t"] = targets != IGNORED
    mixed = (targets.long() + 1) * _MIX[0] + real.cumsum(1) * _MIX[1]
    mixed = (mixed ^ (mixed >> 31)) * _MIX[2]
    return torch.where(real, mixed ^ (mixed >> 29), 0).sum(1)


def stored_losses(given: Any, name: str, written: str) -> ReferenceLosses:
    """Stored losses, or those in the file at a path.

    Args:
        given: what a recipe got.
        name: of the parameter, for the error.
        written: the method with its files, as for `--method`, for the error.

    Raises:
        ValueError: if it is something else.
    """
    if isinstance(given, str | Path):
        return ReferenceLosses.read(given)
    if isinstance(given, ReferenceLosses):
        return given
    got = "None" if given is None else f"a {type(given).__name__}"
    raise ValueError(
        f"{name} must be stored losses by token or a path to them, got {got}. Compute them once: "
        "sw.reference_losses(forward, dataset, model=model, out='losses.parquet'). Then name the file, on "
        f"the command line as --method {written}."
    )


def as_reference(given: Any, owner: str) -> Reference | ReferenceLosses:
    """What a recipe got as its reference: a bare model as a `Reference`, a path as the losses in that file.

    Raises:
        ValueError: if it is nothing, or of another type.
    """
    if isinstance(given, nn.Module):
        return Reference(given)
    if isinstance(given, str | Path):
        return ReferenceLosses.read(given)
    if isinstance(given, Reference | ReferenceLosses):
        return given
    got = "None" if given is None else f"a {type(given).__name__}"
    raise ValueError(
        f"{owner}.reference must be stored losses, a path to them, a torch.nn.Module or a "
        f"sw.tokens.Reference(model, forward), got {got}. Train the reference on data of high quality. Then "
        "compute its losses once, with sw.reference_losses(forward, dataset, model=reference, "
        f"out='ref.parquet'), and use sw.recipes.{owner}('ref.parquet'), on the command line --method "
        f"{owner}:reference=ref.parquet."
    )
