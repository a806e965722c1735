"""`--scoring`: the text becomes the options of `sw.Scoring`, and a run with it scores in that way."""

import re

import pytest
import torch

import samplewise as sw
from samplewise import recipes
from samplewise.bench.cheap import scoring_of
from samplewise.bench.experiment import load_data
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run, Task
from samplewise.cli import main


def pooled(channels, classes, side):
    """A network that takes images of every size."""
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1),
        pool,
        torch.nn.Flatten(),
        torch.nn.Linear(8, classes),
    )


def built(scoring, model="tests.bench.test_cheap:pooled", method="loss_sampling", **given):
    """A run on digits."""
    settings = Settings(
        model=model, method=(method,), epochs=2, limit=256, scoring=scoring, threads=1, **given
    ).resolved()
    return Run(Task(method, recipes.parse(method), 0, load_data(settings), settings))


def trained(scoring, **given):
    """The ledger of two epochs."""
    run = built(scoring, **given)
    loader = run.loader()
    for epoch in range(2):
        for batch in loader:
            run.train_step(batch, epoch)
    return run.selector.ledger


def test_the_text_becomes_the_options():
    assert scoring_of(None) is None
    found = scoring_of("bf16+every=3+at=layer2.0")
    assert (found.dtype, found.every, found.at, found.view) == (torch.bfloat16, 3, "layer2.0", None)
    assert scoring_of("first=64").view == sw.views.first(64)


def test_half_is_the_mean_of_four_stored_pixels():
    images = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4)
    seen, labels = scoring_of("half").view((images, torch.tensor([0, 1])))
    by_hand = [[[16 * i + 4 * r + c + 2.5 for c in (0, 2)] for r in (0, 2)] for i in range(2)]
    assert seen.squeeze(1).tolist() == by_hand
    assert labels.tolist() == [0, 1]


def test_a_run_scores_in_the_way_that_the_text_says():
    """512 rows are scored in both. At half resolution a forward of convolutions costs about a quarter."""
    plain, half = trained(None), trained("half")
    assert (plain.scoring_forwards, plain.cheap_scoring_forwards) == (512, 0)
    assert (half.scoring_forwards, half.cheap_scoring_forwards) == (0, 512)
    assert 0.15 < (half.cost - (plain.cost - 512)) / 512 < 0.35


@pytest.mark.parametrize("amp", [False, True])
def test_bf16_scores_and_trains_as_amp_says(amp):
    run = built("bf16", amp=amp)
    seen = []
    run.model[-1].register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    run.train_step(next(iter(run.loader())), 0)
    assert seen == [torch.bfloat16, torch.bfloat16 if amp else torch.float32]


def test_a_model_of_another_name_scores_and_is_charged():
    """Here it has the size of the network, and every row costs it a forward for the score and a step.

    The step has no gradient by the pixels, so the first layer costs 2 of its forwards and the others 3.
    """
    plain, small = trained(None), trained("scorer=tests.bench.test_cheap:pooled")
    first, others = 64 * 9 * 8, 64 * 9 * 8 * 8 + 8 * 10  # multiplications in a forward of one row
    row = 1 + (2 * first + 3 * others) / (first + others)
    assert small.scoring_forwards == 0
    assert (small.cost - (plain.cost - 512)) / 512 == pytest.approx(row)


def test_a_method_without_scores_trains_without_a_small_model():
    """So that one option serves all methods of a run."""
    assert trained("scorer=mlp", method="infobatch").cost == trained(None, method="infobatch").cost


def test_a_small_model_is_prepared_as_the_large_one_is():
    run = built("scorer=fast", model="fast")
    before = [model.whitening.filters.clone() for model in run.models]
    run.prepare()
    assert len(run.models) == 2
    assert not any(torch.equal(m.whitening.filters, w) for m, w in zip(run.models, before, strict=True))


def test_a_network_with_one_size_of_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"cannot take what Scoring.view gives\. .*Its error: mat1 and mat2"):
        trained("half", model="cnn")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("bf61", "--scoring must be parts joined by .*got 'bf61'.*Did you mean 'bf16'"),
        ("bf16=2", "--scoring must be parts"),
        ("every", "--scoring must be parts"),
        ("at=", "--scoring must be parts"),
        ("every=two", "--scoring every must be a whole number"),
        ("every=0", "Scoring.every must be >= 1"),
        ("half+first=3", "--scoring must say each thing once.*view twice"),
        ("", "--scoring must be parts"),
        ("scorer=cnm", "must be one of .*got 'cnm'.*Did you mean 'cnn'"),
        ("first=64", "--scoring first needs texts, got --model cnn"),
    ],
)
def test_bad_text_is_refused_before_anything_runs(tmp_path, capsys, given, said):
    out = tmp_path / "run"
    assert main(["train", "--method", "loss_sampling", "--scoring", given, "--out", str(out)]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not out.exists()


def test_scoring_of_a_method_that_never_scores_is_refused(tmp_path, capsys):
    assert main(["train", "--method", "infobatch@scoring=bf16", "--out", str(tmp_path / "run")]) == 2
    assert "scoring has no effect: the method has no forwards for scores" in capsys.readouterr().err
