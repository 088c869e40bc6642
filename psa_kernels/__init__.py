"""Pyramid Sparse Attention: the algorithm, without a host.

    from psa_kernels import PSAAttention, PSAConfig

    psa = PSAAttention(PSAConfig(rearrange_method="Gilbert"))
    out = psa(q, k, v, grid=(21, 30, 52))        # q, k, v: [B, H, L, D]
"""

from .config import ConfigError, PSAConfig

__all__ = ["ConfigError", "PSAConfig"]
