"""Pyramid Sparse Attention: the algorithm, without a host.

from psa_kernels import PSAAttention, PSAConfig

psa = PSAAttention(PSAConfig(rearrange_method="Gilbert"))
out = psa(q, k, v, grid=(21, 30, 52))        # q, k, v: [B, H, L, D]
"""

from .attention import NoKernelsError, psa_attention
from .config import ConfigError, PSAConfig
from .layout import CallError
from .module import PSAAttention
from .order_state import OrderState
from .reference.orders import release_orders
from .stats import Stats

__all__ = [
    "CallError",
    "ConfigError",
    "NoKernelsError",
    "OrderState",
    "PSAAttention",
    "PSAConfig",
    "Stats",
    "psa_attention",
    "release_orders",
]
