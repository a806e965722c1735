"""A policy back from its repr, such as `recipes.tdds(keep=0.3)`: read as literals, never evaluated."""

import ast

from samplewise.checks import nearest
from samplewise.policy import REGISTRY, Policy

__all__ = ["from_repr"]


def from_repr(written: str) -> Policy:
    """The policy that a table or a subset names.

    Raises:
        ValueError: for anything but a registered recipe with literal parameters.

    >>> from_repr("recipes.ucb(keep=0.3, period=5)")
    recipes.ucb(keep=0.3, period=5, alpha=0.8, c=1.0)
    """
    try:
        call = ast.parse(written, mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.args:
        raise ValueError(
            f"{written!r} is not the repr of a recipe, as in recipes.tdds(keep=0.3). To choose from a table, "
            "register a policy of your own with @recipe."
        )
    name = call.func.attr
    if name not in REGISTRY:
        raise ValueError(
            f"no recipe {name!r} is registered.{nearest(name, REGISTRY)} "
            "Import the module that defines it before the scores are used."
        )
    params = {}
    for word in call.keywords:
        try:
            params[str(word.arg)] = ast.literal_eval(word.value)
        except ValueError:
            said = ast.unparse(word.value)
            raise ValueError(f"{written!r}: {word.arg}={said} is no plain value that can be read.") from None
    policy: Policy = REGISTRY[name](**params)
    return policy
