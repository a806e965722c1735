"""Methods as the command line names them: a recipe, and the settings of its own run after an `@`."""

from collections.abc import Iterable
from typing import Any

from samplewise import recipes
from samplewise.checks import nearest
from samplewise.coresets.parse import divide, items
from samplewise.policy import Policy

__all__ = ["NEEDS", "OWN", "SHARED", "by_keep", "chooses_coreset", "refuse_unused", "split"]

_CORESET = ("weights", "normalize", "coreset_batch_size")
OWN = (
    *("epochs", "batch_size", "lr", "optimizer", "weight_decay", "momentum"),
    *("schedule", "milestone", "factor", "warmup", "power", "proxy_width", "strategy", "scoring", *_CORESET),
)
"""The settings that one method's run may have for itself."""
_TASK = "Methods can be compared only on the same task"
_TIMES = "Times can be compared only on the same terms"
_SCORES = "One scoring run serves all static methods"
SHARED: dict[str, str] = {
    **dict.fromkeys(("data", "image_column", "label_column", "size", "limit", "model", "augment"), _TASK),
    **dict.fromkeys(("label_smoothing", "label_noise", "noise", "seeds", "subset", "test_every"), _TASK),
    **dict.fromkeys(("text_column", "max_length", "targets", "groups", "shares"), _TASK),
    **dict.fromkeys(("imbalance", "per_class", "image_corruption", "corruption"), _TASK),
    **dict.fromkeys(("device", "amp", "workers", "threads", "history", "gate"), _TIMES),
    **dict.fromkeys(("score_model", "combine", "fit"), _SCORES),
    "method": "A method names itself",
}
"""The settings that all methods share, each with the reason."""
NEEDS = {"milestone": "step", "factor": "step", "power": "polynomial"}
"""Settings that have an effect with one schedule only."""


def split(method: str) -> tuple[str, dict[str, Any]]:
    """Split `RECIPE@key=value,key=value` into the recipe's text and the settings of its run.

    The settings begin after the last `@` that is not in quotes or brackets. Their values are Python
    literals, or text. `Settings.of` checks them.

    Raises:
        ValueError: for a setting that is unknown, given twice, or shared by all methods.

    >>> split("ucb:keep=0.3,period=5@lr=0.1,schedule=cosine")
    ('ucb:keep=0.3,period=5', {'lr': 0.1, 'schedule': 'cosine'})
    >>> split("ucb")
    ('ucb', {})
    """
    at = _last_at(method)
    if at is None:
        return method, {}
    spec, written, own = method[:at].rstrip(), method[at + 1 :], dict[str, Any]()
    for key, value in items(written, method, "METHOD@key=value,key=value"):
        if key in SHARED:
            raise ValueError(
                f"{method!r:.200}: {key} cannot be set for one method. {SHARED[key]}. Use "
                f"--{key.replace('_', '-')} for all of them."
            )
        if key not in OWN:
            raise ValueError(
                f"{method!r:.200}: unknown setting {key!r}.{nearest(key, OWN)} A method may have its own "
                f"{', '.join(OWN)}. A name with an @ needs quotes: key='a@b'."
            )
        if key in own:
            raise ValueError(f"{method!r:.200}: {key} is given twice. Give it once.")
        own[key] = value
    if not own:
        raise ValueError(f"{method!r:.200} must have settings after the @, as in {spec:.100}@lr=0.1.")
    if "milestone" in own and not isinstance(own["milestone"], tuple | list):
        own["milestone"] = (own["milestone"],)
    return spec, own


def refuse_unused(method: str, policy: Any, schedule: str) -> None:
    """Raise if a setting of the method's own run would have no effect.

    Args:
        method: as written.
        policy: what its recipe makes.
        schedule: how the learning rate of its run changes.
    """
    for key in split(method)[1]:
        reason = None
        if key in _CORESET and not chooses_coreset(policy):
            reason = "the method chooses no coreset"
        elif key == "proxy_width" and not getattr(policy, "proxy", False):
            reason = "the method has no proxy"
        elif key == "scoring" and isinstance(policy, Policy) and not policy.scores:
            reason = "the method has no forwards for scores"
        elif schedule != NEEDS.get(key, schedule):
            reason = f"it needs schedule={NEEDS[key]}, but the schedule is {schedule}"
        elif key == "momentum" and schedule == "torch_onecycle":
            reason = "the schedule torch_onecycle moves the momentum itself"
        if reason is not None:
            raise ValueError(f"{method!r:.200}: {key} has no effect: {reason}. Leave it out.")


def by_keep(methods: Iterable[str]) -> dict[str, tuple[str, float]]:
    """For each method with a constant `keep`: its text without it, and its value.

    Methods with the same text differ only in `keep`. A method without `keep` is left out.

    >>> by_keep(["full", "ucb:keep=0.3,period=5@lr=0.1", "rs2"])
    {'ucb:keep=0.3,period=5@lr=0.1': ('ucb:period=5@lr=0.1', 0.3), 'rs2': ('rs2', 0.5)}
    """
    found = {}
    for method in methods:
        spec, own = split(method)
        name, params = divide(spec)
        default = getattr(recipes.parse(spec), "params", {}).get("keep")
        keep = params.pop("keep", default)
        if isinstance(keep, int | float) and not isinstance(keep, bool):
            found[method] = _text(_text(name, params, ":"), own, "@"), float(keep)
    return found


def _text(name: str, given: dict[str, Any], mark: str) -> str:
    return name + mark * bool(given) + ",".join(f"{key}={value}" for key, value in given.items())


def chooses_coreset(policy: Any) -> bool:
    """Whether a method needs a scoring run and then trains on the coreset that it chose."""
    return isinstance(policy, Policy) and policy.level == "static" and policy.fixed_subset is None


def _last_at(method: str) -> int | None:
    """The place of the last `@` outside quotes and brackets."""
    found, depth, quote = None, 0, ""
    for place, letter in enumerate(method):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "@" and not depth:
            found = place
        else:
            depth += (letter in "([") - (letter in ")]")
    return found
