"""`slim`: builds the narrow view of a network; `Slim`: runs it."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from torch import Tensor, nn

from samplewise.checks import Range, check_arguments, nearest
from samplewise.proxy.building import Plan, plan
from samplewise.proxy.norms import narrow_norm
from samplewise.proxy.roles import dress, named, norms_of
from samplewise.proxy.widths import Switch, fast_path

__all__ = ["Slim", "slim"]


class Slim:
    """The narrow view of a model: call it like the model.

    It has no parameters besides those of its norms, which lie inside the model. Gradients of a narrow
    pass reach the leading channels of the model's parameters and nothing else.
    """

    def __init__(self, model: nn.Module, head: str, width: float, switch: Switch, plan: Plan) -> None:
        self.model, self.width = model, width
        self.flops_share = plan.flops_share
        """Floating-point operations of a narrow forward of the example, over those of a full one."""
        self._head, self._switch, self._features = head, switch, plan.features
        self._narrow = plan.narrow

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """What the model returns, computed by the narrow view."""
        with self._switch.narrow(), fast_path(off=self._narrow > 0):
            return self.model(*inputs, **keywords)

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Weight (classes, d_narrow) and bias (classes,) of the last layer as the narrow pass uses them."""
        layer = self.head_layer
        return layer.weight[:, : self._features], layer.bias

    @property
    def head_layer(self) -> nn.Linear:
        """The model's last layer."""
        layer = self.model.get_submodule(self._head)
        if not isinstance(layer, nn.Linear):
            raise TypeError(f"the head {self._head!r} was replaced by a {type(layer).__name__}.")
        return layer

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the narrow norms; the model's own `parameters()` has them, too."""
        for norm in norms_of(self.model).values():
            yield from norm.narrow.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and statistics of the narrow norms, under their names in the model's `state_dict`."""
        found = {}
        for name, norm in norms_of(self.model).items():
            found.update(norm.narrow.state_dict(prefix=f"{name}.narrow."))
        return found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Read what `state_dict` gave.

        Raises:
            ValueError: if a name is missing or unknown.
        """
        own = self.state_dict()
        if wrong := sorted(set(own) ^ set(state)):
            raise ValueError(f"the state is not of this narrow view: {', '.join(wrong)} in one of them only.")
        self.model.load_state_dict(dict(state), strict=False)

    def __repr__(self) -> str:
        share = f"{100 * self.flops_share:.3g} % of the FLOPs"
        return f"Slim(width={self.width:g}, head={self._head!r}, {self._narrow} narrow layers, {share})"


def slim(
    model: nn.Module,
    width: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    head: str = "fc",
    *,
    example: Any,
    multiple: Annotated[int, Range(1)] = 1,
) -> Slim:
    """A narrow view of a model: the leading channels of its own parameters, and norms of its own.

    The proxy of DynaMS (section 3.3), a slimmable network (arXiv:1812.08928) of two widths: each layer
    uses the leading `int(c * width)` of its c channels; input channels and classes are not slimmed. Norms
    get a narrow norm of their own, which begins as the leading slice of theirs and is registered inside
    the model: build the view before the optimiser and before DDP, and load older checkpoints before it.
    Of networks with attention blocks the heads and the inner layers are slimmed, and what runs along the
    residual stream keeps its width.

    Train both widths in one step, the full pass first: `(loss(model(x)) + loss(view(x))).backward()`.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> slim(model, width=0.5, head="2", example=torch.zeros(2, 4))
    Slim(width=0.5, head='2', 2 narrow layers, 50 % of the FLOPs)

    Args:
        model: stays as it is, but for the classes of its layers and the narrow norms inside its norms.
        width: the share of the channels kept.
        head: the name of the last linear layer.
        example: a batch of at least two samples: the model's input, a tuple of positional arguments
            or a mapping of keyword arguments; of `(inputs, targets)` the first is taken.
        multiple: the channels kept are multiples of this, and never below 90 % of c * width.

    Raises:
        ValueError: for a module that has no narrow form, for code between the layers that would mix
            used with unused channels, and where the narrow pass fails; it names the module, and the
            model stays as it was.
    """
    check_arguments("slim", slim, {"width": width, "multiple": multiple})
    _check(model, head)
    found = plan(model, head, width, multiple, example)
    switch = Switch()
    dress(model, found.roles, switch)
    vars(model)["slim_switch"] = switch  # also where no layer is narrow: a second view is refused
    for name, size in found.norms.items():
        norm = model.get_submodule(name)
        norm.add_module("narrow", narrow_norm(norm, size))
    return Slim(model, head, width, switch, found)


def _check(model: nn.Module, head: str) -> None:
    layers = dict(model.named_modules())
    for name, layer in layers.items():
        if "slim_switch" in vars(layer):
            raise ValueError(f"{named(name, layer)} belongs to a narrow view already. Build a fresh model.")
        if any(isinstance(held, Tensor) and not held.is_leaf for held in vars(layer).values()):
            raise ValueError(f"{named(name, layer)} holds a weight computed from others; undo this first.")
    if any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
        raise ValueError("the model has lazy layers: run it on the example once, then build the narrow view.")
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    if isinstance(model, wrappers) or hasattr(model, "_orig_mod"):
        raise ValueError(f"build the narrow view first and wrap then: the model is a {type(model).__name__}.")
    if head not in layers:
        linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
        raise ValueError(
            f"the model has no layer {head!r}.{nearest(head, layers)} Linear layers: {', '.join(linear)}."
        )
    if type(layers[head]) is not nn.Linear:
        raise ValueError(f"head must name a linear layer, but {named(head, layers[head])} is none.")
