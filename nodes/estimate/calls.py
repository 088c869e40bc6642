"""Which attention calls the sparse steps of a run make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ...psa_kernels.config import DENSE, PSAConfig, Range

Calls = list[tuple[float, PSAConfig]]  # (share of all, settings of one block without `steps`)
ALL_DENSE = PSAConfig(type=DENSE)


@dataclass(frozen=True)
class Plan:
    """A run of `steps` sampler steps, of which `sparse` are not dense.

    ranges  how many of the sparse ones are in each of the preset's ranges of steps
    """

    steps: int
    sparse: int
    ranges: Mapping[Range, int] = field(default_factory=dict)

    def range_of_sparse(self) -> list[Range | None]:
        """That of each sparse step, those of no range last, as in shipped presets."""
        inside = [range_ for range_, n in sorted(self.ranges.items()) for _ in range(n)]
        return inside + [None] * (self.sparse - len(inside))


def calls_of_run(
    config: PSAConfig, blocks: int, plan: Plan | None = None, dense_blocks: Collection[int] = ()
) -> Calls:
    """The calls of the sparse steps, alike ones together; those of dense blocks are of type dense.

    blocks  how many the model has; 0: settings of single blocks are left out
    plan    the steps to count; without a sparse one each part of the run counts by its length
    """
    if plan and plan.sparse:
        weights = {**plan.ranges, None: plan.sparse - sum(plan.ranges.values())}
    else:
        weights = {(start, end): end - start for start, end in config.steps}
        weights[None] = 100.0 - sum(weights.values())
    found: Counter[PSAConfig] = Counter()
    for range_, own in config.of_ranges.items():
        weight = weights.get(range_, 0.0)
        if own.type == DENSE or weight < 1e-9:
            continue
        for block in range(blocks) if blocks else (-1,):
            found[ALL_DENSE if block in dense_blocks else own.for_block(block)] += weight
    total = sum(found.values())
    return [(weight / total, part) for part, weight in found.items()] or [(1.0, ALL_DENSE)]
