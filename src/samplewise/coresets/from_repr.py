"""A policy back from its repr, such as `recipes.tdds(keep=0.3)`: read as literals, never evaluated."""

import ast

import samplewise
from samplewise.checks import nearest
from samplewise.policy import Policy

__all__ = ["from_repr"]


def from_repr(written: str) -> Policy:
    """The policy that a table or a subset names.

    Raises:
        ValueError: for anything but a registered recipe with literal parameters.

    >>> from_repr("recipes.ucb(keep=0.3, period=5)")
    recipes.ucb(keep=0.3, period=5, alpha=0.8, c=1.0)
    """
    call = _call(written)
    if call is None:
        raise ValueError(
            f"{written!r:.200} is not the repr of a recipe, as in recipes.tdds(keep=0.3). To choose from a "
            "table, register a policy of your own with @recipe."
        )
    name, keywords = call
    registered = samplewise.recipes.all()  # loads them, where nothing has yet
    if name not in registered:
        raise ValueError(
            f"no recipe {name!r} is registered.{nearest(name, registered)} "
            "Import the module that defines it before the scores are used."
        )
    params = {}
    for word, value in keywords.items():
        try:
            params[word] = ast.literal_eval(value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            said = f"{word}={ast.unparse(value):.80}"
            raise ValueError(f"{written!r:.200}: {said} is no plain value that can be read.") from None
    policy = registered[name](**params)
    if not isinstance(policy, Policy):
        raise ValueError(f"{written!r:.200} is a method without a Policy: no table holds its scores.")
    return policy


def _call(written: str) -> tuple[str, dict[str, ast.expr]] | None:
    """The name and the parameters of `recipes.NAME(...)`; None for any other text."""
    try:
        call = ast.parse(written, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: parentheses without end
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.args:
        return None
    keywords = {word.arg: word.value for word in call.keywords if word.arg is not None}
    return (call.func.attr, keywords) if len(keywords) == len(call.keywords) else None
