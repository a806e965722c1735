"""Labels of any source: one numbering for both splits."""

import numpy as np
import pytest

from samplewise.bench import labels
from samplewise.bench.labels import Labels


def text(*values):
    return Labels(np.array(values))


def test_strings_are_numbered_by_the_sorted_classes_of_the_training_split():
    train, test, names = labels.encode(text("dog", "cat", "eel", "cat"), text("eel", "cat"), "set")
    assert (train.tolist(), test.tolist(), names) == ([1, 0, 2, 0], [2, 0], ("cat", "dog", "eel"))


def test_a_class_that_was_not_trained_on_is_named():
    with pytest.raises(ValueError, match=r"one of the 2 classes.*got 'doge'\. Did you mean 'dog'"):
        labels.encode(text("dog", "cat"), text("cat", "doge"), "set")


def test_splits_that_number_their_names_differently_are_joined_by_the_names():
    train, test = Labels(np.array([0, 1, 1]), ("b", "a")), Labels(np.array([0, 1]), ("a", "b"))
    assert [y.tolist() for y in labels.encode(train, test, "set")[:2]] == [[1, 0, 0], [0, 1]]
    same = Labels(np.array([0, 1]), ("b", "a"))
    found = labels.encode(train, same, "set")
    assert (found[1].tolist(), found[2]) == ([0, 1], ("b", "a"))
    with pytest.raises(
        ValueError, match=r"must be in \[0, 1\], because the column has 2 classes, got -1 to 1"
    ):
        labels.encode(train, Labels(np.array([-1, 1]), ("a", "b")), "set")


def test_integers_beside_strings_are_refused():
    with pytest.raises(ValueError, match="train labels are strings and test labels are integers"):
        labels.encode(text("a", "b"), Labels(np.array([0, 1])), "set")


def test_a_missing_label_is_named_by_its_row():
    with pytest.raises(ValueError, match=r"2 rows have none \(first: row 1\)"):
        labels.of_column([0, None, 1, None], (), "set: labels")
    with pytest.raises(ValueError, match="test labels must not be empty, but row 1 is"):
        labels.encode(text("a", "b"), text("a", ""), "set")


@pytest.mark.parametrize(
    ("values", "present"),
    [
        ([0, 1], True),
        ([-1, 1], True),
        ([-1, -1], False),
        ([None, None], False),
        (["", ""], False),
        ([], False),
    ],
)
def test_a_split_is_labelled_unless_every_label_is_unknown(values, present):
    assert labels.of_column(values, (), "set").present == present


def test_truth_values_small_integers_and_bytes_are_labels():
    for values in (np.array([True, False]), np.array([1, 0], "u1"), np.array([1, 0], ">i2")):
        assert labels.of_array(values, "y").values.tolist() == [1, 0]
    assert labels.of_array(np.array([b"a", b"b"]), "y").values.tolist() == ["a", "b"]


@pytest.mark.parametrize("values", [np.array([0.0, 1.0]), np.array([2**64 - 1], "u8"), np.zeros((2, 2), int)])
def test_what_is_no_label_is_refused(values):
    with pytest.raises(ValueError, match="must be a 1-D array of integers or strings"):
        labels.of_array(values, "y")


def test_lists_of_labels_are_refused():
    with pytest.raises(ValueError, match="must be a 1-D array of integers or strings"):
        labels.of_column([[0], [1, 2]], (), "y")
