"""What `samplewise methods NAME` says of a method: its facts, what it needs, and its parameters."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from samplewise.checks import Range
from samplewise.policy import Policy, Recipe

FACTS = ("Signal", "Memory", "Choice", "Cost")
"""What the docstring of a recipe ends with."""
_SENTENCES = re.compile(r"(?<=[.:;])\s+(?=[A-Z`])")
_CITED = re.compile(r"`[^`]*`")
SHARED = {
    "at": "The epoch before which the scores are made, or `end` for after the last one.",
    "balance": "Choose inside each class, so that the classes keep the same share.",
    "block": "Classes with more samples than this are split at random.",
    "fit": "Shift the shares so that their average is exactly `keep`. False takes published numbers.",
    "keep": "The share of the samples that is kept.",
    "nested": "The candidates are only the samples of the period before, in place of all.",
    "period": "The epochs between two selections.",
    "subset": "The coreset: a `Subset`, or the Parquet file of one.",
}
"""Parameters that mean the same in several recipes. A sentence of the recipe's own docstring comes first."""
OWN = {
    "alignprune.keep": "The share that trains of the samples below the mean score, with weight low / kept.",
    "alignprune.reference": "The samples with right labels: a `Subset`, or its file. None: all samples.",
    "alignprune.window": "The number of last epochs whose losses are compared with the reference.",
    "always_set.keep": "The share of the given and the drawn samples together.",
    "always_set.period": "The epochs between two draws of the other samples.",
    "alignprune.until": "From this share of the epochs on, all samples train.",
    "aum.of": "What the margin is taken of: the `probability` of each class, or its `logit`.",
    "auto_assist.base": "The least probability of a row to be accepted.",
    "ccs.keep": SHARED["keep"],
    "ccs.strata": "The number of strata of equal width.",
    "color.conditional": "Reference losses of the model that was also trained on data of the target.",
    "color.marginal": "Reference losses of the small model that was trained on data like the training set.",
    "craig.keep": SHARED["keep"],
    "craig_dynamic.fit": "`keep` is the average over the training, the warm-up included.",
    "craig_dynamic.period": SHARED["period"],
    "d2.keep": SHARED["keep"],
    "d2.score": "The static method whose score is the difficulty, such as `forgetting` or `aum`.",
    "dual.exponent": "The power of 1 - keep in the density: how fast easier samples are preferred.",
    "dual.T": "The number of epochs that are recorded.",
    "dual.window": "The number of consecutive epochs of a window, the paper's J.",
    "dual.total": "The sum a + b of the parameters of the density.",
    "dyna_ce.schedule": "How the share falls: `linear`, `power` or `constant`.",
    "dyna_random.schedule": "How the share falls: `linear`, `power` or `constant`.",
    "dynams.schedule": "How the share falls: `linear`, `power` or `constant`.",
    "dynams_proxy.schedule": "How the share falls: `linear`, `power` or `constant`.",
    "dynams_proxy.keep": "The average share over the training.",
    "dynams_proxy.signed": "Select confident mistakes first. The paper's distances have no sign.",
    "dynams.signed": "Select confident mistakes first. The paper's distances have no sign.",
    "dynams.data": "The data set whose published numbers are taken, with `fit=False`.",
    "dynams_proxy.data": "The data set whose published numbers are taken, with `fit=False`.",
    "dyna_random.data": "The data set whose published numbers are taken, with `fit=False`.",
    "dyna_ce.data": "The data set whose published numbers are taken, with `fit=False`.",
    "entropy.at": SHARED["at"],
    "epsilon_greedy.alpha": "The weight of the newest loss in the average.",
    "epsilon_greedy.eps": "The share of the selected samples that is drawn from all others.",
    "epsilon_greedy.period": SHARED["period"],
    "eswp.anneal": "The share of the epochs, at the start and at the end, in which every row trains.",
    "eswp.beta1": "The weight of the score in w = beta1 s + (1 - beta1) loss.",
    "eswp.beta2": "The weight of the old score in s <- beta2 s + (1 - beta2) loss.",
    "eswp.keep": "The share of every meta-batch that trains.",
    "evolved_sampling.beta1": "The weight of the score in w = beta1 s + (1 - beta1) loss.",
    "evolved_sampling.beta2": "The weight of the old score in s <- beta2 s + (1 - beta2) loss.",
    "evolved_sampling.keep": "The share of every meta-batch that trains.",
    "forgetting.never": "The score of one that was never right: `inf`, `zero`, or the number of `epochs`.",
    "gradmatch.keep": SHARED["keep"],
    "gradmatch_dynamic.eps": "Stop early when the residual is below this times the sum of the gradients.",
    "gradmatch_dynamic.fit": "`keep` is the average over the training, the warm-up included.",
    "gradmatch_dynamic.period": SHARED["period"],
    "gradmatch_dynamic.lam": "The ridge of the matching pursuit.",
    "grand.bias": "Whether the last layer has a bias, in its closed form.",
    "grand.layer": "The gradient of all parameters (`full`), or in closed form that of the `last` layer.",
    "greats_last_layer.keep": "The share of every meta-batch that trains.",
    "herding.keep": SHARED["keep"],
    "importance_sampling.k": "The power of the weight: 1 is unbiased, 0 does not reweight.",
    "importance_sampling.smoothing": "What is added to the loss before drawing.",
    "ies.differences": "How often differences of losses are taken: 1 is Algorithm 1 of the paper.",
    "kakurenbo.lr_from_actual": "The learning rate follows the share that was hidden in fact.",
    "kakurenbo.tau": "Hide only samples that are right with at least this confidence.",
    "moderate.center": "The centre of a class: the `median` of its features, or their `mean`.",
    "moderate.keep": SHARED["keep"],
    "noise_budget.least": "The least probability to stay. No weight is above 1 / least.",
    "noise_budget.noise": "How much the variance of the gradient may grow: R is at most 1 + noise.",
    "noise_budget.signal": "What stands for the norm of the gradient: `el2n`, `loss` or `grand`.",
    "online_batch_selection.pressure": "How much more likely the first rank is than the last, at first.",
    "online_ms.keep": "The share of every meta-batch that trains.",
    "ordered_sgd.keep": "The share of every meta-batch that trains, or `adaptive`, the paper's rule.",
    "rho_loss.irreducible": "The irreducible losses: a file of `samplewise score`, or a table.",
    "rho_loss.keep": "The share of every meta-batch that trains.",
    "rho_loss.temperature": "With `softmax`: what the scores are divided by before the draw.",
    "rho_tokens.reference": "Stored losses of the reference: a file, a table, or a model.",
    "selective_backprop.beta": "The power of P(l). About 1 / (beta + 1) of the rows are accepted.",
    "seta.alpha": "The share of the loss groups that the window covers.",
    "svp.score": "What the proxy records: `forgetting` or `entropy`.",
    "tdds.T": "The number of epochs that are recorded.",
    "tdds.absolute": "Where the absolute value is taken: `inside` is the official code, `outside` the paper.",
    "tdds.average": "How windows are averaged: `ema` with weight `beta` on the newest, or `mean`.",
    "tdds.data": "The data set whose published `T` and `window` are taken; `auto` decides by the classes.",
    "tdds.depth1": "What depth 1 measures: `kl`, `ce` or `el2n`.",
    "tdds.keep": SHARED["keep"],
    "tdds.sqrt": "Take the root of the spread, as the official code does.",
    "tdds.weighting": "How kept samples are weighted: by the scaled score, by the `raw` score, or not.",
    "ucb.c": "What the variance is multiplied by before it is added to the mean loss.",
    "ucb.period": SHARED["period"],
    "uds.depth": "The second size of the projection, the paper's d_2.",
    "uds.keep": "The share of every meta-batch that trains.",
    "uds.length": "The largest number of tokens, the paper's N.",
    "uds.width": "The first size of the projection, the paper's d_1.",
    "uncertainty.period": SHARED["period"],
    "uncertainty_ema.period": SHARED["period"],
}
"""Where no sentence of a docstring says it, or the sentence is not clear alone."""


def facts(made: Recipe) -> dict[str, str]:
    """Signal, memory, choice and cost, as the docstring says them."""
    text = " ".join((inspect.getdoc(made) or "").split())
    begin = [(found.start(), word) for word in FACTS if (found := re.search(rf"\b{word}: ", text))]
    ends = [start for start, _ in begin[1:]] + [len(text)]
    return {
        word.lower(): text[start + len(word) + 2 : end].strip()
        for (start, word), end in zip(begin, ends, strict=True)
    }


def description(made: Recipe) -> list[str]:
    """The paragraphs between the first sentence and the facts."""
    paragraphs = (inspect.getdoc(made) or "").split("\n\n")[1:]
    found = [" ".join(paragraph.split()) for paragraph in paragraphs]
    return [paragraph for paragraph in found if not paragraph.startswith("Signal: ")]


def needs(made: Recipe) -> list[str]:
    """What forward and data must give besides losses."""
    policy = _example(made)
    found = [name for name in getattr(policy, "needs", ()) if name != "loss"]
    if isinstance(policy, Policy):
        found += ["a target set"] * any("target_" in name for name in policy.reads if name != "target")
        found += ["a narrow view of the model"] * policy.proxy
        found += ["passes over all samples"] * ("pass" in policy.source)
    files = ("subset", "irreducible", "conditional", "marginal")
    parameters = made.signature.parameters
    found += ["a file or table" for name in files[:3] if name in parameters]
    if made.level == "static":
        found += ["a scoring run before the training"] * (made.source != "none")
    return found


def parameters(made: Recipe) -> list[dict[str, str]]:
    """Each parameter with its default, the values it may have, and its meaning."""
    return [
        {
            "name": p.name,
            "default": "" if p.default is p.empty else str(p.default),
            "allowed": allowed(p.annotation),
            "meaning": meaning(made, p.name),
        }
        for p in made.signature.parameters.values()
    ]


def meaning(made: Recipe, name: str) -> str:
    """What a parameter means, in a sentence; empty if nothing says it."""
    if own := OWN.get(f"{made.name}.{name}"):
        return own
    text = " ".join((inspect.getdoc(made) or "").split())
    for sentence in _SENTENCES.split(text):
        cited = _CITED.findall(sentence)
        if any(re.match(rf"`{name}\b", word) for word in cited) and not sentence.startswith(FACTS):
            return sentence
    return SHARED.get(name, "")


def allowed(annotation: Any) -> str:
    """The values that a parameter may have, in words."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        ranges = [str(note) for note in notes if isinstance(note, Range)]
        kinds = [word for word in _words(inner) if word not in ("number", "whole number")]
        whole = "whole number" in _words(inner)
        named = [f"{'whole numbers ' * whole}{one}" for one in ranges] or list(_words(inner))
        return ", ".join([*named, *kinds] if ranges else named)
    return ", ".join(_words(annotation))


def _words(annotation: Any) -> list[str]:
    if get_origin(annotation) is Annotated:
        return [allowed(annotation)]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if args := get_args(annotation):
        if get_origin(annotation) in (tuple, list, Callable) or not isinstance(annotation, type):
            union = type(annotation).__name__ in ("UnionType", "_UnionGenericAlias", "Union")
            if union:
                return list(dict.fromkeys(word for arg in args for word in _words(arg)))
        return [str(annotation).replace("typing.", "").replace("collections.abc.", "")]
    plain: Mapping[Any, str] = {bool: "True, False", int: "whole number", float: "number", str: "text"}
    plain = {**plain, type(None): "None"}
    if annotation in plain:
        return [plain[annotation]]
    name = getattr(annotation, "__name__", str(annotation))
    return [{"Schedule": "a schedule", "Path": "a path"}.get(name, name)]


def _example(made: Recipe) -> Any:
    """The method with its defaults, or as the recipe makes a small one."""
    try:
        return made()
    except (TypeError, ValueError):
        return made.toy(8) if made.toy is not None else None
