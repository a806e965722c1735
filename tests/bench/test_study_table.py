"""The table of a study: its cells, what it says in words, and its form in a narrow terminal."""

import io
import re
from statistics import fmean, stdev

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from samplewise.bench.judge.verdicts import seeds_for
from samplewise.bench.study import claims_table, table
from tests.bench import fake
from tests.bench.fake import EFFECTS, FakeTrainer, study


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    made = study(tmp_path_factory.mktemp("study"), seeds=10)
    return made, made.run()


def shown(results, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for drawn in table.terminal(results, width):
        console.print(drawn)
    return console.file.getvalue()


def cells(results, name):
    (line,) = (line for line in results.lines if line.name == name)
    return {column.header: column.cell(line) for column in table.main_columns(results)}


def test_the_cells_are_those_of_a_computation_by_hand(judged):
    made, results = judged
    rows = {
        (epochs, method): [
            row for row in made.plan.rows if (row["epochs"], row["method"]) == (epochs, method)
        ]
        for epochs, method in {(row["epochs"], row["method"]) for row in made.plan.rows}
    }
    mine = rows[8, "ordered_sgd"]
    accuracies = [row["test"]["accuracy"] for row in mine]
    found = cells(results, "ordered_sgd")
    assert found["test accuracy"] == f"{fmean(accuracies):.2f} ±{stdev(accuracies):.2f}"
    assert found["cost"] == "60.0 %"
    # 4.8 epochs cost more than 4 and less than 5.
    exact = [row["test"]["accuracy"] for row in rows[4, "full"]]
    assert found["vs exact control"] == f"{np.mean(np.array(accuracies) - exact):+.2f}"
    above = [row["test"]["accuracy"] for row in rows[5, "full"]]
    differences = np.array(accuracies) - (0.2 * np.array(exact) + 0.8 * np.array(above))
    assert found["vs ladder"] == f"{differences.mean():+.2f}"
    half = stats.t.ppf(0.975, 9) * differences.std(ddof=1) / np.sqrt(10)
    ends = differences.mean() - half, differences.mean() + half
    assert found["95 % interval"] == f"{ends[0]:+.2f} to {ends[1]:+.2f}"
    assert found["verdict"] == "worse"
    assert found["P(above)"] == "0.00"
    assert abs(differences.mean() - EFFECTS["ordered_sgd"]) < 0.3


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_terminal_breaks_no_number(judged, width):
    _, results = judged
    text = shown(results, width)
    assert max(map(len, text.splitlines())) <= width
    printed = set(text.split())
    for column in (*table.main_columns(results), *table.descriptive(results)):
        for line in results.lines:
            for word in column.cell(line).split():
                if re.fullmatch(r"[+±-]?\d[\d.]*", word):
                    assert word in printed, word


def test_a_wide_terminal_has_one_table_of_verdicts(judged):
    assert len(table.terminal(judged[1], 200)) == 2
    assert len(table.terminal(judged[1], 80)) > 2


def test_training_that_was_too_long_is_said_first_and_in_every_title(tmp_path):
    results = study(tmp_path, trainer=FakeTrainer(ceiling=0.1), seeds=2).run()
    assert results.about_the_task.startswith("Training too long")
    titles = [str(drawn.title) for drawn in table.terminal(results, 80)]
    assert len(titles) > 2
    assert all("training too long" in title for title in titles)
    first, *_ = [line for line in table.markdown(results).splitlines() if "Training too long" in line]
    assert table.markdown(results).index(first) < table.markdown(results).index("| method")


def test_few_seeds_are_numbers_only_with_the_seeds_that_would_be_needed(tmp_path):
    results = study(tmp_path, seeds=3).run()
    notes = " ".join(table.notes(results))
    assert "Fewer than 5 seeds: numbers only" in notes
    needed = [int(cells(results, name)["seeds for 0.3"]) for name in results.verdicts]
    assert f"needs up to {max(needed)} seeds" in notes
    assert "There is no verdict" in table.in_words(results)


def test_a_method_is_called_by_its_name(tmp_path):
    """In the table, the claims and the last sentence; its rows are found by its text."""
    study(tmp_path).run()
    claim = {"says": "One is better", "better": "ordered_sgd", "than": "full"}
    results = study(tmp_path, names={"ordered_sgd:keep=0.25": "hard rows"}, claims=[claim]).results()
    assert not results.missing
    assert "hard rows" in table.in_words(results)
    assert "ordered_sgd" not in table.markdown(results) + claims_table.markdown(results)


def test_the_last_sentence_names_the_methods_of_every_verdict(judged):
    words = table.in_words(judged[1])
    assert "1 better (infobatch)" in words
    assert "1 worse (ordered_sgd)" in words


def test_random_selection_that_is_better_too_is_a_caution(tmp_path, monkeypatch):
    assert "Random selection" not in table.in_words(study(tmp_path / "none", controls=True).run())
    monkeypatch.setitem(fake.EFFECTS, "rs2:keep=0.5", 3.0)
    results = study(tmp_path / "one", controls=True).run()
    assert "Random selection is better, too (rs2:keep=0.5)" in table.in_words(results)


def test_the_level_of_the_detectable_difference_counts_both_tests_of_a_method(judged):
    assert "at level 0.05/6." in " ".join(table.notes(judged[1]))


def test_a_verdict_inside_delta_says_so(tmp_path):
    results = study(tmp_path, seeds=10, delta=5.0).run()
    assert cells(results, "infobatch")["verdict"] == "better, inside delta"
    assert "inside ±5, so it matters little" in " ".join(table.notes(results))


def test_the_sign_of_a_loss_is_explained(tmp_path):
    results = study(tmp_path, metric="loss").run()
    assert "above 0 is better" in " ".join(table.notes(results))
    assert cells(results, "infobatch")["vs ladder"].startswith("+")
    assert table.places(results.delta) == 3


def test_tuning_is_reported_and_not_charged(tmp_path):
    tuned = study(tmp_path, methods=("infobatch",), seeds=1, tune=True, tune_seeds=1).run()
    assert f"Tuning cost {tuned.tuning_cost:.1f} full trainings: reported, not charged" in " ".join(
        table.notes(tuned)
    )
    plain = study(tmp_path / "plain", methods=("infobatch",), seeds=1).run()
    assert "Not tuned" in " ".join(table.notes(plain))


@pytest.mark.parametrize(("spread", "difference", "methods"), [(1.0, 1.5, 12), (0.2, 0.1, 1), (3.0, 0.5, 5)])
def test_the_seeds_needed_are_the_fewest_with_power_8(spread, difference, methods):
    def power(seeds):
        level = 0.05 / (2 * methods)  # a method has a test against each of its two controls
        limit = stats.t.ppf(1 - level / 2, seeds - 1)
        noncentral = difference / spread * np.sqrt(seeds)
        return stats.nct.sf(limit, seeds - 1, noncentral) + stats.nct.cdf(-limit, seeds - 1, noncentral)

    seeds = seeds_for(spread, difference, methods)
    assert power(seeds) >= 0.8 > power(seeds - 1)
