"""The picture of corrupted gradients: their share over the training, a line for each method."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from samplewise.analysis.gradients import CorruptedGradients
from samplewise.report.page import INK, frame, page, short, styles

__all__ = ["draw"]

PANELS = (
    ("of_samples", "of the samples"),
    ("of_norms", "of the sum of gradient norms"),
    ("of_sum", "of the norm of the sum"),
)


def draw(
    found: Mapping[str, CorruptedGradients], corrupted: float, which: str, file: Path | BinaryIO, title: str
) -> None:
    """Write the picture: three panels, for samples, norms and sums.

    Args:
        found: what was recorded, by method.
        corrupted: the share of corrupted samples in the data: a dotted line.
        which: the gradients, for the caption: `last layer` or `all parameters`.
        file: where to write it.
        title: in bold.
    """
    caption = (
        f"Gradients of the {which}, weighted as the method weights the losses. Means over twentieths of "
    )
    caption += f"the training. Dotted: the share of corrupted samples in the data, {corrupted:.2f}."
    said = "The part of corrupted samples in the rows that are back-propagated."
    figure = page(10.6, 3.4, title, said, caption)
    grid = figure.add_gridspec(2, 3, height_ratios=[1.0, 0.08])
    chosen = styles(list(found))
    for i, (field, heading) in enumerate(PANELS):
        axes = figure.add_subplot(grid[0, i])
        for name, recorder in found.items():
            x, y = recorder.curve(field)
            style = chosen[name]
            axes.plot(
                [100 * at for at in x], y, color=style.colour, linestyle=style.dash, marker=style.marker,
                markersize=3.6, linewidth=1.5, label=short(name, 40),
            )  # fmt: skip
        axes.axhline(corrupted, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_title(heading, loc="left", fontsize=9.5, color=INK)
        axes.set_xlabel("finished part of the training, %", fontsize=9, color=INK)
        axes.set_ylim(bottom=0)
        frame(axes)
    below = figure.add_subplot(grid[1, :])
    below.axis("off")
    handles, labels = axes.get_legend_handles_labels()
    below.legend(handles, labels, loc="center", ncols=4, frameon=False, fontsize=8.5, labelcolor=INK)
    figure.savefig(file, format="png")
