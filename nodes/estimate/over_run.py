"""Which calls the sparse steps of a run make, and how dense they are on average."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ...psa_kernels.config import DENSE, BlockOverrides, PSAConfig, Range
from .density import Density, Tokens, averaged, density, parts


@dataclass(frozen=True)
class Plan:
    """A run of `steps` sampler steps, of which `sparse` are not dense.

    ranges  how many of the sparse ones are in each of the preset's ranges of steps
    """

    steps: int
    sparse: int
    ranges: Mapping[Range, int] = field(default_factory=dict)

    def of(self, range_: Range | None) -> int:
        """How many sparse steps a range has; None: those in no range."""
        if range_ is None:
            return self.sparse - sum(self.ranges.values())
        return self.ranges.get(range_, 0)


def parts_of_run(config: PSAConfig, plan: Plan | None = None) -> list[tuple[float, PSAConfig]]:
    """(weight, settings without `steps`) of the parts of a run that the preset leaves sparse.

    The weight counts the plan's sparse steps, or percent of the run where there is no plan. Never
    empty: of a preset that leaves all dense it is the dense part.
    """
    if config.type == DENSE or not config.steps:
        return [(1.0, config.replace(steps={}) if config.steps else config)]
    if plan is not None and not plan.sparse:
        plan = None
    weights: dict[PSAConfig, float] = {}
    for range_, own in config.of_ranges.items():
        if own.type == DENSE:
            continue
        if plan is not None:
            weight = plan.of(range_)
        elif range_ is None:
            weight = 100 - sum(end - start for start, end in config.steps)
        else:
            weight = range_[1] - range_[0]
        if weight > 1e-9:
            weights[own] = weights.get(own, 0.0) + weight
    whole = config.of_ranges[None].replace(type=DENSE)
    return [(weight, own) for own, weight in weights.items()] or [(1.0, whole)]


def calls_of_run(
    config: PSAConfig, blocks: int, plan: Plan | None = None, dense_blocks: Collection[int] = ()
) -> list[tuple[float, PSAConfig]]:
    """(part of the calls, settings of one block) in the sparse steps; of a dense block its type is.

    blocks  how many the model has; 0: settings of single blocks are left out
    """
    found: dict[PSAConfig, float] = {}
    runs = parts_of_run(config, plan)
    total, left = sum(weight for weight, _ in runs), dict.fromkeys(dense_blocks, DENSE)
    for weight, own in runs:
        own = own.replace(blocks=BlockOverrides({**own.blocks, **left}))
        alike = not blocks or not own.blocks or own.type == DENSE
        of_blocks = [(1, own.replace(blocks={}))] if alike else parts(own, blocks)
        for count, part in of_blocks:
            share = weight / total * count / sum(n for n, _ in of_blocks)
            found[part] = found.get(part, 0.0) + share
    return [(share, part) for part, share in found.items()]


def shape_of_run(
    config: PSAConfig, tokens: Tokens, blocks: int = 0
) -> list[tuple[float, float, float | None]]:
    """(start, end, density) of the parts of a run, in percent, one after the other.

    The density of dense ones is 1, and None where it is not known. Warm-up is counted in steps, and
    not seen here.
    """
    found, begin = [], 0.0
    for range_, own in [*config.of_ranges.items(), ((100.0, 100.0), None)]:
        if range_ is None:
            continue
        if range_[0] > begin:
            found.append((begin, range_[0], config.of_ranges[None]))
        found.append((*range_, own))
        begin = range_[1]
    return [(start, end, density(own, tokens, blocks).value) for start, end, own in found if own]


def run_density(
    config: PSAConfig, tokens: Tokens, blocks: int = 0, plan: Plan | None = None
) -> Density:
    """Of the sparse steps' attention calls; `blocks` as for `density`."""
    found = [(n, density(part, tokens, blocks)) for n, part in parts_of_run(config, plan)]
    return found[0][1] if len(found) == 1 else averaged(found, note_of(len(found)))


def whole_density(sparse: Density, plan: Plan) -> float | None:
    """Mean density of all steps of a run, dense ones counted as 1."""
    if sparse.value is None and plan.sparse:
        return None
    return 1 - plan.sparse / plan.steps * (1 - (sparse.value or 0.0))


def note_of(parts: int) -> str:
    return f"mean over the sparse steps, which have {parts} sets of settings"
