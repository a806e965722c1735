"""`slim` builds the narrow view of a network; `Slim` runs it."""

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
    """The narrow view of a model. Call it like the model.

    Its only own parameters are those of its narrow norms, which are registered in the model. All other
    weights are the leading channels of the model's weights, and only these get gradients in a narrow pass.
    """

    def __init__(self, model: nn.Module, head: str, width: float, switch: Switch, plan: Plan) -> None:
        self.model, self.width = model, width
        self.flops_share = plan.flops_share
        """FLOPs of a narrow forward of the example, divided by those of a full forward."""
        self._head, self._switch, self._features = head, switch, plan.features
        self._narrow = plan.narrow

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the model with the narrow view and return its output."""
        with self._switch.narrow(), fast_path(off=self._narrow > 0):
            return self.model(*inputs, **keywords)

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Return the weight (classes, d_narrow) and the bias (classes,) or None that the narrow pass uses."""
        layer = self.head_layer
        return layer.weight[:, : self._features], layer.bias

    @property
    def head_layer(self) -> nn.Linear:
        """The last layer of the model."""
        layer = self.model.get_submodule(self._head)
        if not isinstance(layer, nn.Linear):
            raise TypeError(
                f"the head {self._head!r} must stay a Linear layer, but it was replaced by a "
                f"{type(layer).__name__}. Build a new narrow view."
            )
        return layer

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the narrow norms. `model.parameters()` contains them too."""
        for norm in norms_of(self.model).values():
            yield from norm.narrow.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and statistics of the narrow norms, under their names in the model's `state_dict`."""
        found = {}
        for name, norm in norms_of(self.model).items():
            found.update(norm.narrow.state_dict(prefix=f"{name}.narrow."))
        return found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load a state of `state_dict`.

        Raises:
            ValueError: if a name is missing or unknown.
        """
        own = self.state_dict()
        if wrong := sorted(set(own) ^ set(state)):
            raise ValueError(
                f"the state must have the names of this narrow view, but these are missing or unknown: "
                f"{', '.join(wrong)}. Load a state of the same model and width."
            )
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
    """Build a narrow view of a model: it uses the leading channels of the model's weights, and its own norms.

    Each layer uses the leading `int(c * width)` of its c channels. Input channels and classes keep their
    number. Each norm gets a second, narrow norm, initialised with the leading slice of its parameters and
    registered in the model. So build the view before the optimizer and before DDP, and load older checkpoints
    before it. In networks with attention, heads and inner layers of feed-forward blocks are slimmed; the
    residual stream keeps its width.

    Train both widths in one step, the full pass first: `(loss(model(x)) + loss(view(x))).backward()`.

    Source: the proxy of DynaMS (section 3.3), a slimmable network (arXiv:1812.08928) of two widths.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> slim(model, width=0.5, head="2", example=torch.zeros(2, 4))
    Slim(width=0.5, head='2', 2 narrow layers, 50 % of the FLOPs)

    Args:
        model: the network. Only the classes of its layers change, and its norms get narrow norms.
        width: the share of channels to keep.
        head: the name of the last linear layer.
        example: a batch of at least two samples: the model's input, a tuple of positional arguments,
            or a mapping of keyword arguments. If it is `(inputs, targets)`, only `inputs` is used.
        multiple: the number of kept channels is a multiple of this, and at least 90 % of c * width.

    Raises:
        ValueError: if a module has no narrow form, if code between layers mixes used and unused channels, or
            if the narrow pass fails. The error names the module, and the model is not changed.
    """
    check_arguments("slim", slim, {"width": width, "multiple": multiple})
    _check(model, head)
    found = plan(model, head, width, multiple, example)
    switch = Switch()
    dress(model, found.roles, switch)
    vars(model)["slim_switch"] = switch  # even if no layer is narrow, so that a second view is an error
    for name, size in found.norms.items():
        norm = model.get_submodule(name)
        norm.add_module("narrow", narrow_norm(norm, size))
    return Slim(model, head, width, switch, found)


def _check(model: nn.Module, head: str) -> None:
    layers = dict(model.named_modules())
    for name, layer in layers.items():
        if "slim_switch" in vars(layer):
            raise ValueError(f"{named(name, layer)} already has a narrow view. Build a new model.")
        if any(isinstance(held, Tensor) and not held.is_leaf for held in vars(layer).values()):
            raise ValueError(
                f"{named(name, layer)} cannot be slimmed: its weight is computed from other parameters. "
                "Remove the parametrization first."
            )
    if any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
        raise ValueError(
            "the model has lazy layers without a shape. Run the model on the example first, then build the "
            "narrow view."
        )
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    if isinstance(model, wrappers) or hasattr(model, "_orig_mod"):
        raise ValueError(
            f"the model must not be wrapped yet, got a {type(model).__name__}. Build the narrow view "
            "first, then wrap the model."
        )
    if head not in layers:
        linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
        raise ValueError(
            f"head must name a linear layer, but the model has no layer {head!r}.{nearest(head, layers)} "
            f"Linear layers: {', '.join(linear)}."
        )
    if type(layers[head]) is not nn.Linear:
        raise ValueError(f"head must name a linear layer, but {named(head, layers[head])} is not one.")
