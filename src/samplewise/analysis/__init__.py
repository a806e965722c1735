"""What score tables and histories of selections say: questions after a training, asked of its files."""

from samplewise.checks import require

require("scipy", "analysis")

from samplewise.analysis import pictures  # noqa: E402 - require must raise its error first
from samplewise.analysis.label_errors import (  # noqa: E402
    Detection,
    Suspects,
    cleanlab_label_errors,
    detection,
    suspected_label_errors,
)
from samplewise.analysis.leaving import Group, Leaving, class_counts, leaving, leaving_groups  # noqa: E402
from samplewise.analysis.results import (  # noqa: E402
    Beside,
    Comparison,
    Grid,
    Published,
    Result,
    accuracy_by_keep,
    beside_published,
    over_two,
)

__all__ = [
    "Beside",
    "Comparison",
    "Detection",
    "Grid",
    "Group",
    "Leaving",
    "Published",
    "Result",
    "Suspects",
    "accuracy_by_keep",
    "beside_published",
    "class_counts",
    "cleanlab_label_errors",
    "detection",
    "leaving",
    "leaving_groups",
    "over_two",
    "pictures",
    "suspected_label_errors",
]
