"""Choosing the image column and the label column of a table. If it is not clear, the user must name them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samplewise.checks import nearest

LABELS = ("label", "labels", "fine_label", "target", "targets", "class", "category", "cls")
_BESIDE = ("id", "index", "weight", "__index_level_0__")
IMAGES = ("image", "images", "img", "picture", "photo", "png", "jpg", "jpeg")


@dataclass(frozen=True)
class Columns:
    """The columns that the user named. None means: choose by the features of the table.

    `group` is the column of groups; None means that there are none. It is no part of a sample.
    """

    image: str | None = None
    label: str | None = None
    group: str | None = None

    def label_of(self, features: Mapping[str, Any], where: str) -> str:
        """Return the name of the label column."""
        return _label(self.label, features, where)

    def vectors(self, features: Mapping[str, Any], where: str) -> list[str]:
        """Return the columns of numbers, if the table has them and neither images nor texts.

        Columns of numbers hold one number, or a list of numbers, per row. The label and columns called `id`,
        `index` or `weight` are no part of a sample.
        """
        if self.image is not None or any(image_kind(feature) == "image" for feature in features.values()):
            return []
        own = [name for name, feature in features.items() if _is_numbers(feature)]
        if not own or (self.label is None and not any(map(_is_label, features.values()))):
            return []
        label = self.label_of(features, where)
        others = {*features} - {*own, label, self.group}
        found = [name for name in own if name not in (label, self.group) and name.lower() not in _BESIDE]
        return [] if any(image_kind(features[name]) for name in others) else found

    def choose(self, features: Mapping[str, Any], where: str) -> tuple[str, str]:
        """Return the names of the image column and the label column. `features` are those of `datasets`."""
        return _image(self.image, features, where), _label(self.label, features, where)


def _image(asked: str | None, features: Mapping[str, Any], where: str) -> str:
    """The only column that has images or a usual name, else the only one that has images and a usual name."""
    kinds = {name: image_kind(feature) for name, feature in features.items()}
    if asked is not None:
        must_exist("--image-column", asked, features, where)
        if not kinds[asked]:
            raise ValueError(
                f"{where}: --image-column must hold images, bytes or paths, but {asked!r} holds "
                f"{dtype(features[asked])}."
            )
        return asked
    images = [name for name in features if kinds[name] == "image"]
    images = images or [name for name in features if kinds[name] == "bytes"]
    if not images:
        texts = any("string" in dtype(feature) for feature in features.values())
        raise ValueError(
            f"{where} has no image column (a struct of bytes and path). Its columns are "
            f"{', '.join(features)}. Name a column of bytes or paths with --image-column."
            f"{' For texts, use --model hf:PATH.' * texts}"
        )
    usual = [name for name in _usual(list(features), IMAGES) if kinds[name]]
    found = [name for name in features if name in images or name in usual]
    return only(found, _usual(images, IMAGES), "image", where)


def _label(asked: str | None, features: Mapping[str, Any], where: str) -> str:
    """The only column that is a ClassLabel or has a usual name, else the only one that is and has both."""
    if asked is not None:
        must_exist("--label-column", asked, features, where)
        return asked
    possible = [name for name, feature in features.items() if _is_label(feature)]
    classes = [name for name in possible if hasattr(features[name], "names")]
    usual = _usual(possible, LABELS)
    found = [name for name in possible if name in classes or name in usual]
    if not found:
        candidates = ", ".join(possible) or "none"
        odd = [f" {name} holds {dtype(features[name])}." for name in _usual(list(features), LABELS)]
        raise ValueError(
            f"{where} has no label column (a ClassLabel, or a column named {', '.join(LABELS[:2])}, ...). "
            f"Name it with --label-column. Columns of integers or strings: {candidates}.{''.join(odd)}"
        )
    return only(found, [name for name in classes if name in usual], "label", where)


def only(found: Sequence[str], better: Sequence[str], what: str, where: str) -> str:
    """The only name of `found`, else the only one of `better`, else an error that names the option."""
    for names in (found, better):
        if len(names) == 1:
            return names[0]
    raise ValueError(
        f"{where} has {len(found)} columns that could be the {what}: {', '.join(found)}. Name one with "
        f"--{what}-column."
    )


def _usual(names: Sequence[str], usual: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower() in usual]


def must_exist(option: str, name: str, features: Mapping[str, Any], where: str) -> None:
    """Raise if the column that an option names is not there."""
    if name not in features:
        raise ValueError(
            f"{where}: {option} must be one of {', '.join(features)}, got {name!r}."
            f"{nearest(name, list(features))}"
        )


def image_kind(feature: Any) -> str:
    """Return "image" for a struct of bytes and path, "bytes" or "path" for a plain column, else ""."""
    held = set(feature) if isinstance(feature, dict) else set()
    if type(feature).__name__ == "Image" or (held and held <= {"bytes", "path"}):
        return "image"
    kind = dtype(feature)
    return "bytes" if "binary" in kind else "path" if "string" in kind else ""


def _is_label(feature: Any) -> bool:
    """Return whether the column holds one integer, string or bool per row."""
    kind = dtype(feature)
    plain = type(feature).__name__ in ("ClassLabel", "Value")
    return plain and ("int" in kind or "string" in kind or kind == "bool")


def _is_numbers(feature: Any) -> bool:
    """Return whether the column holds a number, or a list of numbers, per row."""
    inner = getattr(feature, "feature", feature)  # of a list
    kind, plain = dtype(inner), type(inner).__name__ == "Value"
    return plain and any(word in kind for word in ("int", "float", "bool"))


def dtype(feature: Any) -> str:
    """The type of a column in words, as `datasets` names it."""
    return str(getattr(feature, "dtype", type(feature).__name__))
