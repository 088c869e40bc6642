"""What attention takes on this machine, as `psa_kernels.tune` measured it (its module `times`).

A call of PSA takes `base + density * slope` of the dense call of its length, both from the two
densities that were measured; like keys together add to it, key blocks of 64 change all of it by a
factor. Between lengths all of it goes by the
logarithm of the length, outside it is the nearest one's. Below the shortest, what is not attention
itself grows with 1 / length: it is about linear in the length, where dense attention is quadratic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import numpy as np
import torch

from ...psa_kernels import measured
from ...psa_kernels.config import PSAConfig
from ...psa_kernels.measured import machine_of
from ..patching.dense_kernel import dense_kernel
from .work import attention_flops

NO_GPU = "there is no GPU here that PSA runs on"
NOT_MEASURED = "nothing was measured on this GPU for heads of {}"


@dataclass(frozen=True)
class Times:
    """source   gpu, versions, date, against: which dense attention
    tflops   of a large matrix product
    lengths  measured tokens, ascending; the other tuples go with it
    rates    of dense attention, in FLOPs a second
    """

    source: Mapping[str, Any]
    head_dim: int
    tflops: float
    lengths: tuple[int, ...]
    rates: tuple[float, ...]
    bases: tuple[float, ...]
    slopes: tuple[float, ...]
    anew: tuple[float, ...]
    kept: tuple[float, ...]
    densities: tuple[float, float]  # lowest and highest measured
    n64: float | None  # None: not measured

    @classmethod
    def of(cls, entry: Mapping[str, Any], against: str) -> Times:
        calls = sorted(entry["times"]["calls"], key=lambda call: call["tokens"])
        rows = [_row(call, call["dense_ms"][against], entry["head_dim"]) for call in calls]
        found = [one["density"] for call in calls for one in call["psa"]]
        source = {
            "gpu": entry["gpu"], "versions": f"torch {entry['torch']}, Triton {entry['triton']}",
            "date": entry["date"], "against": against,
        }  # fmt: skip
        lengths = tuple(call["tokens"] for call in calls)
        return cls(source, entry["head_dim"], entry["times"]["matmul_tflops"], lengths,
                   *zip(*rows, strict=True), (min(found), max(found)),
                   entry["times"].get("n64"))  # fmt: skip

    def dense(self, tokens: float, heads: int) -> float:
        """Seconds of a dense call, batch 1."""
        return attention_flops(tokens, heads * self.head_dim) / self._at(self.rates, tokens)

    def sparse(self, config: PSAConfig, tokens: float, density: float) -> float:
        """The time of a call of PSA over that of the dense call."""
        other = self._at(self.bases, tokens)
        if config.grouping == "similar":
            anew, kept = self._at(self.anew, tokens), self._at(self.kept, tokens)
            other += (anew + (config.refresh - 1) * kept) / config.refresh
        other = max(other, 0.0) * max(1.0, self.lengths[0] / tokens)
        time = other + density * self._at(self.slopes, tokens)
        return time * self.n64 if config.block_n == 64 else time

    def unmeasured(self, config: PSAConfig) -> str | None:
        """Why calls of these settings have no time, or None."""
        if config.importance == "exact":
            return "exact importance is for studies; as slow as dense attention and not measured"
        if config.order in ("SemanticAware", "Hybrid"):
            return f"calls with the {config.order} order have not been measured"
        if config.block_n == 32 or (config.block_n == 64 and self.n64 is None):
            return f"key blocks of {config.block_n} have not been measured"
        if config.block_m != 128:
            return f"query blocks of {config.block_m} have not been measured"
        return None

    def _at(self, values: tuple[float, ...], tokens: float) -> float:
        return float(np.interp(math.log(tokens), np.log(self.lengths), values))


def _row(call: Mapping[str, Any], dense: float, head_dim: int) -> tuple[float, ...]:
    """(rate, base, slope, anew, kept) of a measured length."""
    thin, *_, thick = sorted(call["psa"], key=lambda one: one["density"])
    slope = (thick["order_ms"] - thin["order_ms"]) / (thick["density"] - thin["density"])
    slope = min(max(slope, 0.0), thin["order_ms"] / thin["density"])  # no base below nothing
    base = thin["order_ms"] - slope * thin["density"]
    anew, kept = (
        sum(one[name] - one["order_ms"] for one in call["psa"]) / len(call["psa"]) / dense
        for name in ("anew_ms", "kept_ms")
    )
    rate = attention_flops(call["tokens"], call["heads"] * head_dim) / (dense * 1e-3)
    return rate, base / dense, slope / dense, anew, kept


@dataclass(frozen=True)
class Here:
    """times   None with a `reason`
    offer   the head_dim of PSA Self-test that would bring them; "" where it would not
    """

    times: Times | None = None
    reason: str = ""
    offer: str = ""


def this_gpu() -> str | None:
    """Its name; None where there is none that PSA runs on."""
    machine = machine_of(comfy.model_management.get_torch_device())
    return machine and machine.gpu


def here(head_dim: int) -> Here:
    """What is known of attention on this machine, against what is dense in ComfyUI now."""
    device = comfy.model_management.get_torch_device()
    if machine_of(device) is None:
        return Here(reason=NO_GPU)
    offer = str(min((x for x in measured.HEAD_DIMS if x >= head_dim), default=""))
    found = measured.find(device, head_dim, torch.bfloat16)
    if found.entry is None or "times" not in found.entry:
        return Here(reason=found.ignored or NOT_MEASURED.format(head_dim), offer=offer)
    against = dense_here()
    if any(against not in call["dense_ms"] for call in found.entry["times"]["calls"]):
        known = ", ".join(found.entry["times"]["calls"][0]["dense_ms"])
        reason = f"dense attention is {against} here, and what was measured is {known}"
        return Here(reason=reason, offer=offer)
    return Here(Times.of(found.entry, against))


def dense_here() -> str:
    """What is dense in ComfyUI, where no node chooses another."""
    return dense_kernel(comfy.ldm.modules.attention.optimized_attention, None).name
