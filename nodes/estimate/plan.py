"""Which steps of a run are sparse, and what the run gains by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...psa_kernels.config import Range
from .figure import Figure


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


def of_run(step: Figure, plan: Plan | None) -> Figure | None:
    """The gain of a run from that of its sparse steps; None without a plan."""
    if plan is None:
        return None
    if not plan.sparse:
        return Figure(1.0, "dense", note="no step is sparse")
    if step.value is None:
        return step
    share = plan.sparse / plan.steps
    value = 1 / (1 - share + share / step.value)
    note = f"{plan.sparse} of {plan.steps} steps sparse, all steps of equal work"
    if step.note:
        note += f"; {step.note}"
    kind = "extrapolated" if step.kind == "measured" else step.kind
    return Figure(value, kind, note=note, measured=step.measured)
