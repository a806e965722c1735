"""Claims that one method is better than another: answers at their stated rates, by hand, and in a study."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from samplewise.bench import Study
from samplewise.bench.judge.claims import answers
from samplewise.bench.study import claims_table
from samplewise.bench.study.claims import Claim
from tests.bench.fake import FakeTrainer, study

DELTA = 0.3
TASK = '[task]\ndata = "digits"\nmodel = "mlp"\nepochs = 4\nlimit = 100\n'
METHODS = ("infobatch", "ucb:keep=0.5,period=2", "ordered_sgd")


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects in every correction, for 0.2 s


def test_without_an_effect_few_studies_answer_that_a_claim_holds_or_is_the_other_way_round():
    """At most 5 % of 300 studies of 5 comparisons that share methods, and three standard errors."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        runs = rng.standard_normal((6, 10))
        found = answers({i: runs[0] - runs[i] for i in range(1, 6)}, DELTA)
        wrong += any(
            a.word == "holds here" or (a.word, a.equal) == ("does not hold here", False)
            for a in found.values()
        )
    assert wrong / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_an_effect_is_found_as_often_as_the_needed_seeds_say():
    """With the seeds that are said to be needed for an effect, it is found in about 80 % of studies."""
    level, effect = 0.05 / 5, 1.2
    values = np.array([-1.0, 1.0] * 5)
    values = effect + values / values.std(ddof=1)
    needed = answers({i: values if i == 0 else np.zeros(10) for i in range(5)}, DELTA)[0].needed
    assert needed is not None
    rng, found = np.random.default_rng(1), 0
    bar = stats.t.ppf(1 - level / 2, needed - 1)
    for _ in range(2000):
        seen = effect + rng.standard_normal(needed)
        found += seen.mean() > bar * seen.std(ddof=1) / math.sqrt(needed)
    assert 0.77 < found / 2000 < 0.86


def test_the_answers_are_those_of_a_computation_by_hand():
    rng = np.random.default_rng(2)
    values = {
        "up": 2 + rng.standard_normal(8),
        "down": -2 + rng.standard_normal(8),
        "level": 0.02 * rng.standard_normal(8),
        "wide": 0.5 + rng.standard_normal(8),
    }
    found = answers(values, DELTA)
    assert {name: (a.word, a.equal) for name, a in found.items()} == {
        "up": ("holds here", False),
        "down": ("does not hold here", False),
        "level": ("does not hold here", True),
        "wide": ("not shown", False),
    }
    raw = {name: stats.ttest_rel(part, np.zeros(8)).pvalue for name, part in values.items()}
    largest = 0.0
    for rank, name in enumerate(sorted(raw, key=raw.__getitem__)):  # Holm's step-down method
        largest = max(largest, min(1.0, raw[name] * (4 - rank)))
        assert found[name].p == pytest.approx(largest)
    wide = values["wide"]
    half = stats.t.ppf(0.975, 7) * wide.std(ddof=1) / math.sqrt(8)
    assert found["wide"].interval == pytest.approx((wide.mean() - half, wide.mean() + half))


def power(n, effect, level):
    """Of a two-sided t test of n values with this mean and standard deviation 1."""
    bar, shift = stats.t.ppf(1 - level / 2, n - 1), effect * math.sqrt(n)
    return stats.nct.sf(bar, n - 1, shift) + stats.nct.cdf(-bar, n - 1, shift)


def test_what_would_be_needed_has_the_stated_power():
    rng = np.random.default_rng(3)
    values = 0.4 + rng.standard_normal(10)
    answer = answers({"mine": values, "other": rng.standard_normal(10)}, DELTA)["mine"]
    assert answer.word == "not shown"
    effect = abs(answer.mean) / answer.spread
    assert power(answer.needed - 1, effect, 0.025) < 0.8 <= power(answer.needed, effect, 0.025) + 1e-6
    assert power(10, answer.detectable / answer.spread, 0.025) == pytest.approx(0.8, abs=1e-6)


def test_few_seeds_and_differences_that_do_not_vary_show_nothing():
    found = answers({"few": 5 + 0.1 * np.arange(4.0), "same": np.full(9, 0.1) * 3}, DELTA)
    assert (found["few"].word, found["same"].word) == ("too few seeds", "not shown")
    assert found["same"].needed is None


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.array([1.0, np.nan]), {}, "the differences of it must be finite"),
        (np.array([]), {}, "must be one number a seed, got an array of shape"),
        (np.ones(5), {"delta": 0.0}, "delta must be > 0, got 0"),
        (np.ones(5), {"alpha": 1.0}, r"alpha must be in \(0, 1\), got 1"),
    ],
)
def test_bad_differences_are_refused(values, options, said):
    with pytest.raises(ValueError, match=said):
        answers({"it": values}, **({"delta": DELTA} | options))


CLAIMS = (
    {"says": "InfoBatch wins", "better": "infobatch", "than": ["ordered_sgd", "ucb:period=2,keep=0.5"]},
    {
        "says": "All samples help",
        "better": "full",
        "than": "ucb:keep=0.5,period=2",
        "source": "arXiv:1, Table 2",
    },
    {"says": "Less is more", "better": "ordered_sgd", "than": "full, stopped early"},
    {"says": "Stopping helps", "better": "full, stopped early", "than": "full"},
)


def test_a_study_answers_its_claims(tmp_path):
    made = study(tmp_path, seeds=6, claims=CLAIMS)
    results = made.run()
    words = {claim.says: claim.word for claim in results.claims}
    assert words == {
        "InfoBatch wins": "holds here",
        "All samples help": "holds here",
        "Less is more": "does not hold here",
        "Stopping helps": "not shown",  # the fake's best epoch is its last one
    }
    rows = {(r["method"], r["epochs"], r["seed"]): r for r in made.plan.rows}
    test = {m: np.array([rows[m, 8, s]["test"]["accuracy"] for s in range(6)]) for m in (*METHODS, "full")}
    pair = results.claims[0].pairs[1]
    assert pair.than == "ucb:keep=0.5,period=2"  # in the writing of the study
    assert pair.answer.mean == pytest.approx((test["infobatch"] - test["ucb:keep=0.5,period=2"]).mean())
    # InfoBatch costs about 5.6 epochs: a line between the rungs of 5 and 6. UCB costs those of 4 epochs.
    gains = []
    for seed in range(6):
        cost = rows["infobatch", 8, seed]["cost"]
        ends = [rows["full", e, seed] for e in (5, 6)]
        line = np.interp(cost, [e["cost"] for e in ends], [e["test"]["accuracy"] for e in ends])
        ucb = rows["ucb:keep=0.5,period=2", 8, seed]["test"]["accuracy"]
        half = rows["full", 4, seed]["test"]["accuracy"]
        gains.append(test["infobatch"][seed] - line - (ucb - half))
    assert pair.dearer
    assert pair.corrected == pytest.approx(np.mean(gains))
    document = json.loads((tmp_path / "verdicts.json").read_text())["claims"]
    assert [claim["word"] for claim in document] == list(words.values())
    text = (tmp_path / "table.md").read_text()
    assert "## Claims" in text
    assert "All samples help (arXiv:1, Table 2)" in text
    assert "difference is +0.00 in every seed" in text
    shown = "\n".join(claims_table.lines(results))
    assert "ordered_sgd against full, stopped early: does not hold here: it is worse" in shown


def test_a_lower_loss_is_better(tmp_path):
    claims = [{"says": "InfoBatch wins", "better": "infobatch", "than": "ordered_sgd"}]
    results = study(tmp_path, seeds=6, metric="loss", claims=claims).run()
    assert results.claims[0].word == "holds here"
    assert "The sign is changed" in claims_table.note(results)


def test_claims_change_no_row(tmp_path):
    study(tmp_path, seeds=2).run()
    rows = (tmp_path / "rows.jsonl").read_bytes()
    results = study(tmp_path, seeds=2, claims=CLAIMS).run()
    assert (tmp_path / "rows.jsonl").read_bytes() == rows
    assert {claim.word for claim in results.claims} == {"too few seeds"}
    assert "at least 5 seeds" in "\n".join(claims_table.lines(results))


def test_a_claim_without_results_says_why(tmp_path):
    class Diverging(FakeTrainer):
        def run(self, job, on_step):
            made = super().run(job, on_step)
            if job.method == "ordered_sgd":
                made["test"] = dict.fromkeys(made["test"], math.nan)
            return made

    made = study(tmp_path, trainer=Diverging(), claims=CLAIMS)
    assert {claim.word for claim in made.results().claims} == {"no answer"}
    with warnings.catch_warnings(action="ignore"):
        results = made.run()
    assert "no answer: a run diverged" in "\n".join(claims_table.lines(results))
    assert results.claims[1].word == "holds here"


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ('says = "x"\nbetter = "infobatch"', "a claim must have says, better and than, got no than"),
        ('say = "x"', "a claim has an unknown key 'say'. Did you mean 'says'"),
        ('says = "x"\nbetter = 3\nthan = "full"', "better of a claim must be text, got 3"),
        ('says = ""\nbetter = "infobatch"\nthan = "full"', "says of a claim must be text, got ''"),
        ('says = "x"\nbetter = "infobatch"\nthan = []', "claim 'x': than must be a method or a list"),
        ('says = "x"\nbetter = "ucb"\nthan = "full"', "claim 'x': ucb must be a method or a control of the"),
        ('says = "x"\nbetter = "infobach"\nthan = "full"', "claim 'x': .*Did you mean 'infobatch'"),
        ('says = "x"\nbetter = "infobatch"\nthan = ["full", "infobatch"]', "must compare two methods"),
        ('says = "x"\nbetter = "infobatch"\nthan = ["full", "full"]', "must make each comparison once"),
    ],
)
def test_bad_claims_are_refused(tmp_path: Path, claim: str, said: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'methods = ["infobatch"]\n[[claims]]\n{claim}\n{TASK}')
    with pytest.raises(ValueError, match=said):
        Study.load(path)


@pytest.mark.parametrize("claims", ['claims = "x"', "claims = [3]"])
def test_claims_must_be_tables(tmp_path: Path, claims: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'methods = ["infobatch"]\n{claims}\n{TASK}')
    with pytest.raises(ValueError, match=r"claims must be .*tables.*Write \[\[claims\]\]"):
        Study.load(path)


def test_a_claim_finds_a_method_in_a_file_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from samplewise import pickers\nfrom samplewise.policy import Policy\n\n\n"
        "def half(keep: float = 0.5) -> Policy:\n    return Policy(batch_picker=pickers.Uniform(keep))\n"
    )
    path = tmp_path / "study.toml"
    claim = 'says = "x"\nbetter = "mine.py:half:keep=0.50"\nthan = "random_batch:keep=0.250"'
    path.write_text(f'methods = ["mine.py:half"]\n[[claims]]\n{claim}\n{TASK}')
    (found,) = Study.load(path).spec.claims
    assert found == Claim("x", f"{tmp_path}/mine.py:half", ("random_batch:keep=0.25",))
