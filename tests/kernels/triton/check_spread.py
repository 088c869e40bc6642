"""The second moments of groups in which sums of squares could cancel, overflow or be spoiled.

As a program, which needs TRITON_INTERPRET=1 and no GPU.
"""

from __future__ import annotations

import importlib
import sys

import torch

if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from tests import pack_import

    pack_import.install()
    __package__ = "psa_pack.tests.kernels.triton"

import psa_kernels.triton as line
from psa_kernels import PSAConfig, reference
from psa_kernels.layout import Layout
from psa_kernels.order_state import OrderState
from psa_kernels.reference.pyramid import pool

TOKENS = 128 + 20  # the last group is a short one
# name -> what happens to the keys [tokens, channels] of the head
HARD = {
    "first member far from the others": lambda k: k[::8].mul_(300),
    "all alike": lambda k: k.fill_(3.0),
    "far from 0": lambda k: k.mul_(0.01).add_(100),
    "one key spoiled": lambda k: k[3].fill_(torch.nan),
    "beyond float32": lambda k: k[40:44].mul_(1e25),
    "an infinite first member": lambda k: k[16].fill_(torch.inf),
    "an infinite other member": lambda k: k[21].fill_(-torch.inf),
}
RATIOS = {1: (0, 0.3), 8: (0.3, 0.6), 0: (0.6, 1)}


def check_spread(device: str, dim: int) -> None:
    """Without levels 2 and 4 they come from sums about each group's first member."""
    rng = torch.Generator().manual_seed(0)
    given = torch.randn(3, len(HARD), TOKENS, dim, generator=rng)
    for head, spoil in zip(given[1], HARD.values(), strict=True):
        spoil(head)
    q, k, v = given[:, None].to(device)
    for tail, grouping in ((8, "order"), (64, "order"), (128, "similar"), (32, "similar")):
        config = PSAConfig(
            block_n=128, tail=tail, second_moment=True, mask_ratios=RATIOS, grouping=grouping,
            use_rearrange=False,
        )  # fmt: skip
        layout = Layout.of(q, k, v, config)
        orders = line.reorder(q, k, layout, config, OrderState())
        groups = None
        if grouping == "similar":
            groups = line.group_keys(q, k, v, orders, layout, config)
        found = line.build_pyramid(k, v, orders, layout, config, groups)
        exact = reference.build_pyramid(k, v, orders, layout, config, groups)
        for head, name in enumerate(HARD):
            keys = exact.grouped(0, head, exact.keys(0, head))
            for size, start in found.starts.items():
                wanted = exact.spread(0, head, keys, pool(keys, size), size)
                spread = found.spread[0, head, start : start + len(wanted)]
                # float32, in which the means of keys about 100 are off by 1e-5 of 1e-2
                torch.testing.assert_close(
                    spread, wanted, rtol=1e-4, atol=0, equal_nan=True,
                    msg=lambda text, of=(name, tail, size): f"{of}: {text}",
                )  # fmt: skip


if __name__ == "__main__":
    broken = importlib.import_module("psa_pack.tests.kernels.interpreter").broken()
    if broken:
        sys.exit(broken)
    check_spread("cpu", 16)
    print("all good")
