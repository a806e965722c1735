"""Multi-head attention that can also run with its leading heads only."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.proxy.widths import Switch

__all__ = ["SlimMultiheadAttention"]


class SlimMultiheadAttention(nn.MultiheadAttention):
    """Attention whose narrow form uses the leading `slim_heads` heads. Input and output keep their width."""

    slim_switch: Switch
    slim_heads: int
    slim_axis: ClassVar[int] = -1

    def forward(self, *args: Any, **keywords: Any) -> tuple[Tensor, Tensor | None]:
        """As `torch.nn.MultiheadAttention`. The narrow form returns attention weights of the used heads."""
        if not self.slim_switch.on or self.slim_heads == self.num_heads:
            return super().forward(*args, **keywords)
        return self.narrow_forward(*args, **keywords)

    def narrow_forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The narrow form. `is_causal` is only a hint for kernels, so it is ignored: the mask is used."""
        if is_causal and attn_mask is None:
            raise ValueError("is_causal=True needs attn_mask: pass the causal mask too")
        batched = query.ndim == 3
        axis = 0 if self.batch_first else 1
        if not batched:
            query, key, value = (x.unsqueeze(axis) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (self._project(part, x) for part, x in enumerate((query, key, value)))
        mask = self._mask(q, attn_mask, key_padding_mask)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
            weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            found = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            found = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        found = found.transpose(1, 2).flatten(2)
        used = self.out_proj.weight[:, : found.shape[-1]]
        found = F.linear(found, used, self.out_proj.bias)
        found = found if self.batch_first else found.transpose(0, 1)
        if not batched:
            return found.squeeze(axis), None if weights is None else weights.squeeze(0)
        return found, weights

    def _project(self, part: int, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b h t e"]:
        """Compute queries (part 0), keys (1) or values (2) of the leading heads."""
        rows = slice(part * self.embed_dim, part * self.embed_dim + self.slim_heads * self.head_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        found = F.linear(x, self.in_proj_weight[rows], bias)
        return found.view(*found.shape[:2], self.slim_heads, self.head_dim).transpose(1, 2)

    def _mask(self, q: Tensor, attn: Tensor | None, padding: Tensor | None) -> Tensor | None:
        """The mask that is added to the scores, of shape (b or 1, heads or 1, t, s), or None."""
        if attn is not None and attn.ndim == 3:
            attn = attn.unflatten(0, (len(q), -1))[:, : self.slim_heads]  # type: ignore[no-untyped-call]
        elif attn is not None:
            attn = attn[None, None]
        masks = [attn, None if padding is None else padding[:, None, None]]
        added = [_added(mask, q.dtype) for mask in masks if mask is not None]
        return sum(added[1:], added[0]) if added else None


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a mask to an additive one: a boolean mask becomes 0 and minus infinity."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
