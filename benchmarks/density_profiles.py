"""How attention mass is spread over key blocks, for estimates of density that depend on the video.

    python -m benchmarks.density_profiles

Writes nodes/estimate/profiles.npz, which nodes/estimate/profiles.py reads: from the package's own
reference on the inputs of `inputs.py`, float32, on the CPU. A few minutes on one thread.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

from psa_kernels import PSAConfig, reference
from psa_kernels.layout import Layout
from psa_kernels.reference.pyramid import group_cosines

from . import inputs

OUT = Path(__file__).resolve().parent.parent / "nodes" / "estimate" / "profiles.npz"
SHAPE = (2, 128, (21, 30, 52), 0)  # heads, head dim, grid, extra tokens: two heads at 480p
SEED = 0
ORDERS = ("raster", "Gilbert", "STA", "SemanticAware", "Hybrid")
MARKS = 101
BINS, KEY_BLOCKS = 50, 64


def main() -> None:
    q, k, v = inputs.make(SHAPE, "cpu", torch.float32, seed=SEED)
    found: dict[str, np.ndarray] = {}
    gains = {}
    start = time.monotonic()
    for profile in inputs.PROFILES:
        gains[profile] = gain = inputs.gain_for(q, k, profile)
        for order in ORDERS:
            for m in (64, 128):
                for n in (32, 64, 128):
                    config = PSAConfig(
                        block_m=m, block_n=n, use_rearrange=order != "raster",
                        rearrange_method=None if order == "raster" else order,
                    )  # fmt: skip
                    mass, pyramid, layout = _mass(q * gain, k, v, config)
                    found[f"{profile}/{order}/{m}/{n}"] = _curve(mass)
                    if m == n == 128:  # all that old_mask_type, and so the similarity mask, takes
                        parts = _key_blocks(mass, pyramid, layout)
                        found |= {f"{profile}/{order}/{name}": x for name, x in parts.items()}
            print(f"{profile} {order}: {time.monotonic() - start:.0f} s", flush=True)
    heads, dim, grid, _ = SHAPE
    about = {
        "profiles": list(inputs.PROFILES),
        "inputs": f"synthetic q and k ({grid[0]} x {grid[1]} x {grid[2]} tokens)",
        "made": "python -m benchmarks.density_profiles",
        "seed": SEED, "heads": heads, "head_dim": dim, "gains": gains, "torch": torch.__version__,
    }  # fmt: skip
    np.savez_compressed(OUT, about=np.array(json.dumps(about)), **found)
    print(f"{OUT}: {OUT.stat().st_size} bytes")


def _mass(q, k, v, config):
    """(S of the estimator that runs, the pyramid, the layout)"""
    layout = Layout.of(q, k, v, config, grid=SHAPE[2])
    orders = reference.reorder(q, k, layout, config)
    pyramid = reference.build_pyramid(k, v, orders, layout, config)
    scale = q.shape[3] ** -0.5
    return reference.importance(q, pyramid, orders, layout, config, scale), pyramid, layout


def _before(mass: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mass of the blocks before each one, in the order of rank; that order)"""
    ranked, order = mass.double().sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1).roll(1, -1)
    before[..., 0] = 0
    return before, order


def _curve(mass: torch.Tensor) -> np.ndarray:
    """float32 `[MARKS]`: the share of a row's blocks with less than u = 0 ... 1 before them."""
    before, _ = _before(mass)
    marks = torch.linspace(0, 1, MARKS, dtype=torch.float64)
    counts = [(before < u).double().mean().item() for u in marks]
    # the limit from above: whatever u is, the first block has nothing before it
    counts[0] = (before <= 0).double().mean().item()
    return np.array(counts, np.float32)


def _key_blocks(mass: torch.Tensor, pyramid, layout: Layout) -> dict[str, np.ndarray]:
    """For some key blocks, float16: the spread of their rows over the mass before them ("mass") and
    over their rank from 0 to 1 ("rank"), `[KEY_BLOCKS, BINS]`; c_2, c_4, c_8 ("alike"), `[.., 3]`.
    """
    before, order = _before(mass)
    rank = torch.empty_like(order)
    rank.scatter_(-1, order, torch.arange(layout.k_blocks).expand_as(order))
    of_block = before.gather(-1, rank)
    heads = mass.shape[1]
    chosen = inputs.sampled(KEY_BLOCKS // heads, layout.k_blocks, SEED).tolist()
    spread = {"mass": of_block, "rank": rank.double() / layout.k_blocks}
    rows: dict[str, list] = {"mass": [], "rank": [], "alike": []}
    for head in range(heads):
        cosines = group_cosines(pyramid.keys(0, head)[: layout.k_video], layout.n)
        for block in chosen:
            for name, values in spread.items():
                counts = torch.histc(values[0, head, :, block].float(), BINS, 0, 1)
                rows[name].append((counts / counts.sum()).numpy())
            rows["alike"].append([cosines[x][block].item() for x in (2, 4, 8)])
    return {name: np.array(x, np.float16) for name, x in rows.items()}


if __name__ == "__main__":
    main()
