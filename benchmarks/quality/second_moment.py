"""Other forms of the second moment, in plain torch, on sampled rows of one attention call.

A pooled key stands for a group; `logit of the mean key + ln c + term` estimates the log of the
group's summed exponentials. The product's term is "isotropic, cap ln c" (docs/semantics.md, 6c);
the others are what it could be instead. "log-mean-exp" is the true one: no form of the term can do
better, and what error is left comes from averaged values and from blocks that are dropped.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from psa_kernels import PSAConfig, psa_attention, reference
from psa_kernels.layout import Layout
from psa_kernels.reference.pyramid import group_counts, group_spread, pool
from psa_kernels.reference.tokens import permuted

from .. import inputs
from ..checks import Truth
from ..method import Problem

VARIANTS = (
    "none",
    "isotropic, cap ln c",
    "isotropic, cap half ln c",
    "isotropic, no cap",
    "diagonal, cap ln c",
    "full covariance, cap ln c",
    "log-mean-exp",
)


def variant_errors(problem: Problem, config: PSAConfig, truth: Truth) -> dict[str, float]:
    """rel-L2 from float32 dense of each variant, all with the levels of `config`.

    For problems without text and configurations of a static order (raster, Gilbert, STA).
    """
    _, stats = psa_attention(
        problem.q, problem.k, problem.v, config=config, grid=problem.grid, return_stats=True
    )
    layout = stats.layout
    order = reference.reorder(problem.q, problem.k, layout, config).q
    order = torch.arange(layout.q_len, device=problem.q.device) if order is None else order[0, 0]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    rows = place[truth.rows]
    found: dict[str, list[torch.Tensor]] = {name: [] for name in VARIANTS}
    for head in truth.heads:
        q, k, v = (permuted(x[0, head], order) for x in (problem.q, problem.k, problem.v))
        levels = stats.levels[0, head][rows // layout.m]
        for name, out in _head(q[rows], k, v, levels, layout, config).items():
            found[name].append(out)
    return {name: inputs.relative(torch.stack(x), truth.out) for name, x in found.items()}


def _head(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    levels: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
) -> dict[str, torch.Tensor]:
    """Each variant's output `[rows, D]` of queries `[rows, D]` whose blocks have `levels`.

    k, v `[L, D]` and levels `[rows, key blocks]` in permuted order.
    """
    scale = q.shape[1] ** -0.5
    scores = q @ k.T * scale
    logits: dict[str, list[torch.Tensor]] = {name: [] for name in VARIANTS}
    values = []
    for level, size in ((1, 1), (2, 2), (4, 4), (8, 8), (0, config.tail)):
        if size == "none" or not (levels == level).any():
            continue
        counts = group_counts(len(k), size, k)
        block = torch.arange(0, len(k), size, device=k.device) // layout.n
        absent = (levels != level)[:, block]
        plain = _group_means(scores, size, counts) + counts.log()
        for name, term in _terms(q, k, scores, size, counts, scale).items():
            logits[name].append((plain + term).masked_fill(absent, -torch.inf))
        values.append(pool(v, size))
    stacked = torch.cat(values)
    return {name: torch.softmax(torch.cat(x, 1), 1) @ stacked for name, x in logits.items()}


def _terms(q, k, scores, size: int, counts, scale: float) -> dict[str, torch.Tensor | float]:
    """Each variant's term `[rows, groups]`."""
    if size == 1:
        return dict.fromkeys(VARIANTS, 0.0)
    cap = counts.log()
    means = pool(k, size)
    norms = q.square().sum(1, keepdim=True)
    isotropic = 0.5 * scale**2 * norms * group_spread(k, means, size)
    group = torch.arange(len(k), device=k.device) // size
    diagonal = 0.5 * scale**2 * q.square() @ pool((k - means[group]).square(), size).T
    mean = _group_means(scores, size, counts)
    full = 0.5 * _group_means((scores - mean[:, group]).square(), size, counts)
    exact = _group_means((scores - mean[:, group]).exp(), size, counts).log()
    return {
        "none": 0.0,
        "isotropic, cap ln c": torch.minimum(isotropic, cap),
        "isotropic, cap half ln c": torch.minimum(isotropic, cap / 2),
        "isotropic, no cap": isotropic,
        "diagonal, cap ln c": torch.minimum(diagonal, cap),
        "full covariance, cap ln c": torch.minimum(full, cap),
        "log-mean-exp": exact,
    }


def _group_means(x: torch.Tensor, size: int, counts: torch.Tensor) -> torch.Tensor:
    """`[rows, groups]`: means of `size` consecutive columns, the last ones over what is there."""
    padded = functional.pad(x, (0, len(counts) * size - x.shape[1]))
    return padded.view(len(x), -1, size).sum(2) / counts
