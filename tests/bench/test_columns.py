"""Which column holds images and which labels: by type, by name, or as the user says."""

import numpy as np
import pytest

from samplewise.bench.columns import Columns

datasets = pytest.importorskip("datasets")

INT, TEXT, FLOAT = (datasets.Value(kind) for kind in ("int64", "string", "float32"))
CLASS, IMAGE = datasets.ClassLabel(names=["a", "b"]), datasets.Image()
BYTES = datasets.Value("binary")
STRUCT = {"bytes": BYTES, "path": TEXT}


@pytest.mark.parametrize(
    ("features", "chosen"),
    [
        ({"id": INT, "image": IMAGE, "species": CLASS}, ("image", "species")),
        ({"id": INT, "Image": STRUCT, "Label": INT}, ("Image", "Label")),
        ({"mask": IMAGE, "image": IMAGE, "label": TEXT}, ("image", "label")),
        ({"img": IMAGE, "fine_label": CLASS, "coarse_label": CLASS}, ("img", "fine_label")),
        (
            {"image": IMAGE, "width": INT, "height": INT, "__index_level_0__": INT, "TARGET": INT},
            ("image", "TARGET"),
        ),
        (
            {"image": IMAGE, "thumbnail": datasets.Value("binary"), "label": datasets.Value("bool")},
            ("image", "label"),
        ),
        ({"photo": TEXT, "image": IMAGE, "label": INT}, ("image", "label")),
        ({"scan": datasets.Value("binary"), "class": datasets.Value("uint8")}, ("scan", "class")),
        ({"image": IMAGE, "label": CLASS, "class": TEXT}, ("image", "label")),
    ],
)
def test_columns_are_found_by_type_and_then_by_name(features, chosen):
    assert Columns().choose(features, "set") == chosen


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"image": IMAGE, "id": INT}, r"no label column.*--label-column.*integers or strings: id"),
        ({"image": IMAGE, "id": INT, "species": TEXT}, r"integers or strings: id, species"),
        ({"image": IMAGE, "label": FLOAT}, r"integers or strings: none\. label holds float32"),
        ({"image": IMAGE, "label": datasets.Sequence(INT)}, r"integers or strings: none"),
        (
            {"image": IMAGE, "label": INT, "target": INT},
            r"could be the label: label, target\. Name one with --label-",
        ),
        ({"image": IMAGE, "sex": CLASS, "age": CLASS}, r"2 columns that could be the label: sex, age"),
        ({"image": IMAGE, "sex": CLASS, "label": INT}, r"could be the label: sex, label"),
        (
            {"left": IMAGE, "right": IMAGE, "label": INT},
            r"could be the image: left, right\. Name one with --image-",
        ),
        ({"image": IMAGE, "img": IMAGE, "label": INT}, r"could be the image: image, img"),
        ({"image": TEXT, "mask": IMAGE, "label": INT}, r"could be the image: image, mask"),
        ({"image": BYTES, "mask": STRUCT, "label": INT}, r"could be the image: image, mask"),
        ({"photo": TEXT, "thumbnail": BYTES, "label": INT}, r"could be the image: photo, thumbnail"),
        ({"text": TEXT, "label": INT}, r"no image column.*text, label.*--image-column"),
    ],
)
def test_more_or_less_than_one_candidate_is_refused(features, said):
    with pytest.raises(ValueError, match=said):
        Columns().choose(features, "set")


def test_the_user_s_word_comes_first_and_must_exist():
    features = {"left": IMAGE, "right": IMAGE, "label": INT, "target": INT, "file": TEXT}
    assert Columns("right", "target").choose(features, "set") == ("right", "target")
    assert Columns("file", "label").choose(features, "set") == ("file", "label")
    with pytest.raises(
        ValueError, match=r"--label-column must be one of left, .*, got 'lable'\. Did you mean 'label'"
    ):
        Columns("left", "lable").choose(features, "set")
    with pytest.raises(ValueError, match="--image-column must be one of"):
        Columns("", "label").choose(features, "set")
    with pytest.raises(ValueError, match="--image-column must hold images"):
        Columns("target", "label").choose(features, "set")


def test_the_rule_holds_for_any_order_of_the_columns():
    features = {"id": INT, "mask": IMAGE, "image": IMAGE, "species": CLASS, "note": TEXT}
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(list(features)).tolist()
        assert Columns().choose({name: features[name] for name in order}, "set") == ("image", "species")
