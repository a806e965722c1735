"""Sequences inside packed rows: their losses, and rows without some of them, beside plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BatchEncoding

import samplewise as sw
from samplewise import packed
from samplewise.data.layout import Layout

VOCABULARY = 7
Rows = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=3)
MARKS = ("position_ids", "document_ids", "seq_idx", "cu_seq_lens_q", "cu_seqlens")


def sequences(lengths, seed):
    """For each sequence its tokens, and its labels: some are not trained."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        tokens = torch.randint(1, VOCABULARY, (length,), generator=rng).tolist()
        hidden = torch.rand(length, generator=rng).lt(0.3).tolist()
        made.append((tokens, [-100 if hide else token for token, hide in zip(tokens, hidden, strict=True)]))
    return made


def pack(rows, mark, first=0):
    """A packed batch in plain Python. Shorter rows are padded."""
    width = max(sum(len(tokens) for tokens, _ in row) for row in rows)
    batch = {"input_ids": [], "labels": [], mark: []}
    number = 0
    for row in rows:
        tokens, labels, marks = [], [], []
        for own, own_labels in row:
            tokens += own
            labels += own_labels
            marks += [first + i if mark == "position_ids" else number for i in range(len(own))]
            number += 1
        short = width - len(tokens)
        more = [marks[-1] + 1 + i if mark == "position_ids" else -1 for i in range(short)]
        batch["input_ids"].append(tokens + [0] * short)
        batch["labels"].append(labels + [-100] * short)
        batch[mark].append(marks + more)
    if mark.startswith("cu_"):
        ends = [0]
        for tokens, _ in rows[0]:
            ends.append(ends[-1] + len(tokens))
        batch[mark] = ends
        made = {name: torch.tensor(value) for name, value in batch.items()}
        longest = max(len(tokens) for tokens, _ in rows[0])
        return made | {mark: made[mark].int(), "max_length_q": longest}
    return {name: torch.tensor(value) for name, value in batch.items()}


def cases(rows, mark, seed):
    """The sequences of each row, and the packed batch. Lengths count only in one row for `cu_` marks."""
    rows = [[length for row in rows for length in row]] if mark.startswith("cu_") else rows
    flat = sequences([length for row in rows for length in row], seed)
    parts, at = [], 0
    for row in rows:
        parts.append(flat[at : at + len(row)])
        at += len(row)
    width = max(sum(len(tokens) for tokens, _ in part) for part in parts)
    for part in parts:
        if mark == "position_ids":  # padding goes on after the last sequence, so it belongs to it
            short = width - sum(len(tokens) for tokens, _ in part)
            part[-1] = (part[-1][0] + [0] * short, part[-1][1] + [-100] * short)
    return [own for part in parts for own in part], parts, pack(parts, mark)


def plain_loss(logits, labels):
    """The mean of the losses of the tokens after the first, in plain Python."""
    terms = []
    for row, label in zip(logits[:-1], labels[1:], strict=True):
        if label != -100:
            top = max(row)
            terms.append(top + math.log(sum(math.exp(value - top) for value in row)) - row[label])
    return (sum(terms) / len(terms) if terms else 0.0), len(terms)


@pytest.mark.parametrize("mark", MARKS)
@settings(max_examples=30)
@given(rows=Rows, seed=st.integers(0, 99))
def test_each_sequence_has_the_loss_that_it_has_alone(mark, rows, seed):
    flat, parts, batch = cases(rows, mark, seed)
    shape = batch["input_ids"].shape
    logits = torch.randn(*shape, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    found = packed.losses(logits, batch)
    expected = []
    for r, row in enumerate(parts):
        at = 0
        for tokens, labels in row:
            expected.append(plain_loss(logits[r, at : at + len(tokens)].tolist(), labels))
            at += len(tokens)
    assert found.tokens.tolist() == [count for _, count in expected]
    assert found.mean.tolist() == pytest.approx([loss for loss, _ in expected], abs=1e-6, rel=1e-6)
    trained = sum(loss * count for loss, count in expected) / max(1, sum(count for _, count in expected))
    assert float(found.over_tokens()) == pytest.approx(trained, abs=1e-6, rel=1e-6)
    weights = torch.arange(1.0, len(flat) + 1)
    weighted = sum(w * loss * count for w, (loss, count) in zip(weights.tolist(), expected, strict=True))
    whole = weighted / max(1, sum(count for _, count in expected))
    assert float(found.over_tokens(weights)) == pytest.approx(whole, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("mark", MARKS)
@settings(max_examples=50)
@given(rows=Rows, seed=st.integers(0, 99))
def test_losses_by_token_have_a_row_for_each_sequence(mark, rows, seed):
    flat, parts, batch = cases(rows, mark, seed)
    r, t = batch["input_ids"].shape
    terms = torch.arange(1.0, r * (t - 1) + 1).view(r, t - 1).requires_grad_()
    losses, targets = packed.by_sequence(terms, batch)
    width = max(len(tokens) for tokens, _ in flat) - 1
    expected, places, wanted, number = [], [], [], 0
    for row, part in enumerate(parts):
        at = 0
        for tokens, labels in part:
            for position, label in enumerate(labels[1:]):
                if label != -100:
                    expected.append((number, position, row * (t - 1) + at + position + 1.0))
                    wanted.append((number, position, label))
                    places.append((row, at + position))
            number, at = number + 1, at + len(tokens)
    assert losses.shape == targets.shape == (len(flat), width)
    assert [(*place, losses[tuple(place)].item()) for place in losses.nonzero().tolist()] == expected
    assert [(*at, targets[tuple(at)].item()) for at in targets.ne(-100).nonzero().tolist()] == wanted
    losses.sum().backward()
    assert [tuple(place) for place in terms.grad.nonzero().tolist()] == sorted(places)
    assert terms.grad.sum() == len(places)


@pytest.mark.parametrize(
    ("rows", "mark", "several"),
    [
        ([[2, 3, 1]], "position_ids", True),
        ([[3]], "position_ids", True),
        ([[2, 3], [4]], "position_ids", True),
        ([[4], [2], [3]], "position_ids", False),
        ([[4], [2], [3]], "seq_idx", True),
        ([[4], [2], [3]], "document_ids", True),
        ([[2, 3, 1]], "cu_seq_lens_q", True),
    ],
)
def test_whether_rows_are_shared_is_told_by_the_marks(rows, mark, several):
    """Where the marks count sequences, rows with one sequence each are taken apart as well."""
    _, _, batch = cases(rows, mark, 0)
    assert packed.shares_rows(batch) == several
    assert not packed.shares_rows({"labels": batch["labels"]})
    assert not packed.shares_rows({mark: batch[mark]})
    assert not packed.shares_rows(
        {"labels": batch["labels"], "position_ids": torch.zeros(3, *batch["labels"].shape)}
    )


@pytest.mark.parametrize("mark", MARKS)
@settings(max_examples=50)
@given(rows=Rows, seed=st.integers(0, 99), data=st.data())
def test_chosen_sequences_are_packed_again_in_rows_of_the_same_width(mark, rows, seed, data):
    flat, parts, batch = cases(rows, mark, seed)
    b, width = len(flat), batch["input_ids"].shape[1]
    # Rows may repeat: importance sampling draws with replacement.
    chosen = data.draw(st.lists(st.integers(0, b - 1), min_size=1, max_size=b + 2))
    taken = packed.take(batch, torch.tensor(chosen))
    refilled, room = [], 0
    for i in chosen:
        if len(parts) > 1 and len(flat[i][0]) <= room:
            refilled[-1].append(flat[i])
        elif len(parts) > 1 or not refilled:
            refilled.append([flat[i]])
            room = width
        else:
            refilled[-1].append(flat[i])
        room -= len(flat[i][0])
    expected = pack(refilled, mark)
    assert set(taken) == set(expected)
    for name, value in expected.items():
        assert torch.equal(torch.as_tensor(taken[name]), torch.as_tensor(value)), name
        assert type(taken[name]) is type(value)
        assert not isinstance(value, torch.Tensor) or taken[name].dtype == value.dtype
    if sorted(set(chosen)) == chosen:
        assert taken["input_ids"].shape[0] <= len(parts)
        assert len(parts) == 1 or taken["input_ids"].shape[1] <= width


def test_a_flattened_batch_of_all_marks_stays_consistent():
    batch = {
        "input_ids": torch.tensor([[1, 2, 3, 4, 5, 6]]),
        "labels": torch.tensor([[-100, 2, 3, -100, -100, 6]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 0, 1]]),
        "cu_seq_lens_q": torch.tensor([0, 3, 4, 6], dtype=torch.int32),
        "cu_seq_lens_k": torch.tensor([0, 3, 4, 6], dtype=torch.int32),
        "max_length_q": 3,
        "max_length_k": 3,
        "seq_idx": torch.tensor([[0, 0, 0, 1, 2, 2]], dtype=torch.int32),
        "topics": torch.tensor([7, 8, 9]),
        "texts": sw.rows(["a", "b", "c"]),
        "scale": 2.0,
    }
    taken = Layout().take(BatchEncoding(batch), torch.tensor([1, 2]), 3)
    assert type(taken) is BatchEncoding
    shown = {
        name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in taken.items()
    }
    assert shown == {
        "input_ids": [[4, 5, 6]],
        "labels": [[-100, -100, 6]],
        "position_ids": [[0, 0, 1]],
        "cu_seq_lens_q": [0, 1, 3],
        "cu_seq_lens_k": [0, 1, 3],
        "max_length_q": 2,
        "max_length_k": 2,
        "seq_idx": [[0, 1, 1]],
        "topics": [8, 9],
        "texts": ["b", "c"],
        "scale": 2.0,
    }
    assert batch["input_ids"].shape == (1, 6)


def test_rows_with_one_sequence_each_are_picked_as_rows():
    batch = {
        "input_ids": torch.tensor([[1, 2, 0], [3, 4, 5]]),
        "position_ids": torch.tensor([[0, 1, 0], [0, 1, 2]]),
    }
    taken = Layout().take(batch, torch.tensor([0]), 2)
    assert taken["input_ids"].tolist() == [[1, 2, 0]]


def test_tokens_that_the_attention_mask_leaves_out_belong_to_no_sequence():
    batch = {
        "input_ids": torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]]),
        "labels": torch.tensor([[1, 2, 3, -100, -100], [4, 5, 6, 1, 2]]),
        "position_ids": torch.tensor([[0, 1, 0, 0, 0], [0, 1, 2, 0, 1]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    }
    taken = packed.take(batch, torch.tensor([1, 2]))
    assert taken["input_ids"].tolist() == [[3, 4, 5, 6]]
    assert taken["attention_mask"].tolist() == [[1, 1, 1, 1]]
    assert packed.losses(torch.zeros(2, 5, 7), batch).tokens.tolist() == [1, 0, 2, 1]


def narrowed(forward, batch, b):
    model = torch.nn.Embedding(VOCABULARY, VOCABULARY)
    recipe = sw.recipes.ordered_sgd(keep=0.5)
    selector = sw.Selector(recipe, b, lambda data: forward(model, data), model=model, epochs=1)
    selector.plan(0)
    kept = selector.narrow(sw.Batch(torch.arange(b), batch))
    return selector, model, kept


def test_a_step_narrows_the_row_and_trains_over_its_tokens():
    flat = sequences([4, 3, 5, 2], seed=3)
    batch = pack([flat], "position_ids")
    torch.manual_seed(0)
    selector, model, kept = narrowed(
        lambda model, data: packed.losses(model(data["input_ids"]), data).mean, batch, 4
    )
    losses = packed.losses(model(kept.data["input_ids"]), kept.data)
    loss = losses.over_tokens(selector.weigh(losses.mean))
    alone = [plain_loss(model(torch.tensor(tokens)).tolist(), labels) for tokens, labels in flat]
    hardest = sorted(sorted(range(4), key=lambda i: -alone[i][0])[:2])
    assert kept.ids.tolist() == hardest
    expected = sum(alone[i][0] * alone[i][1] for i in hardest) / sum(alone[i][1] for i in hardest)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert kept.data["input_ids"].tolist() == [[token for i in hardest for token in flat[i][0]]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"labels": None},
            "packed.losses needs a tensor batch\\['labels'\\] of shape \\(rows, tokens\\), got",
        ),
        ({"position_ids": None}, "must mark its sequences by one of cu_seq_lens_q, .*position_ids, got only"),
        ({"position_ids": [[0, 1, 3, 4, 5]]}, "must restart at the same number in every sequence, got 0, 3"),
        (
            {"position_ids": [0, 1, 2, 0, 1]},
            "position_ids must have the shape of the tokens, \\(1, 5\\), got",
        ),
        ({"cu_seqlens": [0, 3, 9]}, "cu_seqlens must ascend from 0 to at most 5 tokens, got 0, 3, 9"),
        ({"cu_seqlens": [1, 5]}, "cu_seqlens must ascend from 0 to at most 5 tokens, got 1, 5"),
    ],
)
def test_marks_that_fit_no_sequences_are_refused(change, said):
    batch = {
        "input_ids": torch.tensor([[1, 2, 3, 4, 5]]),
        "labels": torch.tensor([[1, 2, 3, 4, 5]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 1]]),
    }
    for name, value in change.items():
        if value is None:
            del batch[name]
        else:
            batch[name] = torch.tensor(value)
    with pytest.raises(ValueError, match=said):
        packed.losses(torch.zeros(1, 5, 7), batch)


def test_what_cannot_be_picked_by_sequence_is_refused_by_name():
    batch = {
        "input_ids": torch.tensor([[1, 2, 3, 4, 5]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 1]]),
    }
    with pytest.raises(ValueError, match=r"a sequence for each of its 3 ids, but holds 2\. Is one empty\?"):
        Layout().take(batch, torch.tensor([0]), 3)
    padded = batch | {"position_ids": torch.tensor([[0, 1, 2, 0, 0]])}
    with pytest.raises(ValueError, match=r"for each of its 2 ids, but holds 3\. Padding must be marked"):
        Layout().take(padded, torch.tensor([0]), 2)
    with pytest.raises(ValueError, match=r"batch\['mask'\] has shape \(1, 1, 5, 5\)"):
        Layout().take(batch | {"mask": torch.ones(1, 1, 5, 5)}, torch.tensor([0]), 2)
    two = {"input_ids": torch.ones(2, 3), "cu_seqlens": torch.tensor([0, 3, 6])}
    with pytest.raises(ValueError, match="cu_seqlens must come with one row of tokens, got 2 rows"):
        packed.take(two, torch.tensor([0]))
    with pytest.raises(ValueError, match="chosen must name one or more of the 2 sequences of batch"):
        packed.take(batch, torch.tensor([], dtype=torch.long))
