"""The trained model of a run in a file, and reading it again."""

from pathlib import Path

from jaxtyping import Float, Num
from torch import Tensor, nn

from samplewise.bench import models
from samplewise.bench.data import ImageData
from samplewise.files import checkpoints

__all__ = ["SavedModel", "load_model", "save_model"]

_FORMAT = "samplewise model 1"


class SavedModel(nn.Module):
    """A trained model that takes images as they are stored: it also normalizes them.

    Args:
        model: the network, which takes normalized images.
        mean: (channels,) of the training images.
        std: (channels,) of the training images.
        class_names: the names of the outputs, in order; empty if the labels were numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        mean: Float[Tensor, " ch"],
        std: Float[Tensor, " ch"],
        class_names: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.model, self.class_names = model, class_names
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Num[Tensor, "b ch side side"]) -> Float[Tensor, "b c"]:
        """The logits of stored images."""
        logits: Tensor = self.model((images.float() - self.mean[:, None, None]) / self.std[:, None, None])
        return logits


def save_model(path: Path, model: nn.Module, name: str, data: ImageData) -> None:
    """Write a trained model.

    Args:
        path: of the file, which is replaced.
        model: the network.
        name: of its builder, as in `--model`.
        data: what it was trained on.
    """
    content = {
        "format": _FORMAT,
        "name": name,
        "shape": [data.channels, data.classes, data.side],
        "mean": data.mean,
        "std": data.std,
        "class_names": list(data.class_names),
        "state": {key: value.detach().cpu() for key, value in model.state_dict().items()},
    }
    checkpoints.save(path, content)


def load_model(path: str | Path) -> SavedModel:
    """Read a model that `samplewise train --save-model` kept. It is in eval mode, on the CPU.

    Raises:
        ValueError: if the file is damaged or no such model, or its builder cannot be imported.
    """
    content = checkpoints.load(path, map_location="cpu")
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} must be a model of samplewise train --save-model.")
    channels, classes, side = content["shape"]
    model = models.build(content["name"], channels, classes, side, seed=0)
    try:
        model.load_state_dict(content["state"])
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit --model {content['name']}: {error}.") from error
    return SavedModel(model, content["mean"], content["std"], tuple(content["class_names"])).eval()
