"""One call through the kernels, each stage against the torch reference on the same input.

Tolerances. Everything is accumulated in float32; what is stored or multiplied in half precision
rounds once. So with u = 2^-11 (float16) or 2^-8 (bfloat16), half a unit in the last place:
  orders    see `check_orders`
  groups    see `check_groups`
  pyramid   u (a mean is rounded when it is stored; the reference keeps it)
  S         compared where scores are of ordinary size: the rounded means of queries and keys move
            a score by about 2u of itself
  levels    equal, except where the decision hangs on the last bits of a sum of masses or a cosine
  attend    3u of the larger of the output and a tenth of the values, against a reference whose
            pooled rows are rounded as the pyramid's are (weights and output each round once);
            float16 with values in bfloat16: u of bfloat16 (weights and values each round once);
            with sums in float16 4u of it at least (a tile's sum rounds every 16 keys, too)
"""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from unittest import mock

import torch

import psa_kernels.triton as line
from psa_kernels import PSAConfig, Stats, reference
from psa_kernels.causal import FREE, block_kinds
from psa_kernels.config import LEVELS
from psa_kernels.layout import Layout
from psa_kernels.order_state import OrderState
from psa_kernels.reference import attention as reference_attention
from psa_kernels.reference.integers import centered
from psa_kernels.reference.pyramid import group_counts, pool
from psa_kernels.stages import MASS_UNIT, Orders

from .check_groups import check_groups, check_places
from .check_orders import check_orders

# one element of int8 queries or keys that lies between two steps and is rounded to the other one
A_TIE = 1e-4
UNIT = {torch.float32: 2e-6, torch.float16: 2**-11, torch.bfloat16: 2**-8}


@dataclasses.dataclass
class Result:
    out: torch.Tensor
    plan: object
    shares: torch.Tensor


def run(q, k, v, config, layout, orders, scale, groups=None) -> tuple:
    pyramid = line.build_pyramid(k, v, orders, layout, config, groups)
    shares = line.importance(q, pyramid, orders, layout, config, scale)
    plan = line.assign_levels(shares, pyramid, layout, config)
    out = line.attend(q, pyramid, plan, orders, layout, config, scale)
    return pyramid, shares, plan, out


def check(q, k, v, config, *, grid=None, extra=(0, 0), causal=False, scale=None, ordinary=True):
    """Raises AssertionError where a stage is off. `ordinary`: scores are small enough for S."""
    layout = Layout.of(q, k, v, config, grid=grid, extra_tokens=extra, causal=causal)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    state = OrderState()
    orders = line.reorder(q, k, layout, config, state)
    check_orders(q, k, orders, state, layout, config)
    groups = None
    if config.grouping == "similar":
        groups = line.group_keys(q, k, v, orders, layout, config)
        check_groups(q, k, v, orders, groups, layout, config, ordinary)
    pyramid, shares, plan, out = run(q, k, v, config, layout, orders, scale, groups)
    exact = reference.build_pyramid(k.float(), v.float(), orders, layout, config, groups)
    check_pyramid(pyramid, exact, layout, config)
    check_shares(shares, q, exact, orders, layout, config, scale, ordinary)
    check_levels(shares, plan, exact, layout, config)
    check_counts(shares, plan, layout, config)
    wanted = rounded_attend(q, exact, plan, orders, layout, config, scale)
    difference = (out.float() - wanted).norm()
    size = torch.maximum(
        wanted.norm(), 0.1 * v.float().square().mean().sqrt() * wanted.numel() ** 0.5
    )
    kind = pyramid.full_v.dtype
    limit = 3 * UNIT[q.dtype] if kind == q.dtype else UNIT[kind]
    if pyramid.byte_keys is not None:
        limit = max(limit, A_TIE)
    if pyramid.value_peaks is not None:
        limit = max(limit, 3 * UNIT[q.dtype], 4 * UNIT[torch.float16])
    assert difference <= limit * size, f"attend: {difference / size:.2e} of the output"
    assert torch.isfinite(out).all()
    return Result(out, plan, shares)


def check_pyramid(pyramid, exact, layout, config):
    for b in range(layout.batch):
        for head in range(layout.kv_heads):
            keys = exact.keys(b, head)
            if pyramid.full_k is not None:
                assert torch.equal(pyramid.full_k[b, head, :, : layout.head_dim].float(), keys)
            if pyramid.byte_keys is not None:
                # float32 less a mean has lost what the two have in common
                lost = 1e-6 * keys.abs().max().item()
                keys = centered(keys, layout.k_video)
                check_bytes(pyramid, b, head, keys, lost, layout)
            values = exact.values(b, head) * value_scale(pyramid, b, head)
            stored = pyramid.full_v[b, head, :, : layout.head_dim]
            assert torch.equal(stored, values.to(stored.dtype))
            for pooled, rows in ((pyramid.pooled_k, keys), (pyramid.pooled_v, values)):
                dtype = pooled.dtype
                # a mean less that of all keys has lost what the two have in common
                lost = exact.keys(b, head).abs().max().item() if rows is keys else 0
                near = {
                    "rtol": UNIT[dtype],
                    "atol": max(1e-6 if dtype != torch.float16 else 1e-5, 1e-6 * lost),
                }
                rows = exact.grouped(b, head, rows)
                for size, start in pyramid.starts.items():
                    means = pool(rows, size)
                    found = pooled[b, head, start : start + len(means), : layout.head_dim]
                    torch.testing.assert_close(found.float(), means, **near)
            video = exact.grouped(b, head, exact.keys(b, head))
            for size, start in pyramid.starts.items():
                counts = group_counts(layout.k_video, size, video)
                found = pyramid.log2_counts[start : start + len(counts)]
                torch.testing.assert_close(found, counts.log2(), rtol=1e-6, atol=1e-6)
                if config.second_moment:
                    spread = exact.spread(b, head, video, pool(video, size), size)
                    found = pyramid.spread[b, head, start : start + len(counts)]
                    scale = video.square().mean().item() if len(video) else 0
                    torch.testing.assert_close(found, spread, rtol=1e-4, atol=1e-6 * scale)


def value_scale(pyramid, b, head) -> float:
    """What stored values are times: for sums in float16 a power of two that brings the head's
    largest to 8 or more, below 16."""
    if pyramid.value_peaks is None:
        return 1.0
    return 2.0 ** (4 - math.frexp(pyramid.value_peaks[b, head].item())[1])


def check_bytes(pyramid, b, head, keys, lost, layout):
    """Bytes times their step are the keys `[Lk, D]`, less their mean, to half a step and `lost`."""
    found, dim = pyramid.byte_keys, layout.head_dim
    places = torch.arange(layout.k_len, device=keys.device)
    block = torch.where(
        places < layout.k_video, places // layout.n,
        layout.k_blocks + (places - layout.k_video) // layout.n,
    )  # fmt: skip
    step = found.scales[b, head][block][:, None]
    error = found.full[b, head, :, :dim] * step - keys
    assert (error.abs() <= 0.502 * step + lost).all()
    assert (found.full[b, head].abs() <= 127).all() and not found.full[b, head, :, dim:].any()
    peak = found.peaks[b, head]
    for size, start in pyramid.starts.items():
        rows = slice(start, start + -(-layout.k_video // size))
        means = pyramid.pooled_k[b, head, rows].float()
        assert (means.abs() <= peak).all()
        error = found.pooled[b, head, rows] * (peak / 127) - means
        assert (error.abs() <= 0.502 * peak / 127).all()


def check_shares(shares, q, exact, orders, layout, config, scale, ordinary):
    assert shares.dtype == torch.float32
    assert torch.isfinite(shares).all()
    if shares.numel() == 0:
        return
    free = block_kinds(layout, q.device) == FREE
    total = shares.sum(-1)
    wanted = free.any(-1).float().expand_as(total)
    torch.testing.assert_close(total, wanted, rtol=0, atol=2e-5)
    if ordinary:
        # the reference's own pooled keys are exact, the kernel's rounded: scores move by 2u
        found = reference.importance(q.float(), exact, orders, layout, config, scale)
        unit = UNIT[q.dtype]
        assert (shares - found).abs().max() <= 0.02 * found.max() * unit / 2**-11 + 2e-6


def check_levels(shares, plan, exact, layout, config):
    found = plan.levels()
    wanted = reference.assign_levels(shares, exact, layout, config).levels()
    rows, blocks = layout.q_blocks, layout.k_blocks
    differs = (found != wanted)[..., :rows, :blocks]
    assert torch.equal(found[..., rows:, :], wanted[..., rows:, :])
    assert torch.equal(found[..., blocks:], wanted[..., blocks:])
    if not differs.any():
        return
    free = block_kinds(layout, shares.device) == FREE
    loose = torch.zeros_like(differs)
    if config.mask_mode == "thresholdbound":
        ranked, order = shares.masked_fill(~free, 0).double().sort(-1, descending=True, stable=True)
        before = torch.empty_like(ranked).scatter_(-1, order, ranked.cumsum(-1) - ranked)
        for _, upper in config.mask_ratios.uppers():
            loose |= (before - upper).abs() < 1e-5
    if config.use_sim_mask:
        group = layout.heads // layout.kv_heads
        for b in range(layout.batch):
            for head in range(layout.heads):
                sets = [
                    exact.allowed_levels(
                        b, head // group, {x: t + d for x, t in config.sim_thresholds.items()}
                    )
                    for d in (-1e-5, 1e-5)
                ]
                loose[b, head] |= sets[0] != sets[1]
    assert not (differs & ~loose).any(), f"levels: {int((differs & ~loose).sum())} differ"


def check_counts(shares, plan, layout, config):
    """What the kernel counts of its rows is what its levels say."""
    levels = plan.levels()[..., : layout.q_blocks, : layout.k_blocks]
    free = block_kinds(layout, shares.device) == FREE
    queries = torch.full((layout.q_blocks,), layout.m, device=shares.device)
    queries[-1:] -= layout.q_blocks * layout.m - layout.q_video
    for column, level in enumerate(LEVELS):
        wanted = shares.masked_fill(~(free & (levels == level)), 0).sum(-1) * queries
        found = plan.sums[:, 6 + column] * MASS_UNIT
        wanted = wanted.double().sum((0, 2))
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    assert plan.counted != layout.causal and not plan.sums[:, 11].any()
    if plan.counted:
        stats = Stats(plan, layout, config.tail)
        assert torch.equal(plan.sums[:, :6], stats._from_levels())


def check_spoiled(device):
    """NaN in S, as of NaN in q: lists still name blocks that there are, no more than they hold."""
    ratios = {1: (0, 0.1), 2: (0.1, 0.2), 4: (0.2, 0.3), 8: (0.3, 0.5), 0: (0.5, 1)}
    bits = torch.tensor([0x7FC00000, 0x7FFFFFFF, -0x400000], dtype=torch.int32, device=device)
    for mode in ("topk", "thresholdbound"):
        config = PSAConfig(mask_mode=mode, mask_ratios=ratios, use_rearrange=False)
        blocks, chunk = 40, config.block_n // 8
        q = torch.empty(1, 1, blocks * config.block_n, 16, device=device)
        layout = Layout.of(q, q, q, config)
        rows = blocks * config.block_n // torch.tensor([2, 4, 8])
        starts = dict(zip((2, 4, 8), (rows.cumsum(0) - rows).tolist(), strict=True))
        generator = torch.Generator().manual_seed(0)
        shares = torch.rand(1, 1, 5, blocks, generator=generator).to(device) / blocks
        for row, nan in enumerate(bits.view(torch.float32)):
            shares[:, :, row] = nan
        shares[:, :, 3, ::3] = torch.nan
        plan = line.assign_levels(shares, SimpleNamespace(allowed=None, starts=starts), layout,
                                  config)  # fmt: skip
        for found, count, things in (
            (plan.full, plan.counts[..., :1], blocks),
            (plan.chunks, plan.counts[..., 3:], int(rows.sum()) // chunk),
        ):
            assert (count <= found.shape[-1]).all()
            listed = torch.arange(found.shape[-1], device=device) < count
            assert ((found >= 0) & (found < things))[listed].all()
        assert plan.sums[:, 11].tolist() == [4]
        assert Stats(plan, layout, config.tail).head_mass.isnan().all()


def check_spoiled_groups(device):
    """NaN and Inf in q, k or v: blocks keep their tokens, or later stages write out of bounds."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    for n in (32, 128):
        config = PSAConfig(block_n=n, tile_n=16, grouping="similar", use_rearrange=False)
        for name in "qkv":
            for spoil in (torch.nan, torch.inf):
                rng = torch.Generator().manual_seed(n)
                values = torch.randn(3, 1, 1, 300, 16, generator=rng).to(device, dtype)
                given = dict(zip("qkv", values, strict=True))
                given[name][0, 0, 40, 3] = spoil
                layout = Layout.of(**given, config=config)
                groups = line.group_keys(**given, orders=Orders(), layout=layout, config=config)
                check_places(groups, layout)


def rounded_attend(q, exact, plan, orders, layout, config, scale):
    """The reference's attention over pooled rows rounded as the pyramid stores them."""

    def rounded(x, size):
        return pool(x, size).to(q.dtype).float()

    with mock.patch.object(reference_attention, "pool", rounded):
        return reference.attend(q.float(), exact, plan, orders, layout, config, scale)


def finite(q, k, v, config, *, grid=None, extra=(0, 0), causal=False, scale=None, ordinary=False):
    """Scores so large that rounding decides: the result must still be a mean of values."""
    layout = Layout.of(q, k, v, config, grid=grid, extra_tokens=extra, causal=causal)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    orders = line.reorder(q, k, layout, config)
    groups = None
    if config.grouping == "similar":
        groups = line.group_keys(q, k, v, orders, layout, config)
    *_, out = run(q, k, v, config, layout, orders, scale, groups)
    assert torch.isfinite(out).all()
    assert out.abs().max() <= v.abs().max() * 1.01
