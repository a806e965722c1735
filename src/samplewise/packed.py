"""Rows that hold several sequences, one after the other: the loss of each, and rows without some of them."""

import copy
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["MARKS", "Losses", "behind", "by_sequence", "is_packed", "losses", "means", "shares_rows", "take"]

IGNORED = -100
"""The label of tokens that are not trained."""

_ENDS = ("cu_seq_lens_q", "cu_seq_lens_k", "cu_seqlens")
_DOCUMENTS = ("seq_idx", "document_ids")
_LONGEST = {"max_length_q", "max_length_k", "max_seqlen"}

MARKS = (*_ENDS, *_DOCUMENTS, "position_ids")
"""The entries of a batch that show where its sequences begin. The first one that is there counts.

`cu_seq_lens_q`, `cu_seq_lens_k` and `cu_seqlens` (s + 1,) are for one row of tokens: 0, then the ends of the
s sequences. `seq_idx` and `document_ids` (rows, tokens) number them; -1 is padding. `position_ids` (rows,
tokens) restart in each sequence; padding that goes on counting belongs to the last one. Tokens with
`attention_mask` 0 are padding.
"""

Batch = Mapping[str, Any]


class Losses(NamedTuple):
    """The losses of the s sequences of a packed batch, in the order of their tokens."""

    mean: Float[Tensor, " s"]
    """The mean over the trained tokens of each sequence; 0 without any."""
    tokens: Int[Tensor, " s"]
    """The number of trained tokens of each sequence."""

    def over_tokens(self, weights: Float[Tensor, " s"] | None = None) -> Float[Tensor, ""]:
        """The mean over all trained tokens, as language models train. `weights` are of the sequences.

        >>> Losses(torch.tensor([1.0, 3.0]), torch.tensor([3, 1])).over_tokens()
        tensor(1.5000)
        """
        sums = self.mean * self.tokens
        sums = sums if weights is None else sums * weights
        return sums.sum() / self.tokens.sum().clamp(min=1)


def losses(logits: Float[Tensor, "r t v"], batch: Batch, smoothing: float = 0.0) -> Losses:
    """The loss of each sequence of a packed batch. No token is predicted from another sequence.

    Args:
        logits: (rows, tokens, vocabulary), before the softmax.
        batch: has `labels` (rows, tokens), where -100 is not trained, and one of `MARKS`.
        smoothing: of the labels, in [0, 1).

    Raises:
        ValueError: if the labels or all marks are missing, or fit no sequences.

    >>> batch = {"labels": torch.tensor([[4, 5, 6, 7, 8]]), "position_ids": torch.tensor([[0, 1, 2, 0, 1]])}
    >>> losses(torch.zeros(1, 5, 10), batch)
    Losses(mean=tensor([2.3026, 2.3026]), tokens=tensor([2, 1]))
    """
    labels = _labels(batch)
    if logits.shape[:2] != labels.shape:
        raise ValueError(
            f"logits must have shape {tuple(labels.shape)} before the vocabulary, as the labels, got "
            f"{tuple(logits.shape)}."
        )
    targets = labels[:, 1:]
    terms = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    return means(terms.view_as(targets), batch)


def means(terms: Float[Tensor, "r t1"], batch: Batch) -> Losses:
    """As `losses`, from the loss of each token after the first of its row, (rows, tokens - 1)."""
    labels = _labels(batch)
    of, s = _numbers(batch, labels.shape)
    owner = of[:, 1:]
    trained = labels[:, 1:].ne(IGNORED) & owner.eq(of[:, :-1]) & owner.ge(0)
    at = owner.clamp(min=0).flatten()
    sums = terms.new_zeros(s).index_add(0, at, terms.where(trained, 0).flatten())
    tokens = at.new_zeros(s).index_add(0, at, trained.flatten().to(at))
    return Losses(sums / tokens.clamp(min=1), tokens)


def by_sequence(
    terms: Float[Tensor, "r t1"], batch: Batch
) -> tuple[Float[Tensor, "s w"], Int[Tensor, "s w"]]:
    """The loss of each token and the token, with a row for each of the s sequences: as if they were padded.

    The rows are in the order of the sequences. w is the number of tokens of the longest one, less 1. The loss
    at [i, j] is that of token j + 1 of sequence i. Without a trained token it is 0, and the token is -100.

    Args:
        terms: the loss of each token after the first of its row, (rows, tokens - 1).
        batch: as for `losses`.

    Raises:
        ValueError: if the labels or all marks are missing, or fit no sequences.

    >>> batch = {"labels": torch.tensor([[4, 5, 6, 7, 8]]), "position_ids": torch.tensor([[0, 1, 2, 0, 1]])}
    >>> by_sequence(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), batch)
    (tensor([[0.1000, 0.2000],
            [0.4000, 0.0000]]), tensor([[   5,    6],
            [   8, -100]]))
    """
    labels = _labels(batch)
    of, s = _numbers(batch, labels.shape)
    sizes = _sizes(of, s)
    places = torch.arange(max(0, int(sizes.max()) - 1), device=of.device)
    inside = places < sizes[:, None] - 1
    at = (_first_of_each(of, s)[:, None] + places).where(inside, 0)
    targets = labels.flatten()[at + 1].where(inside, IGNORED)
    return F.pad(terms, (0, 1)).flatten()[at].where(targets.ne(IGNORED), 0), targets


def behind(batch: Batch, m: int) -> Bool[Tensor, "r t"]:
    """Which tokens of a packed batch are not of its first m sequences, (rows, tokens).

    >>> behind({"labels": torch.tensor([[5, 6, 7, 0]]), "seq_idx": torch.tensor([[0, 0, 1, -1]])}, 1)
    tensor([[False, False,  True,  True]])
    """
    of, _ = _numbers(batch, _labels(batch).shape)
    return of.ge(m) | of.lt(0)


def is_packed(data: Any, b: int) -> bool:
    """Whether a part of a batch with b sequences is a mapping that holds them in another number of rows."""
    if not isinstance(data, Mapping) or (shape := _shape(data)) is None:
        return False
    return any(name in data for name in _ENDS) or (
        shape[0] != b and any(name in data for name in (*_DOCUMENTS, "position_ids"))
    )


def shares_rows(batch: Batch) -> bool:
    """Whether the marks of a batch with `labels` say that sequences share a row, or may do so.

    Rows of `position_ids` that restart nowhere hold one sequence each.
    """
    labels, positions = batch.get("labels"), batch.get("position_ids")
    if not isinstance(labels, Tensor) or labels.ndim != 2:
        return False
    if any(name in batch for name in (*_ENDS, *_DOCUMENTS)):
        return True
    if not isinstance(positions, Tensor) or positions.shape != labels.shape:
        return False
    return len(labels) == 1 or _numbers(batch, labels.shape)[1] != len(labels)


def take(
    batch: Batch,
    chosen: Int[Tensor, " k"] | None,
    b: int | None = None,
    other: Callable[[Any, str], Any] | None = None,
    path: str = "batch",
    first: int | None = None,
) -> Any:
    """A packed batch of the chosen sequences only, in the same kind of mapping.

    One row stays one row. Several rows are filled in order, at most to the width that they had, and padded.
    What follows from the lengths (`cu_seq_lens_q`, `max_length_q`, `seq_idx`, ...) is made again.

    Args:
        batch: has `input_ids` or `labels` (rows, tokens), and one of `MARKS`.
        chosen: which sequences, counted over all rows in order; None: all. A sequence may come twice.
        b: the number of sequences that must be there; None: any.
        other: called with every value that does not belong to the tokens, and its path; None: they stay.
        path: the name of the batch in errors.
        first: how many tokens of each sequence stay at most, from its first one on; None: all.

    Raises:
        ValueError: if the marks fit no sequences, or not b, or chosen is empty.

    >>> batch = {"input_ids": torch.tensor([[4, 5, 6, 7]]), "position_ids": torch.tensor([[0, 1, 0, 1]])}
    >>> take(batch, torch.tensor([1]))
    {'input_ids': tensor([[6, 7]]), 'position_ids': tensor([[0, 1]])}
    """
    shape = _shape(batch)
    if shape is None:
        raise ValueError(
            f"{path} must have input_ids or labels of shape (rows, tokens), got {', '.join(batch)}."
        )
    of, s = _numbers(batch, shape)
    if b is not None and s != b:
        way = (
            "Is one empty? A packed row cannot show it. Leave it out of the data."
            if s < b
            else "Padding must be marked: by attention_mask 0, by -1 in seq_idx, or by position_ids that go "
            "on after the last sequence."
        )
        raise ValueError(f"{path} must hold a sequence for each of its {b} ids, but holds {s}. {way}")
    sizes, firsts = _sizes(of, s), _first_of_each(of, s)
    chosen = torch.arange(s, device=of.device) if chosen is None else chosen.to(of.device)
    if not len(chosen):
        raise ValueError(f"chosen must name one or more of the {s} sequences of {path}, but names none.")
    lengths, k = sizes[chosen], len(chosen)
    if first is not None:
        lengths = lengths.clamp(max=first)
    ends = lengths.cumsum(0)
    owner = torch.arange(k, device=of.device).repeat_interleave(lengths)
    offsets = torch.arange(len(owner), device=of.device) - (ends - lengths)[owner]
    source = firsts[chosen][owner] + offsets
    rows = _rows(ends, len(source), shape)
    renewed = {
        **{name: F.pad(ends, (1, 0)) for name in _ENDS},
        **{name: lengths.max() for name in _LONGEST},
        **{name: _filled(owner, rows, name) for name in _DOCUMENTS},
    }
    new: dict[str, Any] = {}
    for name, value in batch.items():
        if name in renewed:
            made = renewed[name]
            new[name] = made.to(value) if isinstance(value, Tensor) else int(made)
        elif isinstance(value, Tensor) and value.shape[:2] == shape:
            new[name] = _filled(value.flatten(0, 1)[source.to(value.device)], rows, name)
        else:
            new[name] = value if other is None else other(value, f"{path}[{name!r}]")
    if not isinstance(batch, MutableMapping):
        return type(batch)(new)  # type: ignore[call-arg]  # a read-only mapping of the user is made anew
    same = copy.copy(batch)
    same.update(new)
    return same


# ------------------------------------------------------------------------------------ sequences


def _shape(batch: Batch) -> torch.Size | None:
    """(rows, tokens) of a batch; None if it has no tokens."""
    for name in ("input_ids", "labels"):
        value = batch.get(name)
        if isinstance(value, Tensor) and value.ndim == 2:
            return value.shape
    return None


def _labels(batch: Batch) -> Int[Tensor, "r t"]:
    labels = batch.get("labels")
    if not isinstance(labels, Tensor) or labels.ndim != 2:
        raise ValueError(
            "packed.losses needs a tensor batch['labels'] of shape (rows, tokens), got "
            f"{getattr(labels, 'shape', type(labels).__name__)}."
        )
    return labels


def _numbers(batch: Batch, shape: torch.Size) -> tuple[Int[Tensor, "r t"], int]:
    """The number of the sequence of each token, counted over all rows, -1 for padding; how many there are."""
    name = next((name for name in MARKS if name in batch), None)
    if name is None:
        raise ValueError(
            f"a packed batch must mark its sequences by one of {', '.join(MARKS)}, got only "
            f"{', '.join(batch)}."
        )
    mark = batch[name]
    if name in _ENDS:
        return _by_ends(name, mark, shape), len(mark) - 1
    if mark.shape != shape:
        raise ValueError(
            f"{name} must have the shape of the tokens, {tuple(shape)}, got {tuple(mark.shape)}."
        )
    mask = batch.get("attention_mask")
    real = mark >= 0 if name in _DOCUMENTS else torch.ones_like(mark, dtype=torch.bool)
    if isinstance(mask, Tensor) and mask.shape == shape:
        real = real & mask.ne(0)
    begins = torch.ones_like(real)
    begins[:, 1:] = (mark.diff(dim=1) != (1 if name == "position_ids" else 0)) | ~real[:, :-1]
    begins &= real
    of = begins.flatten().cumsum(0).view(shape) - 1
    s = int(of[-1, -1]) + 1
    if name == "position_ids":
        starts = mark[begins]
        if wrong := starts[starts != starts[0]].tolist():
            raise ValueError(
                f"position_ids must restart at the same number in every sequence, got {int(starts[0])}, "
                f"{wrong[0]}. Mark the sequences by cu_seq_lens_q or seq_idx if they do not."
            )
    return of.where(real, -1), s


def _by_ends(name: str, ends: Tensor, shape: torch.Size) -> Int[Tensor, "1 t"]:
    if shape[0] != 1:
        raise ValueError(f"{name} must come with one row of tokens, got {shape[0]} rows.")
    if ends.is_cpu and (
        len(ends) < 2 or ends[0] != 0 or ends[-1] > shape[1] or not bool((ends.diff() > 0).all())
    ):
        raise ValueError(
            f"{name} must ascend from 0 to at most {shape[1]} tokens, got "
            f"{', '.join(map(str, ends.tolist()))}."
        )
    of = torch.bucketize(torch.arange(shape[1], device=ends.device), ends[1:].long(), right=True)
    return of.where(of < len(ends) - 1, -1)[None]


def _sizes(of: Int[Tensor, "r t"], s: int) -> Int[Tensor, " s"]:
    """The number of tokens of each sequence."""
    return torch.bincount(of[of >= 0], minlength=s)


def _first_of_each(of: Int[Tensor, "r t"], s: int) -> Int[Tensor, " s"]:
    """The position of the first token of each sequence, over all rows."""
    flat = of.flatten()
    fresh = flat.ne(F.pad(flat[:-1], (1, 0), value=-1)) & flat.ge(0)
    return fresh.nonzero().flatten()[:s]


# -------------------------------------------------------------------------------------- packing


def _rows(ends: Int[Tensor, " k"], total: int, shape: torch.Size) -> list[tuple[int, int]]:
    """The first and the last token, plus 1, of each new row of whole sequences."""
    if shape[0] == 1:
        return [(0, total)]
    found, begun = [], 0
    while begun < total:
        # The last sequence that ends within the width. The first one always fits: it had a row before.
        last = int(torch.searchsorted(ends, begun + shape[1], right=True)) - 1
        found.append((begun, int(ends[last])))
        begun = found[-1][1]
    return found


def _filled(values: Tensor, rows: list[tuple[int, int]], name: str) -> Tensor:
    """The values of all tokens, (tokens, ...), in rows of the same width. `name` says what padding is."""
    if len(rows) == 1:
        return values[None]
    width = max(end - begun for begun, end in rows)
    made = []
    for begun, end in rows:
        row, short = values[begun:end], width - (end - begun)
        if name == "position_ids":  # padding goes on after the last sequence, which begins no new one
            more = row[-1] + torch.arange(1, short + 1, device=row.device, dtype=row.dtype)
        else:
            filler = IGNORED if name in ("labels", "shift_labels") else -1 if name in _DOCUMENTS else 0
            more = row.new_full((short, *row.shape[1:]), filler)
        made.append(torch.cat([row, more]))
    return torch.stack(made)
