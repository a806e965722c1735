import pytest

from samplewise.report import pictures, table
from samplewise.report.summary import summarise


def row(method, seed, accuracy, **changes):
    held = {
        "method": method,
        "seed": seed,
        "test_accuracy": accuracy,
        "samples_backpropagated": 1000,
        "cost_share": 0.5,
        "seconds": 10.0,
        "realised": 0.4,
        "baseline": "given",
        "overhead": 0.01,
    }
    return held | changes


def test_means_and_spread_are_over_seeds():
    rows = [row("ucb", 0, 90.0), row("ucb", 1, 92.0, realised=0.2), row("full", 0, 95.0)]
    (ucb,) = summarise(rows, ["ucb"])
    assert (ucb.seeds, ucb.accuracy, ucb.spread) == (2, 91.0, pytest.approx(2**0.5))
    assert ucb.saved == pytest.approx(0.3)
    full, again = summarise(rows, ["full", "ucb"])
    assert full.method == "full"
    assert full.spread is None
    assert again == ucb


def test_cells_say_what_was_measured_and_what_was_not():
    rows = [
        row("full", 0, 95.0, realised=0.0, cost_share=1.0),
        row("ucb", 0, 90.0),
        row("eswp", 0, 90.0, baseline="estimated"),
        row("random_batch", 0, 90.0, baseline="not measured", realised=None),
    ]
    summaries = summarise(rows, ["full", "ucb", "eswp", "random_batch"])
    saved = [table.cells(s)[4] for s in summaries]
    assert saved == ["-", "40.0 %", "~40.0 %", "not measured"]
    assert table.cells(summaries[1])[1] == "90.00"
    said = " ".join(table.notes(summaries))
    assert said.startswith("1 seed.")
    assert "standard deviation" not in said
    assert "estimated from the method's own full steps" in said


def test_a_scoring_run_is_shown_with_and_without():
    charged = {"cost": 900.0, "cost_without_scoring": 300.0, "seconds_without_scoring": 2.5}
    rows = [row("full", 0, 95.0, realised=0.0, cost_share=1.0), row("tdds", 0, 90.0, **charged)]
    summaries = summarise(rows, ["full", "tdds"])
    full, tdds = (table.cells(s, len(table.headers(summaries))) for s in summaries)
    # A third of the cost of 50 % is its own, and a quarter of the time, which was 60 % of full's.
    assert tdds[3:] == ("50.0 %", "40.0 %", "1.0 %", "16.7 %", "85.0 %")
    assert full[-2:] == ("", "")
    assert table.headers(summaries)[-2:] == ("cost share without scoring", "saved without scoring")
    assert len({line.count("|") for line in table.markdown(summaries).splitlines()}) == 1
    assert "include its whole scoring run" in " ".join(table.notes(summaries))
    assert table.headers(summaries[:1]) == table.HEADERS
    assert "scoring run" not in " ".join(table.notes(summaries[:1]))


def test_markdown_has_a_line_a_method_and_the_spread():
    rows = [row("ucb", s, 90.0 + s) for s in range(3)]
    lines = table.markdown(summarise(rows, ["ucb"])).splitlines()
    assert lines[2] == "| ucb | 91.00 ± 1.00 | 1,000 | 50.0 % | 40.0 % | 1.0 % |"
    assert len({line.count("|") for line in lines}) == 1


def curves(methods, seeds, epochs):
    return [
        {
            "method": m,
            "seed": s,
            "epoch": e,
            "test_accuracy": 90.0 + e + s,
            "cost": 300.0 * e,
            "cost_share": 0.5 + s / 10,
            "seconds": 2.0 * e + s,
        }
        for m in methods
        for s in range(seeds)
        for e in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(("count", "seeds", "epochs"), [(1, 1, 1), (3, 2, 4), (13, 2, 3)])
def test_pictures_are_drawn_for_any_number_of_methods(tmp_path, count, seeds, epochs):
    methods = ["full", *(f"method_{i}" for i in range(count - 1))]
    rows = curves(methods, seeds, epochs)
    results = [row for row in rows if row["epoch"] == epochs]
    drawn = pictures.draw(results, rows, methods, "a title", tmp_path, "an abacus")
    assert [p.name for p in drawn] == ["accuracy-cost.png", "curves.png", "accuracy-seconds.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in drawn)


def test_lines_are_means_over_seeds_at_each_epoch():
    line = pictures._curve(curves(["full"], 2, 2), "full", "seconds")
    assert line is not None
    assert (line.x, line.mean) == ([2.5, 4.5], [91.5, 92.5])
    assert (line.low, line.high) == ([91.0, 92.0], [92.0, 93.0])


def test_points_are_means_over_seeds_in_percent_of_full_training():
    point = pictures._point("ucb", [row("ucb", 0, 90.0), row("ucb", 1, 92.0, cost_share=0.6)])
    assert point is not None
    assert (point.x, point.y) == (pytest.approx(55), 91)
    # Two values that differ by 2 have a standard error of 1; t with 1 degree of freedom is 12.706.
    assert point.y_half == pytest.approx(12.706, rel=1e-4)
    assert point.x_half == pytest.approx(5 * 12.706, rel=1e-4)


def test_shorter_full_training_is_the_band(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures.against_cost, "draw", lambda *parts, **_: drawn.append(parts))
    methods = ["full", "ucb", "full@epochs=1", "full@lr=0.1"]
    rows = curves(methods, 2, 1)
    pictures.draw(rows, rows, methods, "a title", tmp_path, "an abacus")
    ((others, rungs, *_),) = drawn
    assert [point.name for point in others] == ["ucb", "full@lr=0.1"]
    assert {point.name for point in rungs} == {"full", "full@epochs=1"}
