"""The picture of the rooms: nothing overlaps, arrows point down and pass beside the boxes."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from docs import drawing, rooms

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture():
    return drawing.draw(rooms.FLOORS, drawing.thinned(rooms.arrows()), {"data": "ids & <batches>"})


def boxes(picture):
    """The sides of every box, by the name that stands in it: left, top, right, bottom."""
    found = {}
    for group in ElementTree.fromstring(picture).iter(f"{SVG}g"):
        rect, text = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        found[text.text] = (x, y, x + width, y + height)
        half = float(text.get("textLength")) / 2
        assert x < float(text.get("x")) - half
        assert float(text.get("x")) + half < x + width
    return found


def lines(picture):
    """The points of every arrow, in order."""
    for path in ElementTree.fromstring(picture).iter(f"{SVG}path"):
        if path.get("class") != "arrow":
            continue
        points = []
        for command, said in re.findall(r"([MCV])([^MCV]*)", path.get("d")):
            numbers = [float(number) for number in said.split()]
            if command == "V":
                points.append((points[-1][0], numbers[0]))
            else:
                points += zip(numbers[::2], numbers[1::2], strict=True)
        yield points


def test_no_box_and_no_text_overlaps_another(picture):
    found = boxes(picture)
    assert found.keys() == {room for floor in rooms.FLOORS for room in floor}
    for (left, top, right, bottom), other in combinations(found.values(), 2):
        assert right < other[0] or other[2] < left or bottom < other[1] or other[3] < top


def test_every_arrow_goes_down_from_box_to_box_and_passes_beside_the_others(picture):
    found = boxes(picture)
    wanted = set(drawing.thinned(rooms.arrows()))
    drawn = set()
    for points in lines(picture):
        heights = [y for _, y in points]
        assert heights == sorted(heights)
        (x0, y0), (x1, y1) = points[0], points[-1]
        upper = next(name for name, box in found.items() if box[0] < x0 < box[2] and y0 == box[3])
        lower = next(name for name, box in found.items() if box[0] < x1 < box[2] and y1 == box[1])
        drawn.add((upper, lower))
        for (x, above), (_, below) in pairwise(points):
            for left, top, right, bottom in found.values():
                # Between two floors there are no boxes, so only what runs through a floor can hit one.
                assert not (left <= x <= right and above <= top and bottom <= below and above < below)
    assert drawn == wanted


def test_an_arrow_that_other_arrows_stand_for_is_left_out():
    assert drawing.thinned({("a", "b"), ("b", "c"), ("a", "c")}) == [("a", "b"), ("b", "c")]


def test_an_arrow_upward_is_refused():
    with pytest.raises(ValueError, match="the arrow from a to b does not point down"):
        drawing.draw([["a"], ["b"]], [("a", "b")], {})


def test_the_picture_has_colours_for_light_and_dark_and_escapes_text(picture):
    assert "prefers-color-scheme: dark" in picture
    assert "<title>ids &amp; &lt;batches&gt;</title>" in picture
