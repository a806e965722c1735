"""The registered methods. Each is a function that returns a `Policy`; one paper, one file."""

from samplewise.coresets.parse import get, parse
from samplewise.policy import REGISTRY, Recipe
from samplewise.recipes.alignprune import alignprune
from samplewise.recipes.always_set import always_set
from samplewise.recipes.aum import aum
from samplewise.recipes.auto_assist import auto_assist
from samplewise.recipes.ccs import ccs
from samplewise.recipes.color import color
from samplewise.recipes.craig import craig, craig_dynamic
from samplewise.recipes.d2 import d2
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
from samplewise.recipes.greats_last_layer import greats_last_layer
from samplewise.recipes.herding import herding
from samplewise.recipes.ies import ies
from samplewise.recipes.importance_sampling import importance_sampling
from samplewise.recipes.infobatch import infobatch
from samplewise.recipes.kakurenbo import kakurenbo
from samplewise.recipes.loss_sampling import loss_sampling
from samplewise.recipes.moderate import moderate
from samplewise.recipes.noise_budget import noise_budget
from samplewise.recipes.online_batch_selection import online_batch_selection
from samplewise.recipes.ordered_sgd import ordered_sgd
from samplewise.recipes.random import random
from samplewise.recipes.random_batch import random_batch
from samplewise.recipes.random_dynamic import random_dynamic
from samplewise.recipes.rho_loss import rho_loss
from samplewise.recipes.rho_tokens import rho_tokens
from samplewise.recipes.rs2 import rs2
from samplewise.recipes.selective_backprop import selective_backprop
from samplewise.recipes.seta import seta
from samplewise.recipes.svp import svp
from samplewise.recipes.tdds import tdds
from samplewise.recipes.token_random import token_random
from samplewise.recipes.token_topk import token_topk
from samplewise.recipes.ucb import ucb
from samplewise.recipes.uds import uds
from samplewise.recipes.uncertainty import uncertainty, uncertainty_ema

__all__ = [
    "alignprune",
    "all",
    "always_set",
    "aum",
    "auto_assist",
    "ccs",
    "color",
    "craig",
    "craig_dynamic",
    "d2",
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
    "greats_last_layer",
    "herding",
    "ies",
    "importance_sampling",
    "infobatch",
    "kakurenbo",
    "loss_sampling",
    "moderate",
    "noise_budget",
    "online_batch_selection",
    "online_ms",
    "ordered_sgd",
    "parse",
    "random",
    "random_batch",
    "random_dynamic",
    "rho_loss",
    "rho_tokens",
    "rs2",
    "selective_backprop",
    "seta",
    "svp",
    "tdds",
    "token_random",
    "token_topk",
    "ucb",
    "uds",
    "uncertainty",
    "uncertainty_ema",
]


def all() -> dict[str, Recipe]:
    """All registered recipes by name. Other packages' recipes are included once their module is imported."""
    return dict(REGISTRY)
