"""What the kernels share: where a token is, how a column is read, and bounds of logits."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# log2 of nothing: finite, so that a tile of masked columns cannot make inf - inf
EMPTY = tl.constexpr(-1.0e30)
MOST_LOGIT = tl.constexpr(3.0e38)
LOG2E = 1.4426950408889634

# Logits within +-BOUND (in powers of two) need no running maximum. Below `bound - BOUND_ROOM`
# weights are at most 2^60, a row's largest at least 2^-100: 26 more bits until float32 ends. Pooled
# keys add at most POOLED_MOST: log2 of up to 128 tokens, and as much again for their spread.
BOUND = tl.constexpr(72.0)
BOUND_ROOM = tl.constexpr(60.0)
POOLED_MOST = tl.constexpr(14.0)

# Sums in float16 (section 6e): weights are at most 2^HALF_ROOM, stored values below
# 2^HALF_VALUES, and so a tile of 128 sums to 2^15 at most, of 65,504 that float16 holds. What room
# there is both share: it is exponents of small ones.
HALF_ROOM = tl.constexpr(4.0)
HALF_VALUES = tl.constexpr(4)


@triton.jit
def caller_position(order, place, video, before, ORDERED: tl.constexpr):
    """The caller's position of the token at `place` of the permuted sequence (int32)."""
    inside = place < video
    token = place
    if ORDERED:
        token = tl.load(order + place, mask=inside & (place >= 0), other=0).to(tl.int32)
    # extra places count the prefix first; a suffix token's place is already its position
    outside = tl.where(place - video < before, place - video, place)
    return tl.where(inside, before + token, outside)


@triton.jit
def log2_count(rows, size, video):
    """log2 of the number of real tokens in group `rows` of `size` tokens; EMPTY if none."""
    count = tl.minimum(tl.maximum(video - rows * size, 0), size)
    return tl.where(count > 0, tl.log2(tl.maximum(count, 1).to(tl.float32)), EMPTY)


@triton.jit
def as_bytes(values):
    """int8 of float32 values of at most 127 and a half, rounded to nearest, ties to even."""
    # past 2^23 float32 holds only whole numbers. Taking the byte from the sum's last bits would
    # save a conversion, but ptxas mistakes a byte stored from a float's register for a conversion
    return ((values + 12582912.0) - 12582912.0).to(tl.int8)


@triton.jit
def value_scale(peak):
    """The power of two that brings magnitudes of up to `peak` (float32) below 2^HALF_VALUES."""
    # 2^(HALF_VALUES - 1) over the power of two in `peak`; below 2^-111 there is no such float32
    exponent = tl.maximum(peak.to(tl.int32, bitcast=True) >> 23, 16)
    return ((253 - exponent + HALF_VALUES) << 23).to(tl.float32, bitcast=True)


@triton.jit
def raise_to(pointer, value):
    """Atomic maximum of float32 >= 0, which orders like its bits; terms may come in any order."""
    bits = pointer.to(tl.pointer_type(tl.int32), bitcast=True)
    tl.atomic_max(bits, value.to(tl.int32, bitcast=True))


@triton.jit
def columns_of(values, offsets, valid):
    """`values` at `offsets`, one thread per column; 0 where not `valid`.

    In a plain load as short as a tile's columns, every thread would load all the columns that it
    will need, in the layout of the scores. Written as a load of two columns, one of them empty, it
    is done once. A sum over rows, unlike one over columns, does not push that layout back to it.
    """
    copy = tl.arange(0, 2)[None, :]
    found = tl.load(
        values + offsets[:, None] + copy * 0, mask=(copy == 0) & valid[:, None], other=0.0
    )
    return tl.sum(found, 1)


def order_args(
    order: torch.Tensor | None, like: torch.Tensor
) -> tuple[torch.Tensor, int, int, bool]:
    """(tensor, batch stride, head stride, whether there is an order) for a kernel's arguments."""
    if order is None:
        return like, 0, 0, False
    return (
        order,
        order.stride(0) if order.shape[0] > 1 else 0,
        order.stride(1) if order.shape[1] > 1 else 0,
        True,
    )
