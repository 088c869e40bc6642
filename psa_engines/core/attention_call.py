"""One attention call of a model, as the core reads it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .recording.records import CallShape


@dataclass
class AttentionCall:
    """q, k, v are `[B, H, L, D]`, k and v with their own heads. A host whose calls look different
    has a class of its own with the same methods.

    block   the transformer block, None where the host does not know: calls are then counted
    cannot  why PSA cannot serve it, as the host knows: a mask, dropout, ...; None if it can
    causal  each query sees the keys up to its own
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    scale: float | None = None
    block: int | None = None
    cannot: str | None = None
    masked: bool = False
    causal: bool = False

    @property
    def tokens(self) -> tuple[int, int]:
        """(queries, keys)"""
        return self.q.shape[2], self.k.shape[2]

    def shape(self) -> CallShape:
        """What the time of such a call depends on."""
        return shape_of(self.q)

    def unsupported(self) -> str | None:
        """Why PSA cannot give what this call asks for, or None."""
        return self.cannot or odd_tensors(self.q, self.k, self.v)

    def split_heads(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q, k, v as `[B, H, L, D]`."""
        return self.q, self.k, self.v

    def join_heads(self, out: torch.Tensor) -> torch.Tensor:
        """`[B, H, L, D]` in the shape that the caller expects back."""
        return out

    def block_index(self) -> int | None:
        """The transformer block, where the model says which one it is."""
        return self.block

    def grid_sizes(self) -> tuple[int, ...] | None:
        """The token grid, if this call says it; () for something that is not a grid."""
        return None


def shape_of(q: torch.Tensor) -> CallShape:
    batch, heads, tokens, head_dim = q.shape
    dtype, device = str(q.dtype).removeprefix("torch."), str(q.device)
    return CallShape(batch, heads, tokens, head_dim, dtype, device)


def gradients_asked(*tensors: torch.Tensor) -> str | None:
    """Why the kernels, which have no backward, cannot serve such a call, or None."""
    asked = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    return "gradients are asked for" if asked else None


def odd_tensors(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> str | None:
    """Why the kernels cannot take q, k and v, each `[B, H, L, D]`, together, or None."""
    if not (q.is_floating_point() and k.is_floating_point() and v.is_floating_point()):
        return "numbers that are not floating-point"
    if not q.dtype == k.dtype == v.dtype:
        return "mixed dtypes"
    if not q.device == k.device == v.device:
        return "tensors on several devices"
    if not q.shape[0] == k.shape[0] == v.shape[0]:
        return "batches of several sizes"
    if k.shape != v.shape:
        return "values of another size than keys"
    if q.shape[3] != k.shape[3]:
        return "keys of another size than queries"
    if q.shape[1] % k.shape[1]:
        return "key heads that do not divide the query heads"
    return None
