"""Where tokens and blocks are in one attention call: arithmetic that all stages share.

Video tokens come in raster order, between `before` and `after` extra tokens (text, references). In
the permuted order the video blocks come first, then the extra blocks. Extra tokens are numbered
prefix first, then suffix; a block may hold both, but never extra and video tokens (section 2).
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch

from .config import PSAConfig

NEEDS_GRID = ("Gilbert", "STA", "Hybrid")


class CallError(ValueError):
    """Arguments of an attention call that do not fit each other or the configuration."""


@dataclass(frozen=True)
class Layout:
    """Sizes of one call. `before`/`after` count extra tokens; `m`/`n` are block sizes in tokens."""

    batch: int
    heads: int
    kv_heads: int
    q_len: int
    k_len: int
    head_dim: int
    grid: tuple[int, int, int] | None
    before: int
    after: int
    causal: bool
    m: int
    n: int

    @classmethod
    def of(
        cls,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        config: PSAConfig,
        *,
        grid: tuple[int, int, int] | None = None,
        extra_tokens: tuple[int, int] = (0, 0),
        causal: bool = False,
    ) -> Layout:
        """Checks the call and returns its sizes. Equal calls get the same object.

        q `[B, H, Lq, D]`, k and v `[B, Hkv, Lk, D]`, same dtype and device. Raises `CallError`.
        """
        _check_tensors(q, k, v)
        extra_tokens = _counts("extra_tokens", extra_tokens, "(before, after) in tokens", 2, 0)
        if grid is not None:
            grid = _counts("grid", grid, "(frames, height, width) in tokens", 3, 1)
        return _measured(q.shape, k.shape, config, grid, extra_tokens, bool(causal))

    # --- tokens ---
    @cached_property
    def extra(self) -> int:
        return self.before + self.after

    @cached_property
    def q_video(self) -> int:
        return self.q_len - self.extra

    @cached_property
    def k_video(self) -> int:
        return self.k_len - self.extra

    # --- blocks ---
    @cached_property
    def q_blocks(self) -> int:
        """Video query blocks; the last one may be short."""
        return -(-self.q_video // self.m)

    @cached_property
    def k_blocks(self) -> int:
        """Video key blocks; the last one may be short."""
        return -(-self.k_video // self.n)

    @cached_property
    def q_extra_blocks(self) -> int:
        return -(-self.extra // self.m)

    @cached_property
    def k_extra_blocks(self) -> int:
        return -(-self.extra // self.n)

    def of_heads(self, kv_heads: slice) -> tuple[Layout, slice]:
        """The layout of the part of the call with these key/value heads, and its query heads."""
        return _of_heads(self, kv_heads.start, kv_heads.stop)

    def kv_head(self, head: int) -> int:
        """The key/value head that query head `head` reads (grouped queries)."""
        return head // (self.heads // self.kv_heads)


@lru_cache(maxsize=256)
def _measured(
    q: torch.Size, k: torch.Size, config: PSAConfig, grid: tuple[int, int, int] | None,
    extra_tokens: tuple[int, int], causal: bool,
) -> Layout:  # fmt: skip
    """The layout of tensors with these shapes. It is the same object in every step and block of a
    run, so that what depends on it is computed once. Raises `CallError`."""
    batch, heads, q_len, head_dim = q
    kv_heads, k_len = k[1], k[2]
    before, after = extra_tokens
    if q_len != k_len:
        for name, given in (
            ("grid", grid is not None),
            ("extra_tokens", before + after > 0),
            ("causal", causal),
        ):
            if given:
                raise CallError(f"{name}: needs as many queries as keys; found {q_len} and {k_len}")
    if before + after > q_len:
        raise CallError(f"extra_tokens: found {before} before and {after} after in {q_len} tokens")
    if grid is not None:
        video = q_len - before - after
        if math.prod(grid) != video:
            raise CallError(
                f"grid: {grid} has {math.prod(grid)} tokens, but the call has {video} video "
                f"tokens ({q_len} minus {before} + {after} extra)"
            )
    if config.order in NEEDS_GRID and grid is None:
        raise CallError(
            f"rearrange_method {config.order} needs the token grid. Fix: pass grid=(frames, "
            "height, width), or set use_rearrange=False"
        )
    if causal:
        check_causal(config)
    return Layout(
        batch, heads, kv_heads, q_len, k_len, head_dim,
        grid, before, after, causal, config.block_m, config.block_n,
    )  # fmt: skip


def check_causal(config: PSAConfig) -> None:
    """Raises `CallError` for settings that a causal call cannot have."""
    if config.attn_impl != "old_mask_type":
        raise CallError("causal: needs attn_impl='old_mask_type', found 'new_mask_type'")
    if config.order is not None:
        raise CallError(
            "causal: does not work with a rearrangement, because permuted tokens are not in causal "
            "order. Fix: set use_rearrange=False"
        )


def row_width(head_dim: int) -> int:
    """Elements of a stored row: a power of two, at least the 16 that a matrix product needs."""
    return max(16, 1 << (head_dim - 1).bit_length())


@lru_cache(maxsize=256)
def _of_heads(layout: Layout, begin: int, end: int) -> tuple[Layout, slice]:
    count, group = end - begin, layout.heads // layout.kv_heads
    part = replace(layout, heads=count * group, kv_heads=count)
    return part, slice(begin * group, end * group)


def _counts(name: str, value: object, wanted: str, length: int, least: int) -> tuple[int, ...]:
    """`length` whole numbers of at least `least`. Raises `CallError`."""
    try:
        counts = tuple(map(operator.index, value))
    except TypeError:
        counts = ()
    if len(counts) != length or min(counts) < least:
        raise CallError(f"{name}: found {value!r}. Fix: give {wanted}, none less than {least}")
    return counts


def _check_tensors(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, torch.Tensor) or x.dim() != 4:
            shape = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise CallError(f"{name}: found {shape}; expected a tensor [batch, heads, tokens, dim]")
        if not x.is_floating_point():
            raise CallError(f"{name}: found {x.dtype}; expected a floating-point tensor")
    if k.shape != v.shape:
        raise CallError(f"v: found {tuple(v.shape)}; expected the shape of k, {tuple(k.shape)}")
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise CallError(f"k: found {tuple(k.shape)}; expected batch and dim of q, {tuple(q.shape)}")
    if min(q.shape) < 1 or min(k.shape) < 1:
        raise CallError(f"q, k: found {tuple(q.shape)} and {tuple(k.shape)}; no size may be zero")
    if q.shape[1] % k.shape[1]:
        raise CallError(
            f"k: found {k.shape[1]} heads; q's {q.shape[1]} heads must be a multiple of them"
        )
    if not (q.dtype == k.dtype == v.dtype and q.device == k.device == v.device):
        raise CallError(
            f"q, k, v: dtypes {q.dtype}, {k.dtype}, {v.dtype} on {q.device}, {k.device}, "
            f"{v.device}; all three must agree"
        )
