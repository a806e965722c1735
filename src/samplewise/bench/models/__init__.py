"""Networks for small images, by name or by `package.module:function`."""

import importlib
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.bench import rngstate
from samplewise.bench.models.fast import Fast
from samplewise.bench.models.mobilenet import MobileNetV2
from samplewise.bench.models.resnet import ResNet18, ResNet34, ResNet50
from samplewise.bench.models.shufflenet import ShuffleNetV2
from samplewise.bench.models.small import Cnn, Mlp
from samplewise.bench.models.vgg import Vgg16
from samplewise.checks import nearest
from samplewise.cost.flops import counted

Builder = Callable[[int, int, int], nn.Module]

BUILDERS: dict[str, Builder] = {
    "cnn": Cnn,
    "mlp": Mlp,
    "fast": Fast,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "resnet50": ResNet50,
    "vgg16": Vgg16,
    "mobilenet_v2": MobileNetV2,
    "shufflenet_v2": ShuffleNetV2,
}

OTHERS = {"llama": "llama (a language model)", "hf:PATH": "hf:PATH (a text encoder)"}
"""The models of texts, which are not built here, and how errors name them."""

VECTORS = ("mlp",)
"""The networks that also take vectors, as d channels of one pixel."""

ARCHITECTURES = ("resnet18", "resnet50", "vgg16", "mobilenet_v2", "shufflenet_v2")
"""The networks that `protocols.transfer` trains by default."""


_PACKAGE = Path(__file__).parents[2]


@runtime_checkable
class Prepared(Protocol):
    """A model that sees training images before its first step, as `fast` does for its whitening layer.

    `prepare` changes buffers and parameters in place. The trainer calls it once in a run; a resumed run reads
    them from its checkpoint.
    """

    def prepare(self, images: Float[Tensor, "m ch side side"]) -> object:
        """Take normalized training images, without augmentation and labels."""


def builder(name: str) -> Builder:
    """The function that builds a model from (in_channels, classes, image_size).

    `name` is one of `BUILDERS` or `package.module:function`.
    """
    if name in BUILDERS:
        return BUILDERS[name]
    module, colon, function = name.partition(":")
    if not all(word.isidentifier() for word in [*module.split("."), function]):
        hint = nearest(module, [*BUILDERS, *OTHERS])
        if colon and not hint:
            hint = " Use the absolute name of an importable module, not a path."
        raise ValueError(
            f"--model must be one of {', '.join([*BUILDERS, *OTHERS.values()])} or package.module:function, "
            f"got {name!r}.{hint}"
        )
    try:
        with own_code(name, "cannot be imported"):
            found: Any = getattr(importlib.import_module(module), function)
    except ValueError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise ValueError(f"{error} Install the module, or add its folder to PYTHONPATH.") from error
        raise
    if not callable(found):
        raise ValueError(f"--model must name a function, but {name} is a {type(found).__name__}")
    try:
        inspect.signature(found).bind(1, 10, 8)
    except TypeError as error:
        raise ValueError(
            f"--model {name} must be a function of (in_channels, classes, image_size): {error}."
        ) from error
    except ValueError:  # a C function without a signature: an error would show at the call
        pass
    made: Builder = found
    return made


@contextmanager
def own_code(name: str, what: str) -> Iterator[None]:
    """Turn an exception of the user's module into a one-line ValueError with its location."""
    try:
        yield
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = Path(frame.filename).is_relative_to(_PACKAGE)
        if ours and isinstance(error, ValueError):  # the message is already complete
            raise
        hidden = ours or frame.filename.startswith("<")
        where = "" if hidden else f" ({frame.filename}, line {frame.lineno})"
        raise ValueError(f"--model {name} {what}: {type(error).__name__}: {error}{where}.") from error


def forward_flops(name: str, in_channels: int, classes: int, image_size: int) -> int:
    """Count the floating-point operations of a forward of one image."""
    model = build(name, in_channels, classes, image_size, seed=0).eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return counted(lambda: model(torch.zeros(1, in_channels, image_size, image_size)))[1]


def build(name: str, in_channels: int, classes: int, image_size: int, seed: int) -> nn.Module:
    """Build a model. Its initial weights depend on `seed` only, and the global RNG is not changed."""
    make = builder(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        with own_code(name, f"failed for ({in_channels}, {classes}, {image_size})"):
            model = make(in_channels, classes, image_size)
    if not isinstance(model, nn.Module):
        raise ValueError(f"--model {name} must return a torch.nn.Module, got {type(model).__name__}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"--model {name} must have trainable parameters, but has none")
    return model


def prepare(model: nn.Module, images: Float[Tensor, "m ch side side"], name: str, seed: int) -> None:
    """Let a model see images before its first step, if it has a method `prepare`.

    Random numbers that it draws depend on `seed` only, and the global random states are not changed.

    Raises:
        ValueError: if the method fails, or replaces a parameter or changes the shape of the model's state.
    """
    if not isinstance(model, Prepared):
        return
    before = _held(model)
    with rngstate.kept():
        rngstate.seed_all(seed)
        with own_code(name, "failed in prepare(images)"):
            model.prepare(images)
    if _held(model) != before:
        raise ValueError(
            f"--model {name}: prepare(images) must keep the parameters and the shapes of the model's state, "
            "because the optimizer was built before. Change tensors in place, with copy_()."
        )
    model.train()


def _held(model: nn.Module) -> tuple[list[int], dict[str, Any]]:
    """The identities of the parameters, and the shape of every entry of the state."""
    shapes = {key: getattr(value, "shape", None) for key, value in model.state_dict().items()}
    return [id(parameter) for parameter in model.parameters()], shapes
