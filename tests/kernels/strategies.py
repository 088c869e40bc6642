"""Random valid configurations, and attention calls that fit them, for property tests."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from hypothesis import strategies as st

from psa_kernels import PSAConfig

LEVELS = (1, 2, 4, 8, 0)
SUBSETS = [s for size in range(1, 6) for s in combinations(LEVELS, size) if s != (0,)]


@st.composite
def ratios(draw):
    """Valid `mask_ratios`; zero-width levels and absent levels are frequent."""
    levels = draw(st.sampled_from(SUBSETS) | st.just(LEVELS))
    highest = draw(st.sampled_from([20, 20, 5]))  # 5: nearly everything on the last level
    cuts = [draw(st.sampled_from(range(highest + 1))) for _ in levels[1:]]
    bounds = [0.0, *sorted(cut / 20 for cut in cuts), 1.0]
    if levels[-1] == 0 and bounds[-2] == 0.0:  # everything on level 0
        bounds[-2] = 0.05
    return {level: [bounds[i], bounds[i + 1]] for i, level in enumerate(levels)}


@st.composite
def arguments(draw, always_old=False):
    """Valid `PSAConfig` arguments over all fields and all of their values."""
    old = always_old or draw(st.sampled_from([False, False, True]))
    n = 128 if old else draw(st.sampled_from([32, 64, 128]))
    sizes = [size for size in (8, 16, 32, 64, 128) if size <= n]
    threshold = st.floats(-1, 1)
    every = {
        "attn_impl": st.just("old_mask_type" if old else "new_mask_type"),
        "block_m": st.just(128) if old else st.sampled_from([64, 128]),
        "block_n": st.just(n),
        "tile_n": st.sampled_from([size for size in sizes if size >= 16]),
        "tail": st.just("none") | st.sampled_from(sizes),
        "use_sim_mask": st.booleans() if old else st.just(False),
        "mask_ratios": ratios(),
        "mask_mode": st.sampled_from(["topk", "thresholdbound"]),
        "sim_2x_threshold": threshold,
        "sim_4x_threshold": threshold,
        "sim_8x_threshold": threshold,
        "rearrange_method": st.sampled_from([None, "Gilbert", "STA", "SemanticAware", "Hybrid"]),
        "use_rearrange": st.sampled_from([True, True, False]),
        "tile_size": st.lists(st.integers(1, 1024), min_size=3, max_size=3),
        "importance": st.sampled_from(["sub_block", "exact"]),
        "second_moment": st.booleans(),
        "warmup_steps": st.integers(0, 1000),
        "type": st.sampled_from(["psa", "dense"]),
        "description": st.text(max_size=30),
        "verbose": st.booleans(),
        "grouping": st.sampled_from(["order", "similar"]),
        "refresh": st.integers(1, 100),
        "qk": st.sampled_from(["half", "int8", "auto"]),
        "value_sums": st.sampled_from(["float32", "float16", "auto"]),
    }
    return {name: draw(values) for name, values in every.items()}


# --- attention calls ----------------------------------------------------------------------------

CONTENTS = (
    "normal", "normal", "smooth", "smooth", "peaked", "duplicates", "zero rows",
    "constant keys", "zero keys", "huge logits",
)  # fmt: skip
# logits of hundreds cost any float32 program more than 1e-5
MILD = ("normal", "smooth", "zero rows", "duplicates")
GRIDS = [
    (1, 1, 1), (2, 1, 3), (4, 3, 2), (1, 1, 97), (3, 5, 7), (1, 7, 19), (5, 5, 7), (2, 13, 9),
    (4, 7, 11), (3, 11, 11), (2, 12, 17), (5, 9, 10), (6, 8, 10), (7, 7, 11), (1, 23, 24),
    (13, 6, 7),
]  # fmt: skip
LENGTHS = [
    1, 2, 3, 15, 17, 31, 64, 65, 127, 128, 129, 160, 200, 225, 256, 257, 300, 321, 350, 384, 385,
    411, 450, 470, 512, 513, 550, 577,
]  # fmt: skip
EXTRAS = [(0, 0)] * 6 + [(1, 0), (0, 1), (7, 0), (0, 40), (3, 65), (40, 30), (130, 0), (60, 100)]
STRIDES = ("contiguous", "tokens first", "every second", "shared heads", "offset")


@dataclass(frozen=True)
class Call:
    """Arguments of one call; `numpy` has the values of q, k, v in whatever strides."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    config: PSAConfig
    grid: tuple[int, int, int] | None
    extra: tuple[int, int]
    causal: bool
    scale: float | None

    @property
    def keywords(self) -> dict:
        return {"grid": self.grid, "extra_tokens": self.extra, "causal": self.causal}

    @property
    def numpy(self) -> list[np.ndarray]:
        return [x.to(torch.float64).numpy() for x in (self.q, self.k, self.v)]


@st.composite
def calls(draw, dtype=torch.float64, contents=CONTENTS, only=None):
    """A random call: small enough for the oracle, of every shape that a call can have.

    `only`: "causal", "similarity", "similar" (like keys together) or "lengths" (fewer or more
    queries than keys), for calls that have it for certain. Sizes are picked from lists, since
    hypothesis would draw nearly all integers so small that there is only one block.
    """
    given = draw(arguments(always_old=only in ("causal", "similarity")))
    given["type"] = "psa"  # a dense config is dense whatever else it says: nothing to compare
    if only == "similarity":
        given["use_sim_mask"] = True
    if only == "similar":
        given["grouping"] = "similar"
    if only == "lengths":
        given["rearrange_method"] = draw(st.sampled_from([None, "SemanticAware"]))
    given["tile_size"] = draw(st.lists(st.integers(1, 5), min_size=3, max_size=3))
    old = given["attn_impl"] == "old_mask_type"
    causal = only == "causal" or (only is None and old and draw(st.booleans()))
    if causal:
        given["use_rearrange"] = False
    config = PSAConfig(**given)

    grid, extra = draw(st.sampled_from(GRIDS)), draw(st.sampled_from(EXTRAS))
    if only == "lengths":
        grid, extra = None, (0, 0)
    elif config.order not in ("Gilbert", "STA", "Hybrid") and draw(st.booleans()):
        grid = None
    video = draw(st.sampled_from(LENGTHS)) if grid is None else int(np.prod(grid))
    q_len = k_len = video + sum(extra)
    if only == "lengths":
        k_len = draw(st.sampled_from(LENGTHS))

    heads, kv_heads = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (3, 1)]))
    batch = draw(st.sampled_from([1, 1, 2]))
    dim = draw(st.sampled_from([1, 4, 6, 8, 16, 32]))
    scale = draw(st.sampled_from([None, None, 0.05, 0.5, 1.3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    q, k, v = fill(rng, draw(st.sampled_from(contents)), batch, heads, kv_heads, q_len, k_len, dim)
    strides = draw(st.sampled_from(STRIDES))
    q, k, v = (lay_out(torch.from_numpy(x).to(dtype), strides) for x in (q, k, v))
    return Call(q, k, v, config, grid, extra, causal, scale)


def fill(rng, content, batch, heads, kv_heads, q_len, k_len, dim):
    q = rng.standard_normal((batch, heads, q_len, dim))
    k = rng.standard_normal((batch, kv_heads, k_len, dim))
    v = rng.standard_normal((batch, kv_heads, k_len, dim))
    if content == "smooth":  # neighbours are alike, as in a video
        for x in (q, k):
            for t in range(1, x.shape[2]):
                x[:, :, t] = 0.9 * x[:, :, t - 1] + 0.19**0.5 * x[:, :, t]
    elif content == "peaked":
        q, k = q * 3, k * 3
    elif content == "duplicates":
        q, k = (x[:, :, rng.integers(0, min(x.shape[2], 20), x.shape[2])] for x in (q, k))
    elif content == "zero rows":
        q, k = (x * (rng.random((*x.shape[:3], 1)) < 0.5) for x in (q, k))
    elif content == "constant keys":
        k = np.broadcast_to(k[:, :, :1], k.shape).copy()
    elif content == "zero keys":
        k = k * 0.0
    elif content == "huge logits":
        q, k = q * 100, k * 100
    return q, k, v


def lay_out(x, strides):
    """The same values in another memory layout."""
    if strides == "tokens first":  # [B, L, H, D], as linear layers leave it
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    if strides == "every second":
        wide = torch.full((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]), torch.nan, dtype=x.dtype)
        wide[:, :, ::2, ::2] = x
        return wide[:, :, ::2, ::2]
    if strides == "shared heads":  # stride 0; other values, so callers read them from the tensor
        return x[:, :1].expand(x.shape)
    if strides == "offset":
        front = x.new_full((*x.shape[:2], 3, x.shape[3]), torch.nan)
        return torch.cat((front, x), dim=2)[:, :, 3:]
    return x
