import itertools

import numpy as np
import pytest
import torch

from samplewise import recipes
from samplewise.bench import models, train
from samplewise.bench.data import load
from samplewise.bench.models.fast import NOISE, Whitening
from samplewise.bench.settings import Settings
from samplewise.bench.study.images import ImageTrainer
from samplewise.bench.train import Run, Task
from samplewise.proxy import slim


def correlated(m, channels, side, seed=0):
    """Images whose neighbouring pixels and channels are alike, far from their mean 0."""
    rng = np.random.default_rng(seed)
    fine = rng.normal(size=(m, channels, side + 2, side + 2)) + rng.normal(size=(m, 1, side + 2, side + 2))
    smooth = sum(fine[:, :, i : i + side, j : j + side] for i in range(3) for j in range(3))
    return torch.from_numpy(smooth / 3).float()


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_with_variance_1(channels):
    images, layer = correlated(60, channels, 10), Whitening(channels)
    layer.prepare(images)
    patches = np.array(
        [
            image[:, i : i + 3, j : j + 3].ravel()
            for image in images.numpy()
            for i, j in itertools.product(range(8), range(8))
        ]
    )
    found = patches @ layer.filters.numpy().reshape(len(layer.filters), -1).T
    covariance = np.cov(found.astype(np.float64), rowvar=False, bias=True)
    values = np.linalg.svd(patches - patches.mean(0), compute_uv=False) ** 2 / len(patches)
    wanted = values / (values + NOISE)  # 1 for all directions but those of noise
    assert np.allclose(covariance, np.diag(wanted[: len(found[0])]), atol=1e-4)
    assert wanted[: len(found[0])].min() > 0.9
    assert len(layer.filters) == min(12, 9 * channels)


def test_whitening_projects_every_second_patch_with_both_signs():
    layer = Whitening(2)
    layer.prepare(correlated(9, 2, 8))
    image = correlated(1, 2, 8, seed=1)
    found = layer(image)[0].numpy()
    padded = np.pad(image[0].numpy(), ((0, 0), (1, 1), (1, 1)))
    filters = layer.filters.numpy()
    for f, i, j in itertools.product(range(len(filters)), range(4), range(4)):
        wanted = (filters[f] * padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]).sum()
        assert found[f, i, j] == pytest.approx(wanted, abs=1e-4)
    assert np.array_equal(found[12:], -found[:12])


def test_whitening_of_constant_images_is_finite():
    layer = Whitening(3)
    layer.prepare(torch.ones(4, 3, 8, 8))
    assert layer.filters.isfinite().all()


def test_the_filters_depend_on_the_images_alone_and_are_saved():
    images, states = correlated(20, 1, 8), []
    for seed in (0, 1):
        model = models.build("fast", 1, 4, 8, seed=seed)
        before = torch.get_rng_state()
        models.prepare(model, images, "fast", seed)
        assert torch.equal(before, torch.get_rng_state())
        states.append(model.state_dict())
    name = "whitening.filters"
    assert torch.equal(states[0][name], states[1][name])
    loaded = models.build("fast", 1, 4, 8, seed=2)
    assert not torch.equal(loaded.state_dict()[name], states[0][name])
    loaded.load_state_dict(states[0])
    assert all(torch.equal(value, states[0][key]) for key, value in loaded.state_dict().items())
    assert name not in dict(loaded.named_parameters())


def test_gradients_agree_with_differences():
    model = models.build("fast", 1, 3, 8, seed=0).double().eval()
    images, labels = correlated(3, 1, 8).double(), torch.tensor([0, 1, 2])

    def loss():
        return torch.nn.functional.cross_entropy(model(images), labels)

    loss().backward()
    rng = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
        slope = float((parameter.grad * direction).sum())
        with torch.no_grad():
            parameter += 1e-6 * direction
            above = loss()
            parameter -= 2e-6 * direction
            below = loss()
            parameter += 1e-6 * direction
        assert float(above - below) / 2e-6 == pytest.approx(slope, rel=1e-3, abs=1e-6), name


def test_the_network_has_a_narrow_view():
    model = models.build("fast", 3, 10, 16, seed=0)
    view = slim(model, 0.5, head="head", example=torch.randn(2, 3, 16, 16))
    assert 0.2 < view.flops_share < 0.6


def task(**changed):
    settings = Settings(model="fast", epochs=2, batch_size=64, lr=0.1, threads=1, **changed).resolved()
    data = load("digits")
    data = data.trained_on(data.train_x[:300], data.train_y[:300])
    return Task("full", recipes.full(), 0, data, settings)


def test_a_run_prepares_once_and_a_resumed_run_reads_its_checkpoint(tmp_path, monkeypatch):
    calls, prepare = [], Whitening.prepare
    monkeypatch.setattr(Whitening, "prepare", lambda layer, x: (calls.append(x), prepare(layer, x))[1])
    whole = train.train(task(), tmp_path / "whole.pt")
    data = whole.task.data
    assert len(calls) == 1
    assert torch.equal(calls[0], (data.train_x.float() - data.mean[:, None, None]) / data.std[:, None, None])

    class StoppedError(Exception):
        pass

    def stop(row):
        raise StoppedError

    with pytest.raises(StoppedError):
        train.train(task(), tmp_path / "parts.pt", on_epoch=stop)
    assert len(calls) == 2
    parts = train.train(task(), tmp_path / "parts.pt")
    assert len(calls) == 2
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[key]), key


class Shown(torch.nn.Sequential):
    """A user's model that draws random numbers while it looks at the images."""

    def prepare(self, images):
        with torch.no_grad():
            self[1].weight.copy_(torch.randn_like(self[1].weight) * images.mean())


def shown(in_channels, classes, image_size):
    return Shown(torch.nn.Flatten(), torch.nn.Linear(in_channels * image_size**2, classes))


def failing(in_channels, classes, image_size):
    model = shown(in_channels, classes, image_size)
    model.prepare = lambda images: images.absent
    return model


def replacing(in_channels, classes, image_size):
    model = shown(in_channels, classes, image_size)
    model.prepare = lambda images: setattr(model[1], "bias", torch.nn.Parameter(torch.zeros(classes)))
    return model


def test_a_users_model_may_prepare_and_the_run_draws_as_before():
    images, found = torch.rand(5, 1, 8, 8), []
    for _ in range(2):
        model = models.build(f"{__name__}:shown", 1, 10, 8, seed=0)
        before = torch.get_rng_state(), np.random.mtrand._rand.get_state()[1].copy()
        models.prepare(model, images, "shown", seed=3)
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.mtrand._rand.get_state()[1])
        found.append(model[1].weight.clone())
    assert torch.equal(*found)
    assert found[0].abs().max() > 0.5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("failing", r"failing failed in prepare\(images\): AttributeError: .*absent"),
        ("replacing", r"prepare\(images\) must keep the parameters .* Change tensors in place"),
    ],
)
def test_a_prepare_that_cannot_be_used_is_refused(name, said):
    model = models.build(f"{__name__}:{name}", 1, 10, 8, seed=0)
    with pytest.raises(ValueError, match=said):
        models.prepare(model, torch.rand(5, 1, 8, 8), name, 0)


def test_label_smoothing_is_in_the_loss_that_methods_see_and_not_in_the_test():
    plain, smoothed = (Run(task(label_smoothing=share)) for share in (0.0, 0.3))
    rows = torch.arange(20)
    batch = (plain.task.data.train_x[rows], plain.task.data.train_y[rows])
    outputs = smoothed.forward(batch)
    logs = outputs.logits.log_softmax(1)
    own = logs[rows, batch[1]]
    wanted = -(0.7 * own + 0.3 * logs.mean(1))
    assert torch.allclose(outputs.loss, wanted, atol=1e-5)
    assert torch.allclose(plain.forward(batch).loss, -own, atol=1e-5)
    smoothed.model.load_state_dict(plain.model.state_dict())
    assert smoothed.evaluate() == plain.evaluate()


def test_only_label_smoothing_above_0_is_part_of_the_key_of_a_studys_rows(tmp_path):
    def settings(**changed):
        found = Settings(model="mlp", lr=0.1, **changed).resolved()
        return ImageTrainer(found, 0.1, tmp_path).task()["settings"]

    assert settings() == settings(label_smoothing=0.0) == {"model": "mlp", "lr": 0.1}
    assert settings(label_smoothing=0.2) == {"model": "mlp", "lr": 0.1, "label_smoothing": 0.2}
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\), got 1"):
        Settings(label_smoothing=1)
