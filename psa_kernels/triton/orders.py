"""Stage 1: the token order (section 1), with the reference's tables and k-means as kernels."""

from __future__ import annotations

import torch

from .. import reference
from ..config import PSAConfig
from ..layout import Layout
from ..order_state import OrderState
from ..stages import Orders
from .clusters import clusters_of


def reorder(
    q: torch.Tensor,
    k: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
    state: OrderState | None = None,
) -> Orders:
    """The orders of q `[B, H, Lq, D]` and of k `[B, Hkv, Lk, D]`; see the reference's."""
    return reference.reorder(q, k, layout, config, state, clusters_of=clusters_of)
