"""How attention mass is spread over key blocks, for estimates of density that depend on the video.

    python -m benchmarks.density_profiles

Prints the tables MASS, IN_ORDER and IN_RASTER of nodes/estimate/density.py: from the package's own
reference on the inputs of `inputs.py`, float32, on the CPU. A minute on one thread.

Gilbert stands for all orders and 128 for all block sizes: those change a density by a fifth, the
profiles by a factor of eight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from psa_kernels import PSAConfig

from . import inputs
from .block_mass import estimated

SHAPE = (2, 128, (21, 30, 52), 0)  # heads, head dim, grid, extra tokens: two heads at 480p
SEED = 0
MASS = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 1)


def main() -> None:
    q, k, _ = inputs.make(SHAPE, "cpu", torch.float32, seed=SEED)
    print(f"MASS = {MASS}")
    for name, order in (("IN_ORDER", "Gilbert"), ("IN_RASTER", None)):
        config = PSAConfig(block_n=128, rearrange_method=order, use_rearrange=order is not None)
        print(f"{name} = (")
        for profile in inputs.PROFILES:
            mass, _ = estimated(q * inputs.gain_for(q, k, profile), k, config, SHAPE[2])
            found = curve(mass, MASS)
            print(f"    ({', '.join(f'{x:.3f}' for x in found[:-1])}, 1),  # {profile}", flush=True)
        print(")")


def curve(mass: torch.Tensor, marks: Sequence[float]) -> list[float]:
    """The share of a row's blocks with less than each mark before them, most important first."""
    ranked = mass.double().sort(dim=-1, descending=True).values
    before = ranked.cumsum(-1).roll(1, -1)
    before[..., 0] = 0
    # the limit from above: for any mark, the first block has nothing before it
    return [(before < max(mark, 1e-12)).double().mean().item() for mark in marks]


if __name__ == "__main__":
    main()
