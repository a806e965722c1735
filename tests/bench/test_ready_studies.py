"""The studies in `studies/`: each is ready at every scale, and one runs to its end."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

import samplewise as sw
from samplewise.bench import Study
from samplewise.bench.data import ImageData, held_out, load
from samplewise.bench.judge import rungs
from samplewise.bench.methods import split
from samplewise.bench.study import estimate, toy
from samplewise.bench.study.published import full_line as line
from samplewise.bench.study.scales import SCALES
from samplewise.bench.study.spec import parsed, read_toml
from samplewise.cli import main
from samplewise.coresets.parse import parse
from tests.bench import language

ROOT = Path(__file__).parents[2]
SEEDS = ROOT / "studies" / "seeds"
FILES = sorted([*(ROOT / "studies").glob("*.toml"), *SEEDS.glob("*.toml")])
N = 400
"""Images of the stand-in."""
NEED_A_FILE = ("subset=", "irreducible=", "conditional=")
"""Methods that do not fit the toy task, whose cost is assumed."""


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageData]:
    """A folder with what the studies need: ten classes of tiny images, and two sets of samples."""
    folder, before = tmp_path_factory.mktemp("data"), Path.cwd()
    rng, y = np.random.default_rng(0), np.arange(N) % 10
    x = rng.integers(0, 255, (N, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", train_x=x, train_y=y, test_x=x[:40], test_y=y[:40])
    data = held_out(load(str(folder / "images.npz")), 0.1)
    for name, k in (("static", 0.3), ("always", 0.15)):
        subset = sw.Subset(torch.arange(round(k * len(data))), provenance={"n": len(data)})
        subset.to_parquet(folder / f"{name}.parquet")
    (folder / "studies").symlink_to(ROOT / "studies")  # some studies have files in their folders
    os.chdir(folder)
    sys.path.insert(0, str(SEEDS))
    yield data
    sys.path.remove(str(SEEDS))
    os.chdir(before)


@lru_cache(maxsize=4096)
def built(method: str, epochs: int) -> toy.Spent:
    """Build the run of a method in place of doing it, so that the test is short.

    Raises:
        ValueError: if the method does not fit this number of epochs.
    """
    policy = parse(split(method)[0])
    if method == "full" or getattr(policy, "level", "") in ("static", "token"):
        return toy.spent(method, epochs)
    if getattr(policy, "proxy", False):
        policy = replace(policy, proxy=False)
    model, y = torch.nn.Linear(2, 4), torch.arange(40) % 4
    data = torch.utils.data.TensorDataset(torch.zeros(40, 2), y)
    forward = sw.classifier(model, head="")
    sw.Selector(policy, data, forward, model=model, epochs=epochs, batch_size=10, labels=y)
    return toy.Spent(1.0, 1.0, 0.0)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dry_run_works_at_every_scale(path: Path, here: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the timing of steps and the toy runs are left out."""
    monkeypatch.setattr(estimate, "_from_steps", lambda trainer: lambda method, epochs, found: 1.0)
    monkeypatch.setattr(estimate, "spent", built)
    for scale in [name for name in SCALES if name in parsed(path)] or [None]:
        for part in Study.parts(path) or (None,):
            model = read_toml(path, scale, part)["task"].get("model", "")
            if model.startswith("hf:"):
                continue  # it takes text, and the stand-in has images
            if model.startswith("llama"):
                texts = language.write(Path("texts"), animals="cola", numbers="docs")
                study = Study.load(path, data=str(texts), out="out", scale=scale, part=part)
            else:
                study = Study.load(path, data="images.npz", out="out", scale=scale, part=part)
                vars(study.trainer)["data"] = here  # it has fewer images than the study asks for
            found = study.estimate()
            assert found.runs >= study.spec.seeds * (2 + len(study.spec.methods))
            assumed = [each.name for each in found.parts if each.assumed]
            assert all(any(key in name for key in NEED_A_FILE) for name in assumed)
            named = {row.method for row in study.published}
            known = {"", "full", *study.spec.methods, *(line(e) for e in rungs(study.spec.epochs))}
            assert named <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_published_numbers_has_both_scales(path: Path) -> None:
    content = parsed(path)
    if path.parent == SEEDS:
        assert set(SCALES) < content.keys()
        assert content["scale"] == "small"
        assert content["published"]
        assert f"[{path.stem}](" in (ROOT / "docs" / "judge.md").read_text()


def test_a_small_study_ends_with_published_numbers_beside_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study of Evolved Sampling with wrong labels, on fewer images and with a smaller network."""
    file, text = tmp_path / "es-5.toml", (SEEDS / "es-5.toml").read_text()
    smaller = text.replace("limit = 5000", "limit = 200").replace('model = "cnn"', 'model = "mlp"')
    file.write_text(smaller.replace("epochs = 12", "epochs = 3").replace("period = 2", "period = 1"))
    arguments = ["--part", "flip-40", "--data", "images.npz", "--seeds", "1"]
    assert main(["bench", str(file), *arguments]) == 0
    assert "es-5, small, flip-40: published numbers beside ours" in capsys.readouterr().out
    folder = file.with_suffix("") / "small" / "flip-40"
    found = json.loads((folder / "verdicts.json").read_text())
    ours = {line["name"]: line["results"]["accuracy"][0] for line in found["lines"]}
    by_method = {row["method"]: row for row in found["published"]}
    assert len(by_method) == 8
    for method, published in (("evolved_sampling", 57.1), ("kakurenbo", 45.0)):
        row = by_method[method]
        assert (row["value"], row["full"]) == (published, 46.8)
        assert (row["ours"], row["ours_full"]) == (ours[method], ours["full, 3 epochs"])
        assert f"| {published} |" in (folder / "table.md").read_text()
