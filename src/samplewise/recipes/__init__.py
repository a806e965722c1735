"""The registered methods. Each is a function that returns a `Policy`; one paper, one file."""

import ast
import warnings
from typing import Any

from samplewise.checks import nearest
from samplewise.policy import REGISTRY, Policy, Recipe
from samplewise.recipes.aum import aum
from samplewise.recipes.auto_assist import auto_assist
from samplewise.recipes.ccs import ccs
from samplewise.recipes.craig import craig, craig_dynamic
from samplewise.recipes.dual import dual
from samplewise.recipes.dyn_unc import dyn_unc
from samplewise.recipes.dynams import dyna_ce, dyna_random, dynams, dynams_proxy, online_ms
from samplewise.recipes.el2n import el2n
from samplewise.recipes.entropy import entropy
from samplewise.recipes.epsilon_greedy import epsilon_greedy
from samplewise.recipes.evolved_sampling import eswp, evolved_sampling
from samplewise.recipes.fixed import fixed
from samplewise.recipes.forgetting import forgetting
from samplewise.recipes.full import full
from samplewise.recipes.gradmatch import gradmatch, gradmatch_dynamic
from samplewise.recipes.grand import grand
from samplewise.recipes.herding import herding
from samplewise.recipes.importance_sampling import importance_sampling
from samplewise.recipes.infobatch import infobatch
from samplewise.recipes.kakurenbo import kakurenbo
from samplewise.recipes.loss_sampling import loss_sampling
from samplewise.recipes.moderate import moderate
from samplewise.recipes.online_batch_selection import online_batch_selection
from samplewise.recipes.ordered_sgd import ordered_sgd
from samplewise.recipes.random import random
from samplewise.recipes.random_batch import random_batch
from samplewise.recipes.random_dynamic import random_dynamic
from samplewise.recipes.rho_loss import rho_loss
from samplewise.recipes.selective_backprop import selective_backprop
from samplewise.recipes.svp import svp
from samplewise.recipes.tdds import tdds
from samplewise.recipes.ucb import ucb
from samplewise.recipes.uncertainty import uncertainty, uncertainty_ema

__all__ = [
    "all",
    "aum",
    "auto_assist",
    "ccs",
    "craig",
    "craig_dynamic",
    "dual",
    "dyn_unc",
    "dyna_ce",
    "dyna_random",
    "dynams",
    "dynams_proxy",
    "el2n",
    "entropy",
    "epsilon_greedy",
    "eswp",
    "evolved_sampling",
    "fixed",
    "forgetting",
    "full",
    "get",
    "gradmatch",
    "gradmatch_dynamic",
    "grand",
    "herding",
    "importance_sampling",
    "infobatch",
    "kakurenbo",
    "loss_sampling",
    "moderate",
    "online_batch_selection",
    "online_ms",
    "ordered_sgd",
    "parse",
    "random",
    "random_batch",
    "random_dynamic",
    "rho_loss",
    "selective_backprop",
    "svp",
    "tdds",
    "ucb",
    "uncertainty",
    "uncertainty_ema",
]


def all() -> dict[str, Recipe]:
    """Every registered recipe by name, others' included once their module is imported."""
    return dict(REGISTRY)


def get(name: str) -> Recipe:
    """The recipe of that name; an unknown one is an error that suggests the nearest."""
    if name not in REGISTRY:
        if ":" in name:
            start = name.split(":")[0]
            raise ValueError(
                f"parameters go into a policy: sw.recipes.{start}(...), or sw.recipes.parse({name!r})."
            )
        known = ", ".join(sorted(REGISTRY))
        raise ValueError(f"unknown method {name!r}.{nearest(name, REGISTRY)} Known: {known}.")
    return REGISTRY[name]


def parse(spec: str) -> Policy:
    """A policy from its command-line form.

    >>> parse("ucb:keep=0.3,period=5")
    recipes.ucb(keep=0.3, period=5, alpha=0.8, c=1.0)
    """
    name, _, said = spec.partition(":")
    made = get(name)
    params: dict[str, Any] = {}
    for item in _split(said):
        word, equals, value = item.partition("=")
        key = word.strip()
        if not equals:
            raise ValueError(f"{spec!r}: parameters are written NAME:key=value,key=value, got {item!r}.")
        if key in params:
            raise ValueError(f"{spec!r}: {key} is given twice. Give it once.")
        params[key] = _value(value.strip())
    policy: Policy = made(**params)
    return policy


def _value(said: str) -> Any:
    """A Python literal, or else the text itself."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the parser warns of text such as 0.3or
            return ast.literal_eval(said)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return said


def _split(said: str) -> list[str]:
    """Split at commas outside brackets, so that milestones=(0.3,0.6) stays whole."""
    items, depth = [""], 0
    for letter in said:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            items.append("")
        else:
            items[-1] += letter
    return [item for item in items if item.strip()]
