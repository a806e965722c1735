"""Tables for a terminal: numbers are never cut, whatever the width and the names."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from samplewise.report.drawing import grid

NAMES = (
    "ucb:keep=0.3,period=5,alpha=0.8,c=1.0@lr=0.1",
    "a/long/path/to/some/folder/mine.py:half",
    "oneword" * 12,  # longer than every terminal here
    "full",
)


def printed(tables: list, width: int) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, highlight=False)
    for table in tables:
        console.print(table)
    return file.getvalue()


@given(
    st.lists(st.integers(2, 14), min_size=1, max_size=9),
    st.integers(60, 120),
    st.sampled_from(NAMES),
)
def test_every_number_is_printed_whole(lengths: list[int], width: int, name: str) -> None:
    rows = [[name, *("123456789012345"[:length] for length in lengths)]]
    headers = ["method", *(f"column {i}" for i in range(len(lengths)))]
    said = printed(grid(headers, rows, width, "a title"), width)
    assert "…" not in said
    words = said.split()
    for length in set(lengths):
        assert words.count("123456789012345"[:length]) == lengths.count(length)
    assert max(map(len, said.splitlines())) <= width


@pytest.mark.parametrize("name", NAMES)
def test_every_letter_of_a_name_is_printed(name: str) -> None:
    said = printed(grid(["method", "a"], [[name, "#"]], 40), 40)
    assert "".join(line.strip().removesuffix("#").strip() for line in said.splitlines()[2:]) == name


def test_brackets_are_no_markup() -> None:
    assert "[bold]" in printed(grid(["[bold]", "x[1]"], [["[/]", "1"]], 80, "[/red]"), 80)
