"""Random attention calls over every setting, from a seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch

from psa_kernels import PSAConfig

from ..strategies import CONTENTS, EXTRAS, STRIDES, SUBSETS, fill, lay_out

ORDERS = (None, "Gilbert", "STA", "SemanticAware", "Hybrid")
GRIDS = [
    (1, 1, 1),
    (1, 1, 97),
    (3, 5, 7),
    (2, 13, 9),
    (4, 7, 11),
    (6, 8, 10),
    (5, 11, 13),
    (8, 9, 16),
]
LENGTHS = [1, 2, 15, 17, 64, 65, 127, 128, 129, 200, 257, 384, 411, 513, 700, 1024, 1100]


@dataclass(frozen=True)
class Case:
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    config: PSAConfig
    keywords: dict
    ordinary: bool
    finite_only: bool


def random_ratios(fixed: random.Random, rng: random.Random, may_skip_all: bool) -> dict:
    levels = fixed.choice([*SUBSETS, (1, 2, 4, 8, 0), (1, 2, 4, 8, 0), (1, 8, 0)])
    steps = rng.choice([20, 20, 5])
    cuts = sorted(rng.randint(0, steps) / 20 for _ in levels[1:])
    bounds = [0.0, *cuts, 1.0]
    if levels[-1] == 0 and bounds[-2] == 0 and not may_skip_all:
        bounds[-2] = 0.05
    return {level: (bounds[i], bounds[i + 1]) for i, level in enumerate(levels)}


def random_config(fixed: random.Random, rng: random.Random) -> PSAConfig:
    old = fixed.random() < 0.3
    n = 128 if old else fixed.choice([32, 64, 128])
    tail = fixed.choice(["none", *(t for t in (8, 16, 32, 64, 128) if t <= n)])
    return PSAConfig(
        attn_impl="old_mask_type" if old else "new_mask_type",
        block_m=128 if old else fixed.choice([64, 128]), block_n=n, tile_n=fixed.choice([16, 32]),
        tail=tail, use_sim_mask=old and fixed.random() < 0.5,
        mask_ratios=random_ratios(fixed, rng, tail != "none"),
        mask_mode=fixed.choice(["topk", "thresholdbound"]),
        **{f"sim_{x}x_threshold": rng.uniform(-0.3, 0.6) for x in (2, 4, 8)},
        rearrange_method=fixed.choice(ORDERS), tile_size=[fixed.randint(1, 4) for _ in range(3)],
        importance=fixed.choice(["sub_block"] * 7 + ["exact"]), second_moment=fixed.random() < 0.5,
        grouping=fixed.choice(["order", "similar"]),
    )  # fmt: skip


def random_case(seed: int, dtypes, dims, most_tokens=10**9, device="cpu") -> Case:
    """One call; `most_tokens` keeps it small enough for an interpreter."""
    # three calls share what a kernel is compiled for: compiling takes most of the time
    fixed, rng = random.Random(seed // 3), random.Random(seed)
    config = random_config(fixed, rng)
    causal = config.attn_impl == "old_mask_type" and fixed.random() < 0.4
    dtype, dim = fixed.choice(dtypes), fixed.choice(dims)
    if seed // 3 % 2:
        config, dim = config.replace(qk="int8"), max(dim, 32)
    if seed // 6 % 2 and dtype != torch.float32:
        config = config.replace(value_sums="float16")
    strides = fixed.choice(STRIDES)
    if causal:
        config = config.replace(use_rearrange=False)
    extra = rng.choice(EXTRAS)
    grid = rng.choice([g for g in GRIDS if math.prod(g) + sum(extra) <= most_tokens] or GRIDS[:1])
    video = math.prod(grid)
    if config.order in (None, "SemanticAware") and rng.random() < 0.5:
        grid = None
        video = rng.choice([x for x in LENGTHS if x + sum(extra) <= most_tokens] or [1])
    q_len = k_len = video + sum(extra)
    if grid is None and not causal and not any(extra) and rng.random() < 0.5:
        k_len = rng.choice([x for x in LENGTHS if x <= most_tokens])
    heads, kv_heads = rng.choice([(1, 1), (2, 2), (2, 1), (4, 2), (3, 1)])
    content = rng.choice(CONTENTS)
    values = fill(
        np.random.default_rng(seed), content, rng.choice([1, 1, 2]), heads, kv_heads, q_len, k_len,
        dim,
    )  # fmt: skip
    with torch.device(device):
        q, k, v = (lay_out(torch.from_numpy(x).to(device, dtype), strides) for x in values)
    keywords = {"grid": grid, "extra": extra, "causal": causal}
    keywords["scale"] = rng.choice([None, None, None, 0.05, 0.5, -0.2])
    ordinary = content not in ("peaked", "huge logits") and (keywords["scale"] or 0) <= 0.2
    return Case(q, k, v, config, keywords, ordinary, content == "huge logits")
