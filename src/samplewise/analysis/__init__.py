"""What score tables and histories of selections say: questions after a training, asked of its files."""

from samplewise.checks import require

require("scipy", "analysis")

from samplewise.analysis import pictures  # noqa: E402 - require must raise its error first
from samplewise.analysis.agreement import Agreement, Scores, score_agreement  # noqa: E402
from samplewise.analysis.gradients import (  # noqa: E402
    CorruptedGradients,
    GradientShare,
    corrupted_gradient_share,
    full_gradient_share,
)
from samplewise.analysis.groups import (  # noqa: E402
    GROUPS,
    SelectionCounts,
    SelectionGroups,
    chance_histogram,
    group_subsets,
    selection_counts,
    selection_groups,
)
from samplewise.analysis.label_errors import (  # noqa: E402
    Detection,
    Suspects,
    cleanlab_label_errors,
    detection,
    suspected_label_errors,
)
from samplewise.analysis.leaving import Group, Leaving, class_counts, leaving, leaving_groups  # noqa: E402
from samplewise.analysis.mixture import Mixture, fit_mixture, selection_split_logpdf  # noqa: E402
from samplewise.analysis.posterior import Posterior, sample_mixture  # noqa: E402
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
from samplewise.analysis.retraining import Retrained, compare_retraining  # noqa: E402

__all__ = [
    "GROUPS",
    "Agreement",
    "Beside",
    "Comparison",
    "CorruptedGradients",
    "Detection",
    "GradientShare",
    "Grid",
    "Group",
    "Leaving",
    "Mixture",
    "Posterior",
    "Published",
    "Result",
    "Retrained",
    "Scores",
    "SelectionCounts",
    "SelectionGroups",
    "Suspects",
    "accuracy_by_keep",
    "beside_published",
    "chance_histogram",
    "class_counts",
    "cleanlab_label_errors",
    "compare_retraining",
    "corrupted_gradient_share",
    "detection",
    "fit_mixture",
    "full_gradient_share",
    "group_subsets",
    "leaving",
    "leaving_groups",
    "over_two",
    "pictures",
    "sample_mixture",
    "score_agreement",
    "selection_counts",
    "selection_groups",
    "selection_split_logpdf",
    "suspected_label_errors",
]
