"""The pictures of a study: which there are, and what their captions say."""

import numpy as np
import pytest

from samplewise.bench.study import pictures
from samplewise.bench.study.pictures import PICTURES
from samplewise.report import against_cost, curves, forest
from tests.bench.fake import FakeTrainer, study


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, by the picture."""
    found = {}
    for module in (against_cost, curves, forest):

        def draw(*parts, module=module, real=module.draw, **said):
            found[module.__name__.rpartition(".")[2]] = (*parts, said)
            return real(*parts, **said)

        monkeypatch.setattr(module, "draw", draw)
    return found


def test_a_study_has_three_pictures_with_what_they_show(tmp_path, drawn):
    made = study(tmp_path, seeds=5)
    made.run()
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    for *_, said in drawn.values():
        for part in ("100 training samples", "5 seeds", "abacus, 2 cores, cpu", made.plan.rows.task):
            assert part in said["caption"]
    assert "95 % interval" in drawn["against_cost"][-1]["caption"]
    assert "not adjusted" in drawn["forest"][-1]["caption"]


def test_points_and_differences_are_those_of_the_rows(tmp_path, drawn):
    made = study(tmp_path, seeds=5)
    results = made.run()
    methods, ladder, *_ = drawn["against_cost"]
    (point,) = (point for point in methods if point.name == "infobatch")
    rows = [row for row in made.plan.rows if row["method"] == "infobatch"]
    accuracy = np.array([row["test"]["accuracy"] for row in rows])
    cost = np.array([row["cost"] for row in rows]) / (8 * 300)
    assert (point.x, point.y) == pytest.approx((100 * cost.mean(), accuracy.mean()))
    factor = 2.7764451 / np.sqrt(5)  # Student's t with 4 degrees of freedom
    assert point.y_half == pytest.approx(factor * accuracy.std(ddof=1))
    assert point.x_half == pytest.approx(100 * factor * cost.std(ddof=1))
    assert point.note == results.verdicts["infobatch"].word == "better"
    assert [rung.x for rung in ladder] == pytest.approx([12.5, 25, 37.5, 50, 62.5, 75, 100])
    found, delta, *_ = drawn["forest"]
    assert delta == 0.3
    assert {one.name: one.mean for one in found} == {n: v.mean for n, v in results.verdicts.items()}
    assert next(line.method for line in drawn["curves"][0]) == "full"


def test_training_that_was_too_long_is_in_every_title(tmp_path, drawn):
    study(tmp_path, trainer=FakeTrainer(ceiling=0.1), seeds=2).run()
    assert len(drawn) == 3
    assert all("training too long" in said["title"] for *_, said in drawn.values())


def test_one_seed_has_no_picture_of_differences(tmp_path):
    results = study(tmp_path, seeds=1).run()
    written = [path.name for path in pictures.draw(results, tmp_path)]
    assert written == [name for name in PICTURES if name != "differences.png"]
