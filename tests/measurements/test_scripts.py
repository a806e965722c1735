"""Every script of benchmarks/ has a quick form that a test runs; and the scripts that make data."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplewise.subset import Subset
from samplewise.tokens import ReferenceLosses

ROOT = Path(__file__).parents[2]
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
ELSEWHERE = {
    "faults": "tests/faults/test_kill.py",  # --moments and --epochs make it small
    "judge_rates": "tests/bench/test_simulated_studies.py",  # takes seconds as it is
    "moves": "tests/seams/test_moves.py",  # takes seconds as it is
}


def runnable():
    """The names of all scripts."""
    paths = sorted((ROOT / "benchmarks").glob("*.py"))
    return [path.stem for path in paths if '__name__ == "__main__"' in path.read_text()]


@pytest.mark.parametrize("name", runnable())
def test_every_script_has_a_quick_form_that_a_test_runs(name):
    if name in ELSEWHERE:
        assert name in (ROOT / ELSEWHERE[name]).read_text()
        return
    assert '"--quick"' in (ROOT / "benchmarks" / f"{name}.py").read_text()
    assert any(f'{call}("{name}"' in TESTS for call in ("quick", "apart", "main"))


def test_web_makes_the_data_and_the_tables_of_every_place_on_the_map(main, images, tmp_path):
    data, tables = tmp_path / "data", tmp_path / "tables"
    main("web", "map", images, "--quick", "--data", data, "--out", tables)
    places = {f"{kind}-{noise}" for kind in ("copies", "single") for noise in (0, 20, 35, 50)}
    assert {path.stem for path in data.iterdir()} == {path.name for path in tables.iterdir()} == places
    with np.load(images) as source:
        true = {x.tobytes(): y for x, y in zip(source["train_x"], source["train_y"], strict=True)}
    for place in places:
        with np.load(data / f"{place}.npz") as made:
            x, y = made["train_x"], made["train_y"]
        assert len(x) == 1200 + 200
        wrong = sum(true[image.tobytes()] != label for image, label in zip(x, y, strict=True))
        assert wrong == 1200 * int(place.split("-")[1]) / 100
        drawn = len({image.tobytes() for image in x[:1200]})
        assert drawn == 1200 if place.startswith("single") else drawn <= 300
        found = {path.stem for path in (tables / place).iterdir()}
        assert found == {"agreed", "clean", "irreducible", "once", "voted"}
        once = Subset.read(tables / place / "once.parquet")
        assert len(once) >= (1100 if place.startswith("single") else 100)


def test_embeddings_has_a_vector_of_length_1_for_every_sentence(main, sentences, tmp_path):
    out = tmp_path / "vectors.npz"
    main("embeddings", sentences, "--task", "cola", "--quick", "--out", out)
    with np.load(out) as made:
        assert made["train_x"].shape == made["test_x"].shape == (16, 384)
        assert np.allclose(np.linalg.norm(made["train_x"], axis=1), 1, atol=1e-5)
        assert made["train_y"].tolist() == [0, 1] * 8


def test_language_makes_a_pile_of_sentences_and_the_losses_of_references(main, tmp_path):
    """GLUE in two files each, and pages with everything that is no sentence."""
    glue, pages, lm, out = (tmp_path / name for name in ("glue", "pages", "lm", "out"))
    glue.mkdir()
    pages.mkdir()
    for name in ("sst2", "cola"):
        for split in ("train", "dev"):
            texts = [f"{name} {split} row {i} of many . " for i in range(60)] + [
                f"{name} shared by both splits"
            ]
            pq.write_table(pa.table({"text_a": [*texts, "too short"]}), glue / f"{name}-{split}.parquet")
    for i in range(5):
        prose = "\n\n".join(f"Page {i} has [a link](x.md) and `code` in sentence {j}." for j in range(9))
        code = "```python\nnot a sentence of any page here\n```\n\n| a row of some table here |\n"
        (pages / f"p{i}.md").write_text(
            f"# a title of five words\n\n{prose}\n\n- A point of a list here.\n{code}"
        )
    (pages / "reference.md").write_text("This page repeats docstrings of other files.")
    main("language", "make", glue, "--pages", pages, "--quick", "--out", lm)
    train, test = (pq.read_table(lm / f"{name}.parquet").to_pylist() for name in ("train", "test"))
    mine, theirs = ({row["text"] for row in rows} for rows in (train, test))
    assert not mine & theirs
    assert not any("shared" in text for text in mine)
    docs = {row["text"] for row in [*train, *test] if row["source"] == "docs"}
    said = {f"Page {i} has a link and code in sentence {j}." for i in range(5) for j in range(9)}
    assert docs <= said | {"A point of a list here."}
    assert {text.split()[1] for text in docs & theirs if text.startswith("Page")} == {"2"}
    assert [row["source"] for row in train[-10:]] == ["cola"] * 10
    study = tmp_path / "study.toml"
    study.write_text(
        "methods = ['infobatch']\nmetric = 'loss_cola'\n[task]\nlabel_column = 'source'\nepochs = 2\n"
        "model = 'llama:width=16,layers=1,heads=2,vocabulary=300'\nmax_length = 12\nbatch_size = 4\n"
    )
    main("language", "references", study, "--data", lm, "--quick", "--out", out)
    known, cola = (Subset.read(out / f"{name}.parquet") for name in ("known", "cola"))
    before, after = (ReferenceLosses.read(out / f"{name}.parquet") for name in ("marginal", "conditional"))
    assert set(known.ids.tolist()) < set(cola.ids.tolist())
    assert len(before) == len(after) == known.provenance["n"]
    cost = [losses.provenance["scoring"]["cost"] / len(before) for losses in (before, after)]
    assert cost[0] == 1
    assert cost[1] == pytest.approx(1 + 3 + 3 * len(known) / len(before))
    change = before.row_means() - after.row_means()
    assert change[known.ids].mean() > change.mean()
