"""How many heads to process at a time, so that a call's buffers stay below a given size."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

from ..config import PSAConfig
from ..layout import Layout, row_width
from .levels import capacities

MOST_SHARE = 1.25  # of the bytes of k and v
# below this, memory does not matter, and more launches would cost time
SMALL = 2**27  # bytes


def head_groups(layout: Layout, config: PSAConfig, element_size: int) -> list[slice]:
    """Slices of the key/value heads; each goes through the stages separately.

    Nearly all of a call's buffers are the pyramid: k and v once for level 1, and 1 / size of them
    for every pooling size. Levels 2 and 4 together take 1.8 times k and v; in two groups, 0.9
    times.
    """
    return list(_head_groups(layout, config, element_size, MOST_SHARE, SMALL))


@lru_cache(maxsize=256)
def _head_groups(
    layout: Layout, config: PSAConfig, element_size: int, most_share: float, small: int
) -> tuple[slice, ...]:
    stored = row_width(layout.head_dim) * element_size
    pyramid = 2 * layout.k_len * stored * (1 + sum(1 / size for size in config.pooling_sizes))
    # per query block: float32 mass, int8 levels, int32 lists
    row = layout.k_blocks * (4 + 1) + 4 * sum(capacities(layout.k_blocks, config))
    shares = layout.q_blocks * row
    buffers = layout.batch * (layout.kv_heads * pyramid + layout.heads * shares)
    inputs = 2 * layout.batch * layout.kv_heads * layout.k_len * layout.head_dim * element_size
    count = 1
    if buffers > small:
        # count by the largest group: heads seldom divide evenly
        most = max(1, math.floor(most_share * inputs * layout.kv_heads / buffers))
        count = math.ceil(layout.kv_heads / most)
    ends = [layout.kv_heads * i // count for i in range(count + 1)]
    return tuple(slice(begin, end) for begin, end in itertools.pairwise(ends))
