"""Greedy choices over vectors: herding, facility location, matching pursuit, messages, as pure functions.

Gradients of the last layer are never formed: the gradient of sample i is the outer product of its
residual r_i = p_i - e_y (C) and (1, h_i) (d + 1), so that <g_i, g_j> = <r_i, r_j> (1 + <h_i, h_j>).
"""

from samplewise.pickers.greedy.classes import Groups, capped, groups, interleave, merged, places, quotas
from samplewise.pickers.greedy.facility import clusters, locate
from samplewise.pickers.greedy.gradients import brought_down, gram, similarity, toward_sum
from samplewise.pickers.greedy.herding import herd
from samplewise.pickers.greedy.messages import gathered, pick_by_messages
from samplewise.pickers.greedy.neighbors import Graph, graph_of, nearest
from samplewise.pickers.greedy.pursuit import pursue

__all__ = [
    "Graph",
    "Groups",
    "brought_down",
    "capped",
    "clusters",
    "gathered",
    "gram",
    "graph_of",
    "groups",
    "herd",
    "interleave",
    "locate",
    "merged",
    "nearest",
    "pick_by_messages",
    "places",
    "pursue",
    "quotas",
    "similarity",
    "toward_sum",
]
