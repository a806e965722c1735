"""`KeyIds` against a dictionary, in workers of both kinds, saved and restored, and what it refuses."""

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from samplewise.data import keyids
from samplewise.data.keyids import KeyIds
from tests.seams.toys import plainly


def batches_of_names(n, seed, most=40):
    """Every name at least once, in random order, some again; in batches of random size."""
    rng = random.Random(seed)
    names = [f"shard-{i % 7}/{i}" for i in range(n)]
    stream = names + rng.choices(names, k=2 * n)
    rng.shuffle(stream)
    while stream:
        size = rng.randint(1, most)
        yield stream[:size]
        stream = stream[size:]


@pytest.mark.parametrize("n", [1, 2, 3, 64, 1000, 4097])
def test_ids_are_those_of_a_dictionary_that_counts_first_sights(n):
    keys, plain = KeyIds(n), {}
    for batch in batches_of_names(n, seed=n):
        expected = [plain.setdefault(name, len(plain)) for name in batch]
        assert keys(batch).tolist() == expected
        assert len(keys) == len(plain)
    assert [keys.find(name) for name in plain] == list(plain.values())
    assert keys.find("somebody else") == -1


def test_colliding_places_in_the_table_keep_keys_apart(monkeypatch):
    # All digests begin at one of three places, so that nearly every look-up has to walk.
    def crowded(names):
        return np.array([int(name) * 1024 + int(name) % 3 for name in names], dtype=np.uint64)

    monkeypatch.setattr(keyids, "_digest", crowded)
    keys, order = KeyIds(300), torch.randperm(300, generator=torch.Generator().manual_seed(0)).tolist()
    for begin in range(0, 300, 25):
        assert keys([str(i) for i in order[begin : begin + 25]]).tolist() == [*range(begin, begin + 25)]
    assert [keys.find(str(i)) for i in order] == [*range(300)]
    assert keys.find("301") == -1


def test_text_and_its_bytes_are_one_key_and_an_empty_batch_has_no_ids():
    keys = KeyIds(4)
    assert keys(["ä", b"\xc3\xa4", ""]).tolist() == [0, 0, 1]
    assert keys([]).shape == (0,)
    assert keys([]).dtype is torch.int64


class Looking(IterableDataset):
    """Yields what a worker finds of some names."""

    def __init__(self, keys, names):
        self.keys, self.names = keys, names

    def __iter__(self):
        for name in self.names:
            yield self.keys.find(name)


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_persistent_workers_see_keys_that_are_numbered_later(kind):
    keys = KeyIds(8)
    loader = DataLoader(
        Looking(keys, ["b", "a"]),
        batch_size=None,
        num_workers=1,
        multiprocessing_context=kind,
        persistent_workers=True,
    )
    assert list(loader) == [-1, -1]
    keys(["a", "b"])
    assert list(loader) == [1, 0]


def test_numbering_in_a_worker_is_refused(monkeypatch):
    keys = KeyIds(2)
    monkeypatch.setattr(keyids, "get_worker_info", lambda: "a worker's")
    with pytest.raises(RuntimeError, match="numbers keys in the main process"):
        keys(["a"])


def test_a_key_too_many_is_refused_by_name_and_numbers_nothing():
    keys = KeyIds(3)
    keys(["a", "b"])
    with pytest.raises(ValueError, match="key 'd' would be number 4, but KeyIds was built for n=3"):
        keys(["c", "a", "d", "e"])
    assert len(keys) == 2
    assert keys.find("c") == -1
    assert keys(["c"]).tolist() == [2]


def test_a_saved_numbering_continues_and_loads_without_pickle(tmp_path):
    keys = KeyIds(50)
    keys([f"{i}" for i in range(30)])
    torch.save(keys.state_dict(), tmp_path / "keys.pt")
    again = KeyIds(50)
    again(["something else", "7"])
    again.load_state_dict(torch.load(tmp_path / "keys.pt", weights_only=True))
    assert again.find("something else") == -1
    assert int((again._table >= 0).sum()) == 30  # what was there before takes no place
    for one in (keys, again):
        assert one(["new", "29", "0", "newer"]).tolist() == [30, 29, 0, 31]


def test_a_pickled_copy_has_the_same_numbers():
    keys = KeyIds(4)
    keys(["a", "b"])
    copy = pickle.loads(pickle.dumps(keys))
    assert copy(["b", "c"]).tolist() == [1, 2]


def test_of_numbers_by_place_and_refuses_keys_it_was_not_given():
    keys = KeyIds.of(["c", "a", "b"])
    assert keys(["b", "c"]).tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"must be one of the 3 keys that KeyIds\.of got, got 'd'"):
        keys(["a", "d"])


def test_of_refuses_a_key_twice():
    with pytest.raises(ValueError, match=r"each key once, but these are repeated: \['a'\]"):
        KeyIds.of(["a", "b", "a"])


def test_several_processes_must_share_a_numbering(monkeypatch):
    shared, own = KeyIds.of(["a", "b"]), KeyIds(2)
    own(["a"])
    monkeypatch.setattr(keyids.collectives, "world", lambda: 2)
    assert shared(["b"]).tolist() == [1]
    assert own(["a"]).tolist() == [0]
    with pytest.raises(RuntimeError, match=r"key 'b' is new.*KeyIds.of\(all_keys\)"):
        own(["b"])


WRONG = """
from samplewise.data.keyids import KeyIds
keys = KeyIds(4)
for call, wrong in [(keys, "abc"), (keys, [3]), (keys, None), (KeyIds.of, {"a"}), (KeyIds.of, "ab")]:
    try:
        call(wrong)
    except TypeError as error:
        print(error)
"""


def test_what_is_no_list_of_keys_is_refused():
    said = plainly(WRONG).splitlines()
    assert len(said) == 5
    for line, part in zip(
        said,
        ["keys, got str", "text or bytes, got 3", "keys, got NoneType", "got set. Pass a list", "got str"],
        strict=True,
    ):
        assert part in line


@pytest.mark.parametrize("n", [0, -1])
def test_n_must_be_a_number_of_samples(n):
    with pytest.raises(ValueError, match=r"KeyIds\.n must be"):
        KeyIds(n)


def states():
    """States that are not this object's, and what is said of them."""
    other = KeyIds(5).state_dict()
    twice = {"n": 4, "frozen": False, "digests": torch.tensor([7, 7])}
    return [
        (other, "must be of n=4 keys, as this KeyIds, but it is of n=5"),
        ({"n": 4}, "it has no 'frozen'"),
        (twice, "the state is damaged: a key has two ids"),
    ]


@pytest.mark.parametrize(("state", "error"), states())
def test_a_state_of_something_else_is_refused_and_changes_nothing(state, error):
    keys = KeyIds(4)
    keys(["a"])
    with pytest.raises(ValueError, match=error):
        keys.load_state_dict(state)
    assert keys.find("a") == 0


def test_a_fixed_numbering_refuses_the_state_of_other_keys():
    with pytest.raises(ValueError, match=r"must hold the keys that KeyIds\.of got, but it holds other keys"):
        KeyIds.of(["a", "b"]).load_state_dict(KeyIds.of(["b", "a"]).state_dict())
    keys = KeyIds.of(["a", "b"])
    keys.load_state_dict(KeyIds.of(["a", "b"]).state_dict())
    assert keys(["b"]).tolist() == [1]


def test_memory_is_what_the_docstring_says():
    for n in (1000, 1024, 1025):
        keys = KeyIds(n)
        size = sum(t.numel() * t.element_size() for t in (keys._digests, keys._table))
        assert 16 * n <= size <= 24 * n
