"""The checks that a result must pass before its time counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from psa_kernels.selftest.agreement import Tolerance, agreement

from . import inputs
from .method import Method, Problem
from .psa_methods import layout_of, package_for

ROWS = 256
# bf16 rounding of pooled keys moves large logits by some hundredths
KERNELS = Tolerance(importance=0.1, levels=2e-3, output=1e-2)


class CheckFailed(Exception):  # noqa: N818 - a finding, not a fault of the harness
    """Why a result must not be timed."""


@dataclass(frozen=True)
class Truth:
    """float32 dense attention `[heads, rows, D]` of sampled rows (positions in caller's order).

    Of all heads: those of a trained model differ so much that eight of 32 rank methods otherwise.
    """

    rows: torch.Tensor
    out: torch.Tensor

    @classmethod
    def of(cls, problem: Problem, rows: int = ROWS) -> Truth:
        chosen = inputs.sampled(rows, problem.q.shape[2], 11).to(problem.q.device)
        return cls(chosen, inputs.dense_rows(problem.q, problem.k, problem.v, chosen))

    def errors(self, out: torch.Tensor, problem: Problem) -> tuple[float, float]:
        """(rel-L2, rel-L2 of the worst head) of an output in the order of `problem`."""
        at = self.rows
        if problem.order == "curve":
            place = torch.empty_like(problem.curve)
            place[problem.curve] = torch.arange(len(place), device=place.device)
            at = place[self.rows]
        found = out[0, :, at]
        worst = max(inputs.relative(x, y) for x, y in zip(found, self.out, strict=True))
        return inputs.relative(found, self.out), worst


def check(
    method: Method, call, problem: Problem, truth: Truth, implementation: str
) -> tuple[float, float]:
    """(rel-L2, worst head's) of a call's result, or `CheckFailed`."""
    out = call()
    if out.shape != problem.q.shape:
        raise CheckFailed(f"its output is {tuple(out.shape)}, not {tuple(problem.q.shape)}")
    if not torch.isfinite(out).all():
        raise CheckFailed("its output holds NaN or infinity")
    error, worst = truth.errors(out, problem)
    if not error <= method.bound:
        raise CheckFailed(f"rel-L2 {error:.3g} from float32 dense, more than {method.bound:g}")
    if method.config is not None:
        # the same inputs give the same bits
        if not torch.equal(call(), out):
            raise CheckFailed("a second call gave other bits")
        _check_kernels(method, problem, implementation)
    return error, worst


def _check_kernels(method: Method, problem: Problem, implementation: str) -> None:
    """Holds every stage against the reference on two heads and some of their query blocks."""
    config = method.config
    layout = layout_of(problem, config)
    package = package_for(problem, config, implementation)
    last = layout.q_blocks - 1
    blocks = {0, last, *(last * i // 7 for i in range(8))}
    found = agreement(
        package, problem.q, problem.k, problem.v, layout, config, problem.q.shape[-1] ** -0.5,
        heads=sorted({(0, 0), (0, layout.heads - 1)}), blocks=sorted(blocks),
    )  # fmt: skip
    if not found.within(KERNELS):
        raise CheckFailed(f"it disagrees with the reference: {found}")


def extra_memory(call, device: torch.device) -> int | None:
    """Peak bytes that a call takes beside its inputs and its output; None where not measurable."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    return max(0, peak - math.prod(out.shape) * out.element_size())
