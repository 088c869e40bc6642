"""What is kept of a run that is over: plain numbers, no tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

# kinds of calls: the video's self-attention by what served it, and all other attention
PSA_CALL, DENSE_CALL, OTHER_CALL = "psa", "dense", "other"


class CallShape(NamedTuple):
    """A self-attention call over the video, as far as its time depends on it."""

    batch: int
    heads: int
    tokens: int
    head_dim: int
    dtype: str
    device: str


@dataclass
class Tally:
    """Sums over the sparse calls of one block in one step; rows are heads.

    pairs     `[H, 5]`: video block pairs on levels 1, 2, 4, 8, 0
    products  `[H]`: query-key products computed
    possible  those of dense attention in one head
    mass      `[H, 5]`: the sum over calls of the share of estimated mass on levels 1, 2, 4, 8, 0
    calls     how many
    """

    pairs: np.ndarray
    products: np.ndarray
    possible: float
    mass: np.ndarray
    calls: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.pairs + other.pairs, self.products + other.products,
            self.possible + other.possible, self.mass + other.mass, self.calls + other.calls,
        )  # fmt: skip

    @property
    def density(self) -> np.ndarray:
        """`[H]`: share of dense attention's query-key products that was computed."""
        return self.products / self.possible


@dataclass
class Cell:
    """The attention calls of one transformer block in one step.

    step    None where nothing told which
    block   None for calls that are not self-attention over the video
    sparse  calls that PSA served
    dense   reason -> calls that it left
    ms      kind -> milliseconds
    """

    step: int | None
    block: int | None
    sparse: int = 0
    dense: Counter[str] = field(default_factory=Counter)
    ms: dict[str, float] = field(default_factory=dict)
    tally: Tally | None = None


@dataclass
class ShapeTimes:
    """Milliseconds of every call of one shape.

    redo      serves such a call densely; None where there is no need to
    measured  what that took after the run, once a report has asked
    """

    psa: list[float] = field(default_factory=list)
    dense: list[float] = field(default_factory=list)
    redo: Any = None
    measured: Any = None


@dataclass
class RunRecord:
    """steps            seconds of each step, None where it was not timed
    timer            what the times were taken with
    compile_seconds  that calls took on the host which had to compile kernels: `compile_calls`, in
                     `compiled_steps`
    implementations  which packages served the sparse calls, and why none faster did
    fault            why figures are missing, None where none are
    """

    cells: list[Cell]
    shapes: dict[CallShape, ShapeTimes]
    steps: list[float | None]
    timer: str | None
    compile_seconds: float
    compile_calls: int
    compiled_steps: frozenset[int]
    implementations: tuple[str, ...]
    implementation_reasons: tuple[str, ...]
    fault: str | None

    def milliseconds(self, kind: str) -> float | None:
        """Milliseconds of all calls of a kind; None if nothing could be timed."""
        return sum(cell.ms.get(kind, 0.0) for cell in self.cells) if self.timer else None

    def tally(self, cells: Iterable[Cell] | None = None) -> Tally | None:
        """The sum over some cells, all if none are named; None where nothing was counted."""
        found = [cell.tally for cell in (self.cells if cells is None else cells) if cell.tally]
        return sum_of(found)


def sum_of(tallies: list[Tally]) -> Tally | None:
    """None for an empty list; tallies of another number of heads than the first are left out."""
    if not tallies:
        return None
    total = tallies[0]
    for tally in tallies[1:]:
        if tally.pairs.shape == total.pairs.shape:
            total = total + tally
    return total
