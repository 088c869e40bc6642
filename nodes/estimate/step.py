"""How much less a step and a run compute, and how much faster that is on this machine.

A model evaluation is self-attention over the sequence in every block, and the rest: projections,
cross-attention, feed-forward. Their FLOPs follow from the model's sizes (work.py). Times are known
where this machine was measured (times.py): attention's from calls, the rest's from its rate of
matrix products, which a model does not quite reach.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from ...psa_kernels.config import DENSE, PSAConfig
from .density import BLOCKS_UNKNOWN, Tokens, density, how_mixed
from .figure import Figure
from .models import Model
from .over_run import Plan, calls_of_run, note_of, parts_of_run
from .times import Here, Times, here
from .work import work_of

DENSE_PRESET = "a dense preset runs the model's own attention"


@dataclass(frozen=True)
class StepEstimate:
    """flops_share  self-attention's part of a dense step's FLOPs
    less_work    a dense step's FLOPs over a sparse step's
    time_share   self-attention's part of a dense step's time
    dense_s      seconds of one evaluation of the model, batch 1, in a dense step
    sparse_s     the same in a sparse step
    step         a dense step's time over a sparse step's
    run          a dense run's time over that of a run by the plan; None without a plan
    break_even   tokens of the sequence from which on PSA's attention is the faster
    attention    dense attention's time over that of the attention of all blocks in a sparse step
    sparse_calls  the same of the sparse calls alone: what a report measures
    """

    flops_share: Figure
    less_work: Figure
    time_share: Figure
    dense_s: Figure
    sparse_s: Figure
    step: Figure
    run: Figure | None
    break_even: Figure
    attention: Figure
    sparse_calls: Figure


def estimate_run(
    config: PSAConfig,
    tokens: Tokens,
    model: Model | None,
    plan: Plan | None = None,
    *,
    dense_blocks: Collection[int] = (),
) -> StepEstimate:
    """What a preset does to a step and a run; a sparse step's figures are the mean over all."""
    blocks = model.blocks if model else 0
    calls = calls_of_run(config, blocks, plan, dense_blocks)
    densities = {part: density(part, tokens) for _, part in calls}
    unknown = next((x.note for x in densities.values() if x.value is None), None)
    note = _mixed(config, model, plan)
    found = _counted(calls, densities, tokens, model, unknown, note)

    known = here(model.head_dim) if model else Here(reason=NO_HEADS)
    sparse = [(n, part) for n, part in calls if part.type != DENSE]
    reason = unknown or known.reason or None
    if known.times:
        reasons = (known.times.unmeasured(part) for _, part in sparse)
        reason = reason or next(filter(None, reasons), None)
    if not sparse:
        one = Figure(1.0, "dense", note=DENSE_PRESET if config.type == DENSE else ALL_DENSE)
        found |= {"attention": one, "sparse_calls": one, "step": one}
        found["break_even"] = Figure(None, reason=one.note)
    if reason is None:
        found = _timed(known.times, sparse, densities, tokens, model, note) | found
    nothing = Figure(None, reason=reason)
    for name in ("time_share", "dense_s", "sparse_s", "step", "break_even", "attention",
                 "sparse_calls"):  # fmt: skip
        found.setdefault(name, nothing)
    found["run"] = _of_run(found["step"], plan)
    if model and model.note:
        found = {name: x and x.noted(model.note) for name, x in found.items()}
    return StepEstimate(**found)


NO_HEADS = "the family's heads and their size are not known; give model"
ALL_DENSE = "every block is dense"
_NO_TIME = (
    "choosing the blocks is left out too, and time gains as much only if all of it runs at one rate"
)
_CALLS = "from calls measured on this {gpu} on {date}, where dense attention is {against}"
AT_THIS = "at this density"
_REST = (
    "the rest of a step at this GPU's rate of matrix products, {:.0f} TFLOP/s: norms, activations "
    "and launches come on top, so a real step gains a little less"
)


def _mixed(config: PSAConfig, model: Model | None, plan: Plan | None) -> str:
    """Which means the figures are."""
    runs = parts_of_run(config, plan)
    notes = [note_of(len(runs))] if len(runs) > 1 else []
    if config.blocks and config.type != DENSE:
        blocks = model.blocks if model else 0
        notes.append(how_mixed(config, blocks) if blocks else BLOCKS_UNKNOWN)
    return "; ".join(notes)


def _counted(calls, densities, tokens, model, unknown, note) -> dict[str, Figure]:
    work = work_of(model, tokens)
    if isinstance(work, str):
        nothing = Figure(None, reason=work)
        return dict.fromkeys(
            ("flops_share", "less_work", "time_share", "dense_s", "sparse_s", "step"), nothing
        )
    found = {"flops_share": Figure(work.attention / work.total, "arithmetic", note=work.note)}
    if unknown:
        return found | {"less_work": Figure(None, reason=unknown)}
    kept = sum(n * densities[part].value for n, part in calls)
    less = work.total / (work.rest + work.attention * kept)
    said = "; ".join(filter(None, (note, work.note, _NO_TIME)))
    return found | {"less_work": Figure(less, "arithmetic", note=said)}


def _timed(times: Times, sparse, densities, tokens, model, note) -> dict[str, Figure]:
    """Figures of time; `sparse`: (part of the calls, settings)."""
    length, basis = tokens.total, _CALLS.format(**times.source)
    outside = _outside(times, length, [densities[part].value for _, part in sparse])
    if any(part.qk != "half" for _, part in sparse):
        outside.append("measured with query-key products in half precision")

    def figure(value: float, *notes: str) -> Figure:
        said = "; ".join(filter(None, (*notes, basis, *outside)))
        return Figure(value, "extrapolated", note=said, measured=times.source)

    def share(at: float) -> float:
        """The time of the sparse calls, in dense calls of that length."""
        return sum(n * times.sparse(part, at, densities[part].value) for n, part in sparse)

    changed, took, found = sum(n for n, _ in sparse), share(length), {}
    if sparse:
        found["break_even"] = _break_even(changed, share, lambda x: figure(x, note, AT_THIS))
        found["sparse_calls"] = figure(changed / took, note)
        found["attention"] = figure(1 / (1 - changed + took), note)
    work = work_of(model, tokens)
    if isinstance(work, str):
        return found
    attention = model.blocks * times.dense(length, model.heads)
    rest = work.rest / (times.tflops * 1e12)
    more = model.assumed, _REST.format(times.tflops)
    seconds = rest + attention * (1 - changed + took)
    return found | {
        "time_share": figure(attention / (attention + rest), *more),
        "dense_s": figure(attention + rest, *more),
        "sparse_s": figure(seconds, note, *more),
        "step": figure((attention + rest) / seconds, note, *more),
    }


def _outside(times: Times, length: int, densities: list[float]) -> list[str]:
    """Words for a note, where a call is far from all that were measured."""
    said, (low, high) = [], times.densities
    if not times.lengths[0] / 2 <= length <= times.lengths[-1] * 2:
        known = dict.fromkeys((times.lengths[0], times.lengths[-1]))
        said.append(f"measured at {' and '.join(f'{x:,}' for x in known)} tokens only")
    if any(not low / 2 <= x <= high * 1.5 for x in densities):
        said.append(f"measured at densities of {low:.2g} and {high:.2g} only")
    return said


def _break_even(changed: float, share, figure) -> Figure:
    """The length at which the calls take as long as dense ones, to two digits."""
    low, high = 64.0, 4e6
    if share(high) > changed:
        return Figure(None, reason="at this density PSA is slower than dense attention throughout")
    if share(low) <= changed:
        high = low  # faster at any length worth a call
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if share(middle) > changed else (low, middle)
    return figure(float(f"{high:.2g}"))


def _of_run(step: Figure, plan: Plan | None) -> Figure | None:
    """The gain of a run from that of its sparse steps; None without a plan."""
    if plan is None or step.value is None:
        return plan and step
    if not plan.sparse:
        return Figure(1.0, "dense", note="no step is sparse")
    share = plan.sparse / plan.steps
    note = f"{plan.sparse} of {plan.steps} steps sparse, all steps of equal work; {step.note}"
    return replace(step, value=1 / (1 - share + share / step.value), note=note)
