"""`Forward`: turns stored images into the `Outputs` of a model or of its narrow view."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

import samplewise as sw
from samplewise.bench.data import ImageData
from samplewise.bench.settings import Settings
from samplewise.proxy import Slim, slim

Images = Num[Tensor, "b ch side side"]


class Forward:
    """The forward of a run: takes a batch (images, labels) and returns `Outputs` for every recipe.

    With label smoothing, `Outputs.loss` is the smoothed loss, which methods observe. Signals that are made
    from logits and labels (margins, EL2N, gradients of the last layer) do not change.

    `proxy` is the same forward with the narrow view of the model, or None.
    """

    def __init__(self, model: nn.Module, data: ImageData, settings: Settings, proxy: bool) -> None:
        self.model, self.data, self.settings, self.classes = model, data, settings, data.classes
        self.device = torch.device(settings.device or "cpu")
        self.mean = data.mean.to(self.device)[:, None, None]
        self.std = data.std.to(self.device)[:, None, None]
        self.head = last_layer(model, data.classes)
        self._features: Tensor | None = None
        self._slim: Slim | None = None
        if proxy:
            example = torch.zeros(2, data.channels, data.side, data.side, device=self.device)
            self._slim = slim(model, settings.proxy_width, head=self._named_head(), example=example)
        self.proxy: Callable[[tuple[Tensor, Tensor]], sw.Outputs] | None = self._narrow if proxy else None
        if self.head is not None:
            self.head.register_forward_pre_hook(self._store_features)

    def of(self, model: nn.Module) -> "Forward":
        """The same with another model, which scores for this one."""
        return Forward(model, self.data, self.settings, proxy=False)

    def _named_head(self) -> str:
        names: dict[nn.Module, str] = {layer: name for name, layer in self.model.named_modules()}
        if self.head is None:
            raise ValueError(
                f"--model {self.settings.model} must have a linear layer with {self.classes} outputs to "
                "make a narrow view, but it has none"
            )
        return names[self.head]

    def _store_features(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features = inputs[0].detach() if inputs else None

    def normalized(self, images: Images) -> Float[Tensor, "b ch side side"]:
        """What the model gets for stored pixels."""
        return (images.to(self.device, non_blocking=True).float() - self.mean) / self.std

    def logits(self, images: Images, narrow: bool = False) -> Float[Tensor, "b c"]:
        """Return the logits for stored pixels."""
        x = self.normalized(images)
        net: Any = self._slim if narrow else self.model
        # `enabled=False` would also undo the autocast that scoring may be in.
        with torch.autocast(self.device.type, torch.bfloat16) if self.settings.amp else nullcontext():
            out = net(x)
        if not isinstance(out, Tensor) or out.shape != (len(x), self.classes):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"--model {self.settings.model} must return logits of shape "
                f"({len(x)}, {self.classes}), got {got}"
            )
        return out.float()

    def __call__(self, batch: tuple[Tensor, Tensor]) -> sw.Outputs:
        head = None
        if self.head is not None:
            head = self.head.weight.detach(), None if self.head.bias is None else self.head.bias.detach()
        return self._outputs(batch, head, narrow=False)

    def _narrow(self, batch: tuple[Tensor, Tensor]) -> sw.Outputs:
        if self._slim is None:
            raise ValueError("this forward has no narrow view: build it with proxy=True")
        weight, bias = self._slim.head()
        return self._outputs(batch, (weight.detach(), None if bias is None else bias.detach()), narrow=True)

    def _outputs(
        self, batch: tuple[Tensor, Tensor], head: tuple[Tensor, Tensor | None] | None, narrow: bool
    ) -> sw.Outputs:
        images, labels = batch
        labels = labels.to(self.device, non_blocking=True)
        logits = self.logits(images, narrow)
        smoothing = self.settings.label_smoothing
        loss = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        if head is None or self._features is None:
            return sw.Outputs(loss=loss, logits=logits, targets=labels)
        return sw.Outputs(loss, logits, labels, self._features.flatten(1).float(), head)


def last_layer(model: nn.Module, classes: int) -> nn.Linear | None:
    """The last linear layer with one output per class, or None. Its input is the features of a sample."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    fitting = [layer for layer in linear if layer.out_features == classes]
    return fitting[-1] if fitting else None
