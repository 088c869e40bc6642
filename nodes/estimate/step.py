"""How much less a step and a run compute, and how much faster that is on this machine.

A model evaluation is self-attention over the sequence in every block, and the rest: projections,
cross-attention, feed-forward. Their FLOPs follow from the model's sizes. Times are known where this
machine was measured (times.py): attention's from calls, the rest's from its rate of matrix
products, which a model does not quite reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...psa_kernels.config import DENSE, PSAConfig
from .calls import Calls, Plan
from .density import Tokens, density
from .models import Model
from .times import Times, here, made_anew, settled

NO_SIZES = "the sizes of the family's model are not known"
COUNTED = "counted from the sizes of the model's blocks, without embeddings, norms and activations"
CHOOSING = "choosing the blocks is not counted, and time gains as much only if all runs at one rate"
MEASURED = "from calls of {} tokens, timed on this {gpu} on {date} beside {against}"
REST = "the rest at {:.0f} TFLOP/s, this GPU's rate of matrix products, which no real step reaches"
INT8 = "with query-key products in int8"
NO_INT8 = "timed with query-key products in half precision; these run in int8"
NO_SUMS = "timed with values summed in float32; these are summed in float16"
BEYOND = "{} than any that was timed"
LIKE = "groups of like keys anew in {:.0%} of the sparse steps, and plans in {:.0%}"
LONG_RUN = ", as in a long run"
TIMED = ("time_share", "dense_s", "sparse_s", "step", "break_even", "attention", "sparse_calls")


@dataclass(frozen=True)
class Figure:
    """value     None with a `reason`
    kind      "extrapolated" (from measured calls), "arithmetic" (counted, no time in it) or
              "dense"; None without a value
    note      what it rests on
    measured  the measurement behind it: gpu, versions, date, against
    """

    value: float | None
    kind: str | None = None
    reason: str | None = None
    note: str | None = None
    measured: Mapping[str, Any] | None = None


def estimate_run(
    calls: Calls, tokens: Tokens, model: Model | None, plan: Plan | None = None, left_out: str = ""
) -> dict[str, Figure]:
    """What the calls of a run's sparse steps (calls.py) make of a step and of the run.

    flops_share  self-attention's part of a dense step's FLOPs
    less_work    a dense step's FLOPs over a sparse step's
    time_share   self-attention's part of a dense step's time
    dense_s      seconds of one evaluation of the model, batch 1, in a dense step
    sparse_s     the same in a sparse step
    step         a dense step's time over a sparse step's
    run          a dense run's time over that of a run by `plan`, if there is one
    break_even   tokens of the sequence from which on PSA's attention is the faster
    attention    dense attention's time over that of the attention of all blocks in a sparse step
    sparse_calls  the same of the sparse calls alone: what a report measures

    left_out: what is not counted, for the notes.
    """
    share, flops = density(calls, tokens), model and model.flops(tokens.total)
    note = _joined(share.note, left_out, model.note if model else "")
    found = dict.fromkeys(("flops_share", "less_work", *TIMED), Figure(None, reason=NO_SIZES))
    if flops:
        (attention, rest), said = flops, _joined(note, COUNTED)
        less = (attention + rest) / (attention * share.value + rest)
        found["flops_share"] = Figure(attention / (attention + rest), "arithmetic", note=said)
        found["less_work"] = Figure(less, "arithmetic", note=_joined(said, CHOOSING))
    if model:
        found |= _timed(calls, tokens, model, plan, note)
    if share.kind == "dense":
        one = Figure(1.0, "dense", note=note)
        found |= {"step": one, "attention": one, "sparse_calls": one}
        found["break_even"] = Figure(None, reason=note)
    return found | ({"run": _of_run(found["step"], plan)} if plan else {})


def _timed(
    calls: Calls, tokens: Tokens, model: Model, plan: Plan | None, note: str
) -> dict[str, Figure]:
    """Those of TIMED that are known, or all with the reason."""
    times, sparse = here(model.head_dim), [(n, x) for n, x in calls if x.type != DENSE]
    reasons = [times] if isinstance(times, str) else [times.unmeasured(x) for _, x in sparse]
    if any(reasons):
        return dict.fromkeys(TIMED, Figure(None, reason=next(filter(None, reasons))))
    known = all("int8_ms" in one for call in times.calls for one in call["psa"])
    computed = {part: settled(part, model.head_dim) for _, part in sparse}
    int8 = {part for part, x in computed.items() if x.qk == "int8"}
    half_sums = any(x.value_sums == "float16" for x in computed.values())
    lengths = " and ".join(f"{call['tokens']:,}" for call in times.calls)
    basis = MEASURED.format(lengths, **times.source)
    similar = [part for _, part in sparse if part.grouping == "similar"]
    note = _joined(note, similar and _like_keys(similar[0], plan))
    note = _joined(note, int8 and (INT8 if known else NO_INT8), half_sums and NO_SUMS, basis,
                   times.note)  # fmt: skip
    shares = [(n, part, density([(1, part)], tokens).value) for n, part in sparse]

    def took(length: Any) -> Any:
        """The time of the attention in a sparse step, in that of a dense step of that length."""
        return (
            1
            - changed
            + sum(
                n * times.sparse(part, length, model.heads, share, known and part in int8, plan)
                for n, part, share in shares
            )
        )

    def figure(value: float, *notes: str, at: float = tokens.total) -> Figure:
        said = _joined(note, _beyond(at, times), *notes)
        return Figure(float(value), "extrapolated", None, said, times.source)

    changed = sum(n for n, _ in sparse)
    left, lengths = took(tokens.total), np.geomspace(64, 4e6, 1000)
    found = {"attention": figure(1 / left)}
    if sparse:
        slower = took(lengths) > 1
        found["sparse_calls"] = figure(changed / (left - 1 + changed))
        if slower[-1]:
            where = "at any length" if slower.all() else "in long sequences"
            found["break_even"] = Figure(None, reason=f"slower than dense attention {where}")
        else:
            # it may be the faster between lengths at which it is slower
            even = lengths[np.flatnonzero(slower)[-1] + 1 if slower.any() else 0]
            found["break_even"] = figure(float(f"{even:.2g}"), "at this density", at=even)
    if flops := model.flops(tokens.total):
        attention = model.blocks * times.dense(tokens.total, model.heads)
        rest, said = flops[1] / (times.tflops * 1e12), REST.format(times.tflops)
        dense, seconds = attention + rest, attention * left + rest
        found |= {
            "time_share": figure(attention / dense, said),
            "dense_s": figure(dense, said),
            "sparse_s": figure(seconds, said),
            "step": figure(dense / seconds, said),
        }
    return found


def _beyond(tokens: float, times: Times) -> str:
    if tokens < times.calls[0]["tokens"]:
        return BEYOND.format("shorter")
    return BEYOND.format("longer") if tokens > times.calls[-1]["tokens"] else ""


def _like_keys(config: PSAConfig, plan: Plan | None) -> str:
    long = "" if plan and plan.sparse else LONG_RUN
    return LIKE.format(*made_anew(config, plan)) + long


def _of_run(step: Figure, plan: Plan) -> Figure:
    """The gain of a run from that of its sparse steps."""
    if not plan.sparse:
        return Figure(1.0, "dense", note="no step is sparse")
    if step.value is None:
        return step
    share = plan.sparse / plan.steps
    note = f"{plan.sparse} of {plan.steps} steps sparse, all steps of equal work; {step.note}"
    return replace(step, value=1 / (1 - share + share / step.value), note=note)


def _joined(*notes: Any) -> str:
    return "; ".join(filter(None, notes))
