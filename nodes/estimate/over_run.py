"""What a preset does on average over a run whose steps have settings of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

from ...psa_kernels.config import DENSE, PSAConfig
from .density import Density, Tokens, averaged, density
from .figure import Figure
from .models import Model
from .plan import Plan, of_run
from .step import StepEstimate, break_even_here, estimate_step


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
    return found[0][1] if len(found) == 1 else averaged(found, _note(len(found)))


def whole_density(sparse: Density, plan: Plan) -> float | None:
    """Mean density of all steps of a run, dense ones counted as 1."""
    if sparse.value is None and plan.sparse:
        return None
    return 1 - plan.sparse / plan.steps * (1 - (sparse.value or 0.0))


def estimate_run(
    config: PSAConfig,
    tokens: Tokens,
    model: Model | None,
    plan: Plan | None = None,
    *,
    gpu: str | None,
    dense_blocks: Collection[int] = (),
    found: Density | None = None,
) -> StepEstimate:
    """`estimate_step`, of which a sparse step's figures are the mean over all sparse steps."""
    parts = parts_of_run(config, plan)
    how = {"gpu": gpu, "dense_blocks": dense_blocks}
    if len(parts) == 1:
        return estimate_step(parts[0][1], tokens, model, plan, found=found, **how)
    each = [(n, estimate_step(part, tokens, model, **how)) for n, part in parts]
    first, note = each[0][1], _note(len(parts))

    def mean(name: str, of: Callable[[float], float]) -> Figure:
        return _mean([(n, getattr(one, name)) for n, one in each], of, note)

    step = mean("step", _inverse)
    found = found or run_density(config, tokens, model.blocks if model else 0, plan)
    most = max(parts, key=lambda part: part[0])[1]
    return dataclasses.replace(
        first,
        less_work=mean("less_work", _inverse),
        sparse_s=mean("sparse_s", lambda seconds: seconds),
        step=step,
        run=of_run(step, plan),
        break_even=break_even_here(most, tokens, found, model, gpu),
        attention=mean("attention", _inverse),
        sparse_calls=mean("sparse_calls", _inverse),
    )


def _note(parts: int) -> str:
    return f"mean over the sparse steps, which have {parts} sets of settings"


def _inverse(factor: float) -> float:
    return 1 / factor


def _mean(found: list[tuple[float, Figure]], of: Callable[[float], float], note: str) -> Figure:
    """The figure for which `of`, its own inverse, is the mean."""
    for _, one in found:
        if one.value is None:
            return one
    total = sum(n for n, _ in found)
    value = of(sum(n * of(one.value) for n, one in found) / total)
    kinds = {one.kind for _, one in found} - {"dense"}
    kind = "extrapolated" if "extrapolated" in kinds else min(kinds, default="dense")
    told = next((one for _, one in found if one.kind == kind), found[0][1])
    said = "; ".join(filter(None, (note, told.note)))
    return Figure(value, kind, note=said, measured=told.measured)
