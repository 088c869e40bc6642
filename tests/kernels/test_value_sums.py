"""Sums of values in float16 (section 6e): what they add to the error."""

import math

import pytest
import torch

from psa_pack.benchmarks import inputs

ROOM, VALUES = 4, 4  # weights are at most 2^ROOM, stored values below 2^VALUES
TILE, STEP = 128, 16  # the widest tile; the keys of one instruction, whose sum is rounded


def emulated(logits, values, dtype, *, half_sums=False):
    """The kernel's attention of logits `[Q, K]`, in powers of two, over values `[K, D]`.

    Weights and values are of `dtype`; the sum of a tile is of float32, or of float16 and rounded
    after every STEP keys. All else is float32.
    """
    scale = 2.0 ** (VALUES - math.frexp(values.abs().max())[1]) if half_sums else 1.0
    stored = (values * scale).to(dtype).float()
    high = torch.full((len(logits), 1), -1e30)
    total, acc = torch.zeros_like(high), torch.zeros(len(logits), values.shape[1])
    for tile, rows in zip(logits.split(TILE, 1), stored.split(TILE), strict=True):
        largest = tile.amax(1, keepdim=True) - (ROOM if half_sums else 0)
        higher = torch.maximum(high, largest)
        acc, total, high = acc * (high - higher).exp2(), total * (high - higher).exp2(), higher
        weights = (tile - high).exp2()
        total += weights.sum(1, keepdim=True)
        weights = weights.to(dtype).float()
        if half_sums:
            part = torch.zeros_like(acc)
            for w, x in zip(weights.split(STEP, 1), rows.split(STEP), strict=True):
                part = (part + w @ x).half().float()
            assert part.abs().max() <= 2**15
            acc += part
        else:
            acc += weights @ rows
    return acc / total / scale


def profile(name):
    """(logits, values) of one head of 128 channels, every ninth query."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inputs.SHAPES, "small", (1, 128, (6, 24, 32), 0))
        q, k, v = inputs.make("small", device="cpu", dtype=torch.float32)
    q = q * inputs.gain_for(q, k, name)
    return q[0, 0, ::9] @ k[0, 0].T * (128**-0.5 / math.log(2)), v[0, 0]


def independent(gain=1.0, change=lambda v: v):
    q, k, v = torch.randn(3, 4096, 128, generator=torch.Generator().manual_seed(0))
    return q[:256] @ k.T * (gain * 128**-0.5 / math.log(2)), change(v)


def cancelling(v):
    """Every other 16 keys the opposite of the others, nearly."""
    sign = (1 - 2.0 * (torch.arange(len(v)) // 16 % 2))[:, None]
    return sign * (3 * v + 20)


def with_outlier(v):
    v[7] *= 1e4
    return v


CALLS = {
    **{name: (profile, name) for name in inputs.PROFILES}, "independent": (independent,),
    "sharp": (independent, 3.0), "large": (independent, 1.0, lambda v: 5e4 * v.clamp(-1, 1)),
    "tiny": (independent, 1.0, lambda v: 1e-6 * v), "cancelling": (independent, 1.0, cancelling),
    "an outlier": (independent, 1.0, with_outlier),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_float16_sums_add_is_below_the_stated_bound(name):
    """In quadrature, beside the same weights and values with sums in float32. And with all there
    is, it is less than what bfloat16 weights alone make."""
    make, *arguments = CALLS[name]
    logits, values = make(*arguments)
    exact = (logits.double() * math.log(2)).softmax(1) @ values.double()
    dtypes = torch.float16, torch.bfloat16
    half, brain = (inputs.relative(emulated(logits, values, x), exact) for x in dtypes)
    sums = inputs.relative(emulated(logits, values, torch.float16, half_sums=True), exact)
    # tiny values are subnormal in float16 where nothing brings them near 1
    added = math.sqrt(max(0.0, sums**2 - half**2))
    assert added <= (0.00025 if make is profile else 0.0007)
    assert sums < 0.7 * brain
    assert sums > half or name == "tiny"
