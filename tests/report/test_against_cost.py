"""Results against cost: everything is inside the picture, and no name covers another one or a point."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from samplewise.report import curves, forest, page
from samplewise.report.against_cost import Point, draw, interval
from samplewise.report.curves import Curve
from samplewise.report.forest import Difference

FULL = [Point(f"full, {e} epochs", 100 * e / 16, 90 - 20 / e, y_half=0.2) for e in (2, 4, 6, 8, 10, 12, 16)]
CONTROLS = [Point(f"{name}:keep={k}", 100 * k, 80 + 8 * k) for name in ("rs2", "random") for k in (0.25, 0.5)]


def crowd(count):
    """Methods of nearly the same cost and result, as on easy tasks."""
    rng = np.random.default_rng(0)
    places = rng.normal([62, 87.5], [3, 0.3], (count, 2))
    return [
        Point(f"a_method_{i}:keep=0.5,period={i}", x, y, 0.5, 0.2, "as good" if i % 3 else "")
        for i, (x, y) in enumerate(places)
    ]


def names(figure, methods):
    """The boxes of the methods' names in pixels."""
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    texts = [text for text in axes.texts if any(text.get_text().startswith(m.name[:12]) for m in methods)]
    assert len(texts) == len(methods)
    return axes, [text.get_window_extent(renderer) for text in texts]


@pytest.mark.parametrize("count", [1, 3, 12, 20])
def test_names_cover_neither_one_another_nor_points(tmp_path, count):
    methods = crowd(count)
    path = tmp_path / "one.png"
    figure = draw(methods, FULL, CONTROLS, path, title="a title", result="test accuracy")
    axes, boxes = names(figure, methods)
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    frame = axes.get_window_extent()
    assert all(
        frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        for box in boxes
    )
    marks = axes.transData.transform([(p.x, p.y) for p in (*methods, *CONTROLS, *FULL[1:])])
    assert not [box for box in boxes for mark in marks if box.contains(*mark)]


def test_the_axes_hold_all_points_with_their_intervals(tmp_path):
    methods = [Point("low", 30, 60, 1, 2), Point("high", 130, 95, 4, 1)]
    wide = Point("stopped:early", 90, 90, x_half=900, y_half=900)
    figure = draw(methods, FULL, [*CONTROLS, wide], tmp_path / "one.png", title="", result="accuracy")
    (axes,) = figure.axes
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left == 0
    assert 134 < right < 150
    assert 50 < bottom < 58
    assert 96 < top < 100


def test_cheap_rungs_that_no_method_reaches_take_no_room(tmp_path):
    methods = [Point("one", 60, 87), Point("two", 70, 88)]
    figure = draw(methods, FULL, [], tmp_path / "one.png", title="", result="accuracy")
    # Two epochs of 16 have 80; the last rung below 60 % is that of 8 epochs with 87.5.
    assert figure.axes[0].get_ylim()[0] > 86


@pytest.mark.parametrize("falls", [False, True])
def test_the_legend_keeps_off_the_end_of_the_ladder(tmp_path, falls):
    """A ladder of accuracies ends in the upper right corner, one of losses in the lower right."""
    ladder = [replace(rung, y=100 - rung.y) for rung in FULL] if falls else FULL
    controls = [replace(control, y=100 - control.y) for control in CONTROLS] if falls else CONTROLS
    figure = draw([], ladder, controls, tmp_path / "one.png", title="", result="loss")
    (axes,) = figure.axes
    ends = axes.transData.transform([(rung.x, rung.y) for rung in ladder[-3:]])
    box = axes.get_legend().get_window_extent()
    assert not [end for end in ends if box.contains(*end)]
    middle = (axes.get_window_extent().y0 + axes.get_window_extent().y1) / 2
    assert (box.y0 + box.y1 > 2 * middle) == falls


def test_methods_without_a_finite_result_are_left_out(tmp_path):
    methods = [Point("one", 60, 87), Point("gone", 60, float("nan"))]
    figure = draw(methods, FULL, [], tmp_path / "one.png", title="", result="accuracy")
    assert [text.get_text() for text in figure.axes[0].texts] == ["one"]


def test_intervals_are_those_of_student():
    values = np.array([1.0, 2.0, 4.0, 3.0])
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert interval(float(values.std(ddof=1)), 4) == pytest.approx((high - low) / 2)
    assert interval(None, 1) == 0


def test_styles_differ_without_colours():
    looks = page.styles(["full", *map(str, range(11))])
    assert len({(str(look.dash), look.marker) for look in looks.values()}) == 12
    assert looks["full"].colour == page.INK
    # A solid line is that of full training.
    assert [name for name, look in looks.items() if look.dash == "-"] == ["full"]


@pytest.mark.parametrize("count", [1, 3, 13, 50])
def test_the_names_of_curves_do_not_overlap(tmp_path, count):
    lines = [
        Curve(name, [10, 50, 60 + i], [10.0, 80.0, 90 + i / 100])
        for i, name in enumerate(["full", *(f"a_method_{i}" for i in range(count - 1))])
    ]
    figure = curves.draw(lines, tmp_path / "one.png", title="", cost="cost", result="accuracy")
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(texts) == count
    boxes = [text.get_window_extent() for text in texts]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_the_verdicts_stand_at_their_differences(tmp_path):
    found = [
        Difference("one", 1.0, 0.5, 1.5, 0.9, "better"),
        Difference("two", -0.1, -1e6, 1e6, 0.0, "not shown"),
        Difference("three", -2.0, -2.5, -1.5, -1.8, "worse", "inside delta", control=True),
    ]
    figure = forest.draw(found, 0.3, tmp_path / "one.png", title="", result="difference")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["better", "not shown", "worse, inside delta"]
    assert [text.xy[1] for text in axes.texts] == [0, 1, 2]
    low, high = axes.get_xlim()
    # One interval is far too long, and must not hide the others.
    assert -10 < low < -2.5
    assert 1.5 < high < 10
    markers = {line.get_marker() for line in axes.lines}
    assert {"^", "o", "v"} <= markers
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in axes.texts)
