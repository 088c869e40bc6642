"""A first-order term for what is pooled, in plain torch, on sampled rows of one attention call.

A pooled key stands for a group, with the group's mean value. Where a query's logit rises with a
key, it weighs that key's value more than the mean does: to first order by `scale * q C`, with C
`[D, D]` the covariance of keys and values in the group, mean over its keys. PISA (2602.01077)
keeps one such matrix for a whole head. It costs a product with D x D a query, and no memory that
grows with the video; a matrix of every group is the bound of what the idea can do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import product

import torch

from psa_kernels import PSAConfig, reference
from psa_kernels.layout import Layout
from psa_kernels.reference.pyramid import Pyramid, group_counts, pool
from psa_kernels.reference.tokens import permuted

from .. import inputs
from ..checks import Truth
from ..method import Problem
from .settings import FIRST_ORDER
from .subject import Clip
from .watch import Seen

VARIANTS = ("without", "one matrix a head", "a matrix a group")


@dataclass(frozen=True)
class _Level:
    """What queries read on one level of one head: logits `[rows, groups]`, -inf where not read;
    keys, values `[L, D]` of which `size` are a group."""

    size: int
    logits: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


def visitor(job, clip: Clip, presets: Mapping[str, PSAConfig], steps: Collection[int]):
    """Adds a line to the job's results for each call of these steps that has none, each preset that
    is sparse there, in token order and with like keys together."""

    def visit(seen: Seen) -> None:
        if seen.step not in steps or job.late:
            return
        problem = Problem(seen.q, seen.k, seen.v, job.sampling.grid, 0)
        truth = Truth.of(problem)
        for (name, preset), grouping in product(presets.items(), ("order", "similar")):
            own = preset.for_step(seen.step / job.sampling.steps)
            if seen.step < own.warmup_steps or own.type == "dense":
                continue
            where = {
                "clip": clip.index, "layer": seen.layer, "step": seen.step, "preset": name,
                "grouping": grouping,
            }  # fmt: skip
            if not job.results.has(FIRST_ORDER, **where):
                heads = first_order_errors(problem, own.replace(grouping=grouping), truth)
                job.results.add(FIRST_ORDER, **where, heads=heads)

    return visit


def first_order_errors(
    problem: Problem, config: PSAConfig, truth: Truth | None = None
) -> dict[str, list[float]]:
    """Variant -> rel-L2 from float32 dense of each sampled head, all with the levels of `config`.

    For problems without text and configurations of a static order (raster, Gilbert, STA).
    """
    truth = truth or Truth.of(problem)
    q, k, v = (x.float() for x in (problem.q, problem.k, problem.v))
    layout = Layout.of(q, k, v, config, grid=problem.grid)
    scale = q.shape[-1] ** -0.5
    orders = reference.reorder(q, k, layout, config)
    groups = None
    if config.grouping == "similar":
        groups = reference.group_keys(q, k, v, orders, layout, config)
    pyramid = reference.build_pyramid(k, v, orders, layout, config, groups)
    mass = reference.importance(q, pyramid, orders, layout, config, scale)
    levels = reference.assign_levels(mass, pyramid, layout, config).levels()
    order = pyramid.positions(0, 0)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    rows = place[truth.rows]
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for head, wanted in zip(truth.heads, truth.out, strict=True):
        queries = permuted(q[0, head], order)[rows]
        own = levels[0, head][rows // layout.m]
        parts = _levels(queries, pyramid, head, own, layout, config, scale)
        for name, out in _outputs(queries, parts, scale).items():
            found[name].append(inputs.relative(out, wanted))
    return found


def _levels(q, pyramid: Pyramid, head: int, levels, layout: Layout, config: PSAConfig, scale):
    """`_Level`s of queries `[rows, D]` whose key blocks have `levels` `[rows, blocks]`."""
    kv_head = layout.kv_head(head)
    keys, values = pyramid.keys(0, kv_head), pyramid.values(0, kv_head)
    keys, values = (pyramid.grouped(0, kv_head, x) for x in (keys, values))
    parts = []
    for level, size in ((1, 1), (2, 2), (4, 4), (8, 8), (0, config.tail)):
        if size == "none" or not (levels == level).any():
            continue
        means, log_count = pool(keys, size), group_counts(len(keys), size, keys).log()
        logits = q @ means.T * scale + log_count
        if config.second_moment and size > 1:
            spread = pyramid.spread(0, kv_head, keys, means, size)
            norms = q.square().sum(1, keepdim=True)
            logits += torch.minimum(0.5 * scale**2 * norms * spread, log_count)
        block = torch.arange(0, len(keys), size, device=keys.device) // layout.n
        logits = logits.masked_fill((levels != level)[:, block], -torch.inf)
        parts.append(_Level(size, logits, keys, values))
    return parts


def _outputs(q: torch.Tensor, parts: list[_Level], scale: float) -> dict[str, torch.Tensor]:
    """Each variant's output `[rows, D]`."""
    weights = torch.cat([part.logits for part in parts], 1).softmax(1)
    plain, one, each = (torch.zeros_like(q) for _ in range(3))
    for part, weight in zip(
        parts, weights.split([p.logits.shape[1] for p in parts], 1), strict=True
    ):
        plain += weight @ pool(part.values, part.size)
        if part.size == 1:
            continue
        group = torch.arange(len(part.keys), device=q.device) // part.size
        keys, values = (x - pool(x, part.size)[group] for x in (part.keys, part.values))
        one += weight.sum(1, keepdim=True) * (q * scale) @ (keys.T @ values / len(keys))
        counts = group_counts(len(keys), part.size, keys)
        each += ((weight / counts)[:, group] * (q @ keys.T * scale)) @ values
    return dict(zip(VARIANTS, (plain, plain + one, plain + each), strict=True))
