"""Choosing the text columns and the label column of a table. If it is not clear, the user must name them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samplewise.bench.columns import LABELS, dtype, must_exist, only

__all__ = ["PAIRS", "TEXTS", "TextColumns"]

PAIRS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("sentence_a", "sentence_b"),
)
"""Usual names of two columns that make a pair of texts."""
TEXTS = ("text", "sentence", "content", "review", "text_a", "question", "sentence1")
"""Usual names of a column of single texts."""
_NUMBERS = ("score", "similarity", "similarity_score", "rating")


@dataclass(frozen=True)
class TextColumns:
    """The columns that the user named. None, or no text column, means: choose by names and types.

    Args:
        texts: one column, or two that make pairs.
        label: the column of labels.
    """

    texts: tuple[str, ...] = ()
    label: str | None = None

    def choose(self, features: Mapping[str, Any], where: str) -> tuple[tuple[str, ...], str]:
        """The names of the text columns and of the label column. `features` are those of `datasets`.

        Raises:
            ValueError: if no column fits, or several do.
        """
        label = self._label(features, where)
        return self._texts(features, label, where), label

    def unlabelled(self, features: Mapping[str, Any], where: str) -> tuple[str, ...]:
        """The names of the text columns of a language model. No labels are needed.

        Raises:
            ValueError: if no column fits, or several do.
        """
        if self.label is not None:
            must_exist("--label-column", self.label, features, where)
        return self._texts(features, self.label or "", where)

    def _texts(self, features: Mapping[str, Any], label: str, where: str) -> tuple[str, ...]:
        texts = [n for n, feature in features.items() if "string" in dtype(feature) and n != label]
        if len(self.texts) > 2 or len(set(self.texts)) < len(self.texts):
            raise ValueError(
                f"--text-column must name one column, or two for pairs, got {', '.join(self.texts)}."
            )
        for name in self.texts:
            must_exist("--text-column", name, features, where)
            if name not in texts:
                raise ValueError(
                    f"{where}: --text-column must hold text and no labels, but {name!r} holds "
                    f"{'the labels' if name == label else dtype(features[name])}."
                )
        if self.texts:
            return self.texts
        if not texts:
            raise ValueError(
                f"{where} has no text column beside the labels. Its columns are "
                f"{', '.join(features)}. A text encoder needs a column of strings; for images "
                "choose another --model."
            )
        lower = {name.lower(): name for name in texts}
        for first, second in PAIRS:
            if first in lower and second in lower:
                return lower[first], lower[second]
        usual = [lower[name] for name in TEXTS if name in lower]
        return (only(texts, usual[:1], "text", where),)

    def _label(self, features: Mapping[str, Any], where: str) -> str:
        if self.label is not None:
            must_exist("--label-column", self.label, features, where)
            return self.label
        scalar = [name for name, feature in features.items() if _is_label(feature, name in self.texts)]
        classes = [name for name in scalar if hasattr(features[name], "names")]
        usual = [name for name in scalar if name.lower() in (*LABELS, *_NUMBERS)]
        found = [name for name in scalar if name in classes or name in usual]
        if not found:
            raise ValueError(
                f"{where} has no label column (a ClassLabel, or a column named label, labels, score, ...). "
                f"Its columns are {', '.join(features)}. Name it with --label-column."
            )
        return only(found, [n for n in usual if n.lower() in LABELS], "label", where)


def _is_label(feature: Any, is_text: bool) -> bool:
    """Whether a column holds one number, string or bool per row. A string that is named as text is none."""
    kind = dtype(feature)
    plain = type(feature).__name__ in ("ClassLabel", "Value")
    is_text = is_text and "string" in kind
    return (
        plain and not is_text and (kind == "bool" or any(word in kind for word in ("int", "float", "string")))
    )
