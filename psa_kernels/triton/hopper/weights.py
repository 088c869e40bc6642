"""The softmax's weights of a tile, from its products, in the registers of four warps."""

from __future__ import annotations

from typing import Any, NamedTuple

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier

from .jobs import DEEP, M, N

SUMS = gl.constexpr(gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 16]))
WEIGHTS = gl.constexpr(gl.DotOperandLayout(0, SUMS, 2))


class Read(NamedTuple):
    """The rings in shared memory."""

    k: Any
    v: Any
    columns: Any
    steps: Any


class Bars(NamedTuple):
    """Their barriers, and those of the consumers' turns."""

    k_full: Any
    k_empty: Any
    v_full: Any
    v_empty: Any
    c_full: Any
    c_empty: Any
    turns: Any


@gluon.jit
def sums_of(weights):
    """Sums over the columns that a thread holds: 8 i + 2 t + (0, 1), t one of four."""
    return gl.sum(gl.sum(gl.reshape(weights, [M, N // 8, 4, 2]), 3), 1)


@gluon.jit
def _raised(largest, high):
    """(the running maximum, what it shrinks what is there already by)."""
    higher = gl.maximum(high, largest)
    return higher, gl.exp2(high - higher)


@gluon.jit
def weights_of(
    products, row_scale, norms, high, ceiling, read, bars, seen,
    WHOLE: gl.constexpr, LOGITS: gl.constexpr, INT8: gl.constexpr, SPREAD: gl.constexpr,
    CAPPED: gl.constexpr, ONLINE: gl.constexpr,
):  # fmt: skip
    """(weights, their sums, high, shrink) of the tile that is number `seen` in the ring of columns.

    They are taken below `high`, a running maximum, or below one number for all, `ceiling`.
    """
    products = products.to(gl.float32)
    factor = row_scale
    slot = seen % DEEP
    if INT8 or not WHOLE:
        mbarrier.wait(bars.c_full.index(slot), seen // DEEP & 1)
    if INT8:
        factor = row_scale * read.steps.index(slot).load(gl.SliceLayout(1, LOGITS))
    shrink = high
    if WHOLE:
        below = ceiling
        if ONLINE:
            high, shrink = _raised(gl.max(products, 1) * factor, high)
            below = gl.expand_dims(high, 1)
        # scaled in the subtraction: one operation per score
        logits = products * gl.expand_dims(factor, 1) - below
    else:
        bias = gl.expand_dims(read.columns.index(slot * 2).load(gl.SliceLayout(0, LOGITS)), 0)
        term = bias
        if not ONLINE:
            # taken from the columns, of which there are fewer than scores
            term = bias - ceiling
        if SPREAD:
            width = read.columns.index(slot * 2 + 1).load(gl.SliceLayout(0, LOGITS))
            gaussian = gl.expand_dims(norms, 1) * gl.expand_dims(width, 0)
            if CAPPED:
                # at most the bias itself, ln of the count (section 6c)
                gaussian = gl.minimum(gaussian, bias)
            term = term + gaussian
        logits = products * gl.expand_dims(factor, 1) + term
        if ONLINE:
            high, shrink = _raised(gl.max(logits, 1), high)
            logits = logits - gl.expand_dims(high, 1)
    weights = gl.exp2(logits)
    if INT8 or not WHOLE:
        mbarrier.arrive(bars.c_empty.index(slot), count=1)
    sums = sums_of(weights)
    weights = gl.convert_layout(weights.to(read.v.dtype), WEIGHTS, assert_trivial=True)
    return weights, sums, high, shrink


@gluon.jit
def shrunk(acc, total, shrink, ONLINE: gl.constexpr):
    if ONLINE:
        acc = acc * gl.expand_dims(
            gl.convert_layout(shrink, gl.SliceLayout(1, SUMS), assert_trivial=True), 1
        )
        by = gl.convert_layout(shrink, gl.SliceLayout(1, total.type.layout))
        total = total * gl.expand_dims(by, 1)
    return acc, total
