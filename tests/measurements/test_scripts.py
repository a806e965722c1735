"""Every script of benchmarks/ has a quick form that a test runs; and the scripts that make data."""

from pathlib import Path

import numpy as np
import pytest

from samplewise.subset import Subset

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
