"""Stored reference losses: computed once, written in blocks, mapped, and refused for other tokens."""

import copy
import math
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

import samplewise as sw
from samplewise.loop import reference_losses as module
from samplewise.tokens import ReferenceLosses
from samplewise.tokens.outputs import refuse_no_model
from samplewise.tokens.reference import digests
from tests.tokens.toys import Rows, Tiny

N = 20


def one_by_one(model, data):
    """The losses of every row, one forward each, in plain torch."""
    found = []
    for sample in data:
        logits = model(sample["input_ids"][None])[0]
        pairs = [(j, t) for j, t in enumerate(sample["labels"][1:].tolist()) if t != -100]
        found.append([F.cross_entropy(logits[j], torch.tensor(t)).item() for j, t in pairs])
    return found


def stored(path, model=None, data=None, **given):
    model = Tiny(1) if model is None else model
    data = Rows() if data is None else data
    return sw.reference_losses(sw.language_model(model), data, model=model, out=path, **given)


def test_a_reference_with_too_small_a_vocabulary_is_refused_and_leaves_no_file(tmp_path):
    tokens = torch.tensor([3, 1, 50, 2])
    rows = [{"input_ids": tokens % (3 if i < 4 else 51), "labels": tokens % 3} for i in range(6)]
    with pytest.raises(ValueError, match=r"IndexError on rows from id 4 on: .*use its tokenizer"):
        stored(tmp_path / "ref.parquet", data=rows, batch_size=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("block", [1, 30, 1 << 22])
@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_the_losses_are_those_of_single_forwards(tmp_path, monkeypatch, block, batch_size):
    monkeypatch.setattr(module, "_BLOCK", block)
    path = tmp_path / "ref.parquet"
    found = stored(path, batch_size=batch_size)
    expected = one_by_one(Tiny(1), Rows())
    rows = pq.read_table(path).to_pylist()
    assert [row["id"] for row in rows] == list(range(N))
    for row, losses in zip(rows, expected, strict=True):
        assert row["losses"] == pytest.approx(losses, rel=1e-5)
    groups = pq.ParquetFile(path).num_row_groups
    assert groups == {1: -(-N // batch_size), 1 << 22: 1}.get(block, groups)
    ids = torch.tensor([17, 2, 5])
    targets = torch.stack([Rows()[int(i)]["labels"][1:] for i in ids])
    looked_up = found.look_up(ids, targets)
    for row, i in enumerate(ids.tolist()):
        assert looked_up[row][targets[row] != -100].tolist() == pytest.approx(expected[i], rel=1e-5)
        assert (looked_up[row][targets[row] == -100] == 0).all()


def test_the_values_are_mapped_and_not_in_memory(tmp_path):
    found = stored(tmp_path / "ref.parquet")
    assert isinstance(found.values, np.memmap)
    tokens = sum(len(row) for row in one_by_one(Tiny(1), Rows()))
    assert (found.values.nbytes, found.starts.nbytes, found.digests.nbytes) == (
        4 * tokens,
        8 * (N + 1),
        8 * N,
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["ref.parquet"]


def test_half_precision_takes_two_bytes_a_token(tmp_path):
    whole, half = stored(tmp_path / "one.parquet"), stored(tmp_path / "two.parquet", dtype="float16")
    assert half.values.nbytes * 2 == whole.values.nbytes
    np.testing.assert_allclose(half.values, whole.values, rtol=1e-3)
    assert half != whole == ReferenceLosses.read(tmp_path / "one.parquet")


def mixed(word, place):
    """The digest of one token, with whole numbers of 64 bits in plain Python."""

    def signed(number):
        number %= 1 << 64
        return number - (1 << 64) if number >> 63 else number

    a, b, c = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB
    found = signed((word + 1) * a + place * b)
    found = signed((found ^ (found >> 31)) * c)
    return signed(found ^ (found >> 29))


def test_digests_are_sums_over_the_tokens_whatever_the_padding():
    rows = [[5, 7, 7, 2], [-100, 5, 7, 7, 2, -100], [5, -100, 7, -100, 7, 2, -100], [7, 5, 7, 2], [5, 7, 7]]
    found = [int(digests(torch.tensor([row]))) for row in rows]
    words = [5, 7, 7, 2]
    total = sum(mixed(word, place) for place, word in enumerate(words, start=1)) % (1 << 64)
    assert found[0] % (1 << 64) == total
    assert found[0] == found[1] == found[2]
    assert len({found[0], found[3], found[4]}) == 3


def test_digests_of_many_rows_differ():
    rng = torch.Generator().manual_seed(0)
    rows = torch.randint(50_000, (20_000, 12), generator=rng)
    changed = rows.clone()
    changed[torch.arange(20_000), torch.randint(12, (20_000,), generator=rng)] += 1
    assert len(torch.cat([digests(rows), digests(changed)]).unique()) == 40_000


def test_changed_tokens_are_refused_with_ids_and_counts(tmp_path):
    found = stored(tmp_path / "ref.parquet")
    ids = torch.arange(4)
    targets = torch.stack([Rows()[i]["labels"][1:] for i in range(4)])
    assert found.look_up(ids, targets).shape == targets.shape
    other = targets.clone()
    other[2, 0] = (other[2, 0] + 1) % 13
    with pytest.raises(
        ValueError, match=r"of other tokens for ids \[2\]: id 2 had 3 tokens and has 3 now, or they"
    ):
        found.look_up(ids, other)
    shorter = targets.clone()
    shorter[2, 2] = -100
    with pytest.raises(ValueError, match=r"ids \[2\]: id 2 had 3 tokens and has 2 now.*Did the tokenizer"):
        found.look_up(ids, shorter)
    with pytest.raises(ValueError, match=r"of other tokens for ids \[1, 0\]"):
        found.look_up(torch.tensor([1, 0]), targets[:2])
    model = Tiny()
    selector = sw.Selector(
        sw.recipes.rho_tokens(found), Rows(seed=1), sw.language_model(model), epochs=1, batch_size=5
    )
    with pytest.raises(ValueError, match="the reference losses are of other tokens"):
        selector.loss(next(iter(selector.loader())))


def test_other_numbers_of_samples_are_refused_at_the_start(tmp_path):
    found = stored(tmp_path / "ref.parquet")
    for n in (19, 21):
        with pytest.raises(
            ValueError, match=f"the reference losses are of 20 samples, but this data set has {n}"
        ):
            sw.Selector(sw.recipes.rho_tokens(found), Rows(n), sw.language_model(Tiny()), epochs=1)


def test_the_cost_is_in_the_provenance(tmp_path):
    model = Tiny(1)
    found = stored(tmp_path / "ref.parquet", model, batch_size=8)
    assert found.provenance["n"] == N
    scoring = found.provenance["scoring"]
    assert (scoring["cost"], scoring["flops"]) == (N, model.flops(N))
    assert scoring["seconds"] > 0
    assert model.rows == {True: 0, False: N}


def test_the_reference_is_left_as_found_and_scores_in_eval_mode(tmp_path):
    class Noisy(Tiny):
        def forward(self, input_ids):
            return F.dropout(super().forward(input_ids), 0.5, self.training)

    model, state = Noisy(1).train(), torch.get_rng_state()
    found = stored(tmp_path / "ref.parquet", model)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_allclose(
        found.values, [x for row in one_by_one(Tiny(1), Rows()) for x in row], rtol=1e-5
    )


def test_they_are_copied_and_pickled_by_their_path(tmp_path):
    found = stored(tmp_path / "ref.parquet")
    assert copy.deepcopy(found) is found
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert hash(again) == hash(found)
    assert isinstance(again.values, np.memmap)
    assert len(pickle.dumps(found)) < 500
    assert repr(found).startswith(f"ReferenceLosses(20 rows, {len(found.values)} tokens, sha256 ")
    inside = ReferenceLosses.of(torch.ones(3, 2), torch.tensor([[1, 2], [3, -100], [4, 5]]))
    assert pickle.loads(pickle.dumps(inside)) == inside != found


def test_a_forward_without_losses_by_token_is_refused_and_leaves_no_file(tmp_path):
    model, path = Tiny(1), tmp_path / "ref.parquet"
    with pytest.raises(ValueError, match="forward must return token_losses and token_targets"):
        sw.reference_losses(lambda data: torch.ones(len(data["labels"])), Rows(), model=model, out=path)
    with torch.no_grad():
        model.out.bias[0] = math.nan
    with pytest.raises(ValueError, match=r"must be finite in float32, but are not for ids 0 to 7"):
        stored(path, model)
    with pytest.raises(ValueError, match=r"dtype must be one of 'float32', 'float16', got 'int8'"):
        stored(path, dtype="int8")
    with pytest.raises(ValueError, match=r"reference_losses.batch_size must be >= 1, got 0"):
        stored(path, batch_size=0)
    with pytest.raises(TypeError, match=r"Reference.model must be a torch.nn.Module, got int"):
        refuse_no_model("Reference.model", 3)
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "ref.parquet"
    with pytest.raises(FileNotFoundError, match="no such file"):
        ReferenceLosses.read(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a readable Parquet file"):
        ReferenceLosses.read(path)
    sw.Subset(torch.arange(3), provenance={"n": 3}).to_parquet(path)
    with pytest.raises(
        ValueError, match=r"must have the columns id, losses .* but has id \(int64\), selected"
    ):
        ReferenceLosses.read(path)
    stored(path)
    table = pq.read_table(path)
    pq.write_table(table.slice(5), path)
    with pytest.raises(ValueError, match=r"must hold the ids 0, 1, ... in this order"):
        ReferenceLosses.read(path)


@pytest.mark.parametrize(
    ("starts", "values", "words"),
    [
        ([0, 2], [1.0, 2.0], "n \\+ 1 ascending numbers"),
        ([0, 2, 1], [1.0], "n \\+ 1 ascending numbers"),
        ([0, 1, 3], [1.0, 2.0], "n \\+ 1 ascending numbers"),
        ([0, 1, 3], [1.0, 2.0, math.inf], "must be finite, but are not for id 1"),
        ([0, 1, 3], [math.nan, 2.0, 2.0], "must be finite, but are not for id 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(starts, values, words):
    with pytest.raises(ValueError, match=words):
        ReferenceLosses(torch.tensor(starts), np.array(values, np.float32), torch.zeros(2, dtype=torch.int64))
