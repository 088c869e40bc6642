"""What attention takes on this machine, as `psa_kernels.tune` measured it (its module `times`).

At each measured length the time of a call of PSA is a straight line over its density. Between
lengths figures follow the logarithm of the length; beyond them they are those of the nearest one.
Below the shortest, the part that does not depend on the density grows with 1 / length: it is about
linear in the length, and dense attention is quadratic. What the shortest call takes beyond what the
next length predicts for it is taken for launches, which take the same for any heads and length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import numpy as np
import torch

from ...psa_kernels import capability, measured
from ...psa_kernels.capability import Call
from ...psa_kernels.config import PSAConfig
from ...psa_kernels.measured import LIBRARY, machine_of
from ...psa_kernels.order_state import CARRIED, steps_anew
from ...psa_kernels.triton.support import PRECISIONS
from ..patching.dense_kernel import dense_kernel
from .calls import Plan

DTYPE = torch.bfloat16
OTHER_HEADS = "timed for heads of {}; dense attention is taken to follow their size, PSA is not"
STANDS_IN = "timed outside ComfyUI as torch's own"


@dataclass(frozen=True)
class Times:
    """source  gpu, versions, date, against: which dense attention
    calls   measured ones, the shortest first, with the `dense_ms` of that attention alone, and
    tflops  the rate of a large matrix product: psa_kernels/tune/times.py has what they are
    n64     what key blocks of 64 make of a call's time, None where that was not measured
    note    what of it is not as in ComfyUI here
    """

    source: Mapping[str, str]
    calls: list[Mapping[str, Any]]
    tflops: float
    n64: float | None
    note: str

    def dense(self, tokens: float, heads: int) -> float:
        """Seconds of a dense call, batch 1."""
        rate = self._at(tokens, list(map(_rate, self.calls)))
        return 1e-3 * heads * tokens**2 / rate

    def sparse(
        self, config: PSAConfig, tokens: Any, heads: int, density: float, int8: bool,
        plan: Plan | None = None,
    ) -> Any:  # fmt: skip
        """The mean time of PSA's calls in a run by `plan`, or in a long one.

        In dense calls of their length; `tokens` may be an array.
        """
        anew = made_anew(config, plan)
        lines = [tuple(ms / x["dense_ms"] for ms in _line(x, config, int8, anew))
                 for x in self.calls]  # fmt: skip
        launches = [0.0 for _ in lines]
        if len(lines) > 1:
            lines[0], launches[0] = self._without_launches(*lines[:2], density)
        base, slope, launch = (
            self._at(tokens, values) for values in (*zip(*lines, strict=True), launches)
        )
        below = np.maximum(1.0, self.calls[0]["tokens"] / tokens)
        launch = launch * below**2 * self.calls[0]["heads"] / heads
        took = base * below + density * slope + launch
        return took * (self.n64 if config.block_n == 64 else 1.0)

    def _without_launches(
        self, line: tuple[float, float], longer: tuple[float, float], density: float
    ) -> tuple[tuple[float, float], float]:
        """(the shortest length's line over the density, launches), both in its dense calls."""
        one, other = self.calls[:2]
        # by how much dense attention's rate differs
        rate = _rate(one) / _rate(other)
        base, slope = longer[0] * rate * other["tokens"] / one["tokens"], longer[1] * rate
        more = line[0] - base + density * (line[1] - slope)
        return ((base, slope), more) if more > 0 else (line, 0.0)

    def unmeasured(self, config: PSAConfig) -> str:
        """Why calls with these settings have no time; "" where they have."""
        sizes = (128, 64) if self.n64 else (128,)
        for missing, what in (
            (config.importance == "exact", "exact importance"),
            (config.order in CARRIED, f"the {config.order} order"),
            (config.block_m != 128, f"query blocks of {config.block_m}"),
            (config.block_n not in sizes, f"key blocks of {config.block_n}"),
        ):
            if missing:
                return f"calls with {what} are not measured"
        return ""

    def _at(self, tokens: Any, values: Sequence[float]) -> Any:
        return np.interp(np.log(tokens), np.log([x["tokens"] for x in self.calls]), values)


def _rate(call: Mapping[str, Any]) -> float:
    """Pairs of tokens that dense attention does in a millisecond."""
    return call["heads"] * call["tokens"] ** 2 / call["dense_ms"]


def made_anew(config: PSAConfig, plan: Plan | None) -> tuple[float, float]:
    """The parts of a run's sparse steps that make groups of like keys anew, and plans.

    Without a sparse step to count: of a long run's.
    """
    if not plan or not plan.sparse:
        return 1 / config.refresh, 1 / config.refresh
    ranges = plan.range_of_sparse()
    # groups outlive a range of steps, unless the next pools more or less finely, as no shipped
    # preset does; a plan belongs to its settings
    counts = (steps_anew(x, config.refresh) for x in ([None] * plan.sparse, ranges))
    groups, plans = (count / plan.sparse for count in counts)
    return groups, plans


def _line(
    call: Mapping[str, Any], config: PSAConfig, int8: bool, anew: tuple[float, float]
) -> tuple[float, float]:
    """(ms at density 0, ms more at density 1) of a measured length."""
    groups, plans = anew

    def ms(one: Mapping[str, float]) -> float:
        other = one["int8_ms"] - one["order_ms"] if int8 else 0.0
        if config.grouping != "similar":
            return one["order_ms"] + other
        # a plan that is made for kept groups takes as long as for keys in order
        parts = ((groups, "anew_ms"), (plans - groups, "order_ms"), (1 - plans, "kept_ms"))
        return sum(part * one[name] for part, name in parts) + other

    thin, *_, thick = sorted(call["psa"], key=lambda one: one["density"])
    slope = (ms(thick) - ms(thin)) / (thick["density"] - thin["density"])
    slope = min(max(slope, 0.0), ms(thin) / thin["density"])  # whatever the noise, none below 0
    return ms(thin) - slope * thin["density"], slope


def this_gpu() -> str | None:
    """Its name; None where there is none that PSA runs on."""
    machine = machine_of(comfy.model_management.get_torch_device())
    return machine and machine.gpu


def here(head_dim: int) -> Times | str:
    """What attention takes on this machine, or why that is not known."""
    if this_gpu() is None:
        return "there is no GPU here that PSA runs on"
    found = measured.find(comfy.model_management.get_torch_device(), head_dim, DTYPE)
    one = found.entry or {}
    if "times" not in one:
        return found.ignored or f"nothing was measured on this GPU for heads of {head_dim}"
    calls = sorted(one["times"]["calls"], key=lambda call: call["tokens"])
    known = {name for call in calls for name in call["dense_ms"]}
    against, note = _dense_of(known)
    # PSA's kernels run at the width of a stored row, which is that of the entry
    size = head_dim / one["head_dim"]
    calls = [{**call, "dense_ms": size * call["dense_ms"][against]} for call in calls
             if against in call["dense_ms"]]  # fmt: skip
    if not calls:  # it may have failed at some lengths, or at all
        return f"dense attention is {against} here; measured was {', '.join(sorted(known))}"
    versions = f"torch {one['torch']}, Triton {one['triton']}"
    source = {"gpu": one["gpu"], "versions": versions, "date": one["date"], "against": against}
    notes = (note, size != 1 and OTHER_HEADS.format(one["head_dim"]))
    note = "; ".join(filter(None, notes))
    return Times(source, calls, one["times"]["matmul_tflops"], one["times"].get("n64"), note)


def _dense_of(known: Collection[str]) -> tuple[str, str]:
    """(the attention that ComfyUI uses, or what stands in for it among `known`; what to say)."""
    attention = comfy.ldm.modules.attention
    # where no node chooses another
    name = dense_kernel(attention.optimized_attention, None).name
    is_torchs = name == dense_kernel(attention.attention_pytorch, None).name
    if name not in known and is_torchs and LIBRARY in known:
        return LIBRARY, STANDS_IN
    return name, ""


def offer(head_dim: int) -> str | None:
    """The head_dim of PSA Self-test that would bring times; None where nothing would."""
    if this_gpu() is None or isinstance(here(head_dim), Times):
        return None
    return next((str(x) for x in sorted(measured.HEAD_DIMS) if x >= head_dim), None)


def settled(config: PSAConfig, head_dim: int) -> PSAConfig:
    """The configuration with the precisions that the kernels use for such calls on this machine."""
    device = comfy.model_management.get_torch_device()
    return capability.settled(PRECISIONS, Call.small(device, DTYPE, head_dim, config))[0]
