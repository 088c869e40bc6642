"""The kernels' groups of like keys, beside the reference's.

Which token goes where hangs on rounding and on rounds, so the order itself is not compared. It must
be an order of each block, the same in every run, and its groups of 8, or of the smallest size that
is read, about as tight as the reference's: their spread, as the mean over heads, at most a tenth
larger.
"""

from __future__ import annotations

import torch

from psa_kernels import reference
from psa_kernels.reference.grouping import finest_group
from psa_kernels.reference.pyramid import pool

LOOSER = 1.1


def check_groups(q, k, v, orders, groups, layout, config, ordinary=True):
    """`ordinary`: the contents are no worst case, whose spread hangs on rounding."""
    import psa_kernels.triton as line

    whole = layout.k_video // layout.n * layout.n
    check_places(groups, layout)
    again = line.group_keys(q, k, v, orders, layout, config)
    assert torch.equal(groups.places, again.places)
    assert torch.equal(groups.weights, again.weights)
    wanted = reference.group_keys(q.float(), k.float(), v.float(), orders, layout, config)
    torch.testing.assert_close(groups.weights, wanted.weights, rtol=1e-4, atol=1e-6)
    if whole and ordinary:
        size = max(8, finest_group(config, layout.n))
        found, best = (spread(q, k, v, orders, x, layout, config, size) for x in (groups, wanted))
        assert found <= LOOSER * best + 1e-6, f"groups: spread {found:.4f}, reference {best:.4f}"


def check_places(groups, layout):
    """Each block has its own tokens, all of them."""
    whole = layout.k_video // layout.n
    assert groups.places.shape == (layout.batch, layout.kv_heads, whole * layout.n)
    blocks = groups.places.unflatten(2, (whole, layout.n))
    every = torch.arange(layout.n, dtype=torch.uint8, device=blocks.device)
    assert torch.equal(blocks.sort(-1).values, every.expand_as(blocks)), "groups: no order"


def spread(q, k, v, orders, groups, layout, config, size) -> float:
    """What of the keys' and values' variance inside blocks is left inside groups of `size`."""
    pyramid = reference.build_pyramid(k.float(), v.float(), orders, layout, config, groups)
    shares = []
    for b in range(layout.batch):
        for head in range(layout.kv_heads):
            weights = groups.weights[b, head].sqrt()
            left = 0.0
            for rows in (pyramid.keys(b, head) * weights, pyramid.values(b, head)):
                rows = pyramid.grouped(b, head, rows)[: groups.places.shape[2]]
                within = [
                    (rows - pool(rows, x).repeat_interleave(x, 0)).square().sum()
                    for x in (size, layout.n)
                ]
                left += float(within[0] / within[1].clamp(min=1e-30)) / 2
            shares.append(left)
    return sum(shares) / len(shares)
