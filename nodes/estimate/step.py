"""How much faster a whole step and a whole run become, before they are run.

A model evaluation is self-attention over the sequence in every block, and the rest: projections,
cross-attention, feed-forward. Their FLOPs follow from the model's sizes (work.py). Their times come
from the measured step of the model that is nearest in length, where there is one
(measured_steps.py); else attention goes by measured calls (speed.py) and the rest at the measured
rate of matrix products, which a model does not quite reach: norms, activations and launches come on
top.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...psa_kernels.config import PSAConfig
from .density import Density, Tokens, density, how_mixed, parts
from .figure import Figure
from .measured_steps import nearest_step, parts_of, row_of, tokens_of, within_a_step
from .models import Model
from .plan import Plan, of_run
from .speed import (
    about_groups,
    break_even,
    dense_call,
    far_from_measured,
    same_work,
    speedup,
    table,
)
from .work import Work, work_of


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
    attention    dense attention's time over that of the attention of all blocks in a sparse step,
                 against the same dense attention as `step`; blocks that the preset leaves dense
                 count as such, `dense_blocks` do not
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


def estimate_step(
    config: PSAConfig,
    tokens: Tokens,
    model: Model | None,
    plan: Plan | None = None,
    *,
    gpu: str | None,
    dense_blocks: Collection[int] = (),
    found: Density | None = None,
) -> StepEstimate:
    """What a preset does to a step and a run.

    gpu           as torch names it; None: there is none
    dense_blocks  indices of blocks that stay dense in sparse steps
    found         the preset's density, where it is known already
    """
    found = found or density(config, tokens, model.blocks if model else 0)
    even = break_even_here(config, tokens, found, model, gpu)
    work = work_of(model, tokens)
    if isinstance(work, str):
        nothing = Figure(None, reason=work)
        call = _single_call(config, tokens, found, model, gpu)
        run = of_run(nothing, plan)
        return _for_size(StepEstimate(*[nothing] * 6, run, even, call, call), model)
    blocks = _Blocks.of(config, model, frozenset(dense_blocks))
    flops_share = Figure(work.attention / work.total, "arithmetic", note=work.note)
    if found.value is None:
        less_work = Figure(None, reason=found.note)
    else:
        less = work.total / (work.rest + work.attention * blocks.density(tokens))
        less_work = Figure(less, "arithmetic", note=f"{work.note}; {_NO_TIME}")
    times = _times(config, tokens, model, gpu, work, blocks)
    if isinstance(times, str):
        share = dense_s = sparse_s = step = Figure(None, reason=times)
    else:
        note = "; ".join(filter(None, (times.note, model.assumed)))
        basis = {"note": note, "measured": times.measured}
        share = Figure(times.share, times.dense_kind, **basis)
        dense_s = Figure(times.dense, times.dense_kind, **basis)
        basis["note"] += times.of_groups
        sparse_s = Figure(times.sparse, times.sparse_kind, **basis)
        step = Figure(times.dense / times.sparse, times.sparse_kind, **basis)
    if config.type == "dense":
        step = Figure(1.0, "dense", note="a dense preset runs the model's own attention")
    attention, calls = _attention(config, tokens, model, found, gpu)
    return _for_size(
        StepEstimate(
            flops_share, less_work, share, dense_s, sparse_s, step, of_run(step, plan), even,
            attention, calls,
        ), model,
    )  # fmt: skip


def _for_size(found: StepEstimate, model: Model | None) -> StepEstimate:
    """Each figure says of which size of model it is, where its family has several."""
    if model is None or not model.note:
        return found
    return replace(
        found, **{name: x.noted(model.note) for name, x in vars(found).items() if x is not None}
    )


@dataclass(frozen=True)
class _Blocks:
    """sparse  (how many, their settings) of the blocks that PSA changes; `count`: of all"""

    sparse: list[tuple[int, PSAConfig]]
    count: int

    @classmethod
    def of(cls, config: PSAConfig, model: Model, dense: frozenset[int] = frozenset()) -> _Blocks:
        """A block that both the preset and `dense` leave dense counts once."""
        if config.type == "dense":
            return cls([], model.blocks)
        found = parts(config, model.blocks, dense)
        return cls([(n, part) for n, part in found if part.type != "dense"], model.blocks)

    @property
    def changed(self) -> float:
        """The part of the blocks that is not dense."""
        return sum(n for n, _ in self.sparse) / self.count

    def density(self, tokens: Tokens) -> float:
        kept = sum(n * density(part, tokens).value for n, part in self.sparse)
        return 1 - self.changed + kept / self.count

    def calls(self, tokens: Tokens, model: Model) -> float | str:
        """The time of the sparse calls in dense ones (speed.py), or why it is not known."""
        time = 0.0
        for n, part in self.sparse:
            call = speedup(part, tokens, density(part, tokens), model)
            if call.value is None:
                return call.reason
            time += n / call.value
        return time

    def only(self) -> PSAConfig | None:
        """The settings of all sparse blocks, if they have the same."""
        first = self.sparse[0][1] if self.sparse else None
        return first if all(same_work(part, first) for _, part in self.sparse) else None


_NO_TIME = (
    "choosing the blocks is left out too, and time gains as much only if all of it runs at one rate"
)


@dataclass(frozen=True)
class _Times:
    """Seconds of one evaluation; `share` is attention's part of `dense`. `attention` is that of a
    dense evaluation, `sparse_calls` that of a sparse one in blocks that are not dense. `of_groups`
    goes to the note of what sparse calls are in.
    """

    dense: float
    sparse: float
    share: float
    dense_kind: str
    sparse_kind: str
    note: str
    measured: Mapping[str, Any]
    attention: float
    sparse_calls: float
    of_groups: str = ""


def _times(
    config: PSAConfig, tokens: Tokens, model: Model, gpu: str | None, work: Work, blocks: _Blocks
) -> _Times | str:
    """The times, or why they are not known."""
    near = nearest_step(model, tokens, gpu)
    if near is None and gpu != table()["gpu"]:
        return _not_here(gpu)
    calls, changed = blocks.calls(tokens, model), blocks.changed
    if isinstance(calls, str):
        return calls
    one = dense_call(tokens, model)
    if one is None:
        return f"heads of {model.head_dim} have not been measured"
    attention, sparse_calls = one * model.blocks, one * calls
    exact = near is not None and tokens_of(near) == tokens
    if near is None:
        rest = work.rest / (table()["matmul"]["tflops"] * 1e12)
        source = {name: table()[name] for name in ("gpu", "versions", "date", "against", "source")}
        note = _ASSUMED.format(**source, tflops=table()["matmul"]["tflops"])
        note += far_from_measured(model, tokens.total)
    else:
        attention, rest = parts_of(near)
        then = work_of(model, tokens_of(near))
        attention *= work.attention / then.attention
        rest *= work.rest / then.rest
        sparse_calls *= within_a_step(near, model)
        source = {name: near[name] for name in ("gpu", "versions", "date", "source")}
        source["against"] = near["backend"]
        note = f"from whole steps measured on one {gpu} with {near['backend']} where dense"
        if not exact:
            note += f", at {tokens_of(near).total:,} tokens, and the FLOPs of this length"
    dense = near["dense_s"] / near["evaluations"] if exact else attention + rest
    sparse = rest + attention * (1 - changed) + sparse_calls
    only = blocks.only()
    row = row_of(near, only) if exact and only else None
    if row is not None:
        sparse = dense * (1 - changed) + row["s"] / near["evaluations"] * changed
        sparse_calls = row["attention_s"] / near["evaluations"] * changed
        of_groups = ""
    else:
        of_groups = next(filter(None, (about_groups(part) for _, part in blocks.sparse)), "")
    whole = row is not None and changed == 1
    if whole:
        note = f"whole steps of these sizes on one {gpu}, with {near['backend']} where dense"
    return _Times(
        dense, sparse, attention / dense, "measured" if exact else "extrapolated",
        "measured" if whole else "extrapolated", note, source, attention, sparse_calls,
        of_groups,
    )  # fmt: skip


_ASSUMED = (
    "from calls measured on one {gpu}, where the fastest dense attention is {against}, and the "
    "rest of the step at its measured rate of matrix products, {tflops} TFLOP/s: norms, "
    "activations and launches come on top, so a real step gains a little less"
)


def _attention(
    config: PSAConfig, tokens: Tokens, model: Model, found: Density, gpu: str | None
) -> tuple[Figure, Figure]:
    """Of the attention of all blocks, and of the sparse calls alone."""
    if config.type == "dense" or nearest_step(model, tokens, gpu) is None:
        every = _single_call(config, tokens, found, model, gpu)
        blocks = _Blocks.of(config, model)
        if every.value is None or not 0 < blocks.changed < 1:
            return every, every
        calls = blocks.calls(tokens, model)
        return every, replace(every, value=blocks.changed * model.blocks / calls)
    blocks = _Blocks.of(config, model)
    times = _times(config, tokens, model, gpu, work_of(model, tokens), blocks)
    if isinstance(times, str):
        nothing = Figure(None, reason=times)
        return nothing, nothing
    if not blocks.sparse:
        dense = Figure(1.0, "dense", note="every block is dense")
        return dense, dense
    note = f"attention calls, reordering included; {times.note}{times.of_groups}"
    if config.blocks:
        note = f"{how_mixed(config, model.blocks)}; {note}"
    left = times.attention * (1 - blocks.changed)
    basis = {"kind": times.sparse_kind, "note": note, "measured": times.measured}
    return (
        Figure(times.attention / (left + times.sparse_calls), **basis),
        Figure(times.attention * blocks.changed / times.sparse_calls, **basis),
    )


def _single_call(
    config: PSAConfig, tokens: Tokens, found: Density, model: Model | None, gpu: str | None
) -> Figure:
    call = speedup(config, tokens, found, model)
    if call.value is not None and config.type != "dense" and gpu != table()["gpu"]:
        return Figure(None, reason=_not_here(gpu))
    return call


def break_even_here(
    config: PSAConfig, tokens: Tokens, found: Density, model: Model | None, gpu: str | None
) -> Figure:
    """`break_even` on the GPU that it is known of."""
    if config.type != "dense" and gpu != table()["gpu"]:
        return Figure(None, reason=_not_here(gpu))
    return break_even(config, tokens, found, model)


def _not_here(gpu: str | None) -> str:
    here = "there is no GPU here" if gpu is None else f"this is {gpu}"
    return f"times are known for {table()['gpu']} only, and {here}"
