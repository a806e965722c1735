"""What score tables and histories of selections say: questions after a training, asked of its files."""

from samplewise.checks import require

require("scipy", "analysis")

from samplewise.analysis import pictures  # noqa: E402 - require must raise its error first

__all__ = ["pictures"]
