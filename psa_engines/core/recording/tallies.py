"""What sparse calls computed, summed up on the device until the run is over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ...ground import Stats, mass_shares
from .records import Tally


@dataclass
class _Sum:
    """sums: `Stats.sums` over the calls, on the device; the others as in `Tally`."""

    sums: torch.Tensor
    possible: float
    calls: int


class Tallies:
    """The tallies of one run. They have no lock: `Recorder` holds one.

    latest  (`Stats.sums`, on the device; dense attention's products) of the last call
    """

    def __init__(self) -> None:
        self._sums: dict[tuple, _Sum] = {}
        self.latest: tuple[torch.Tensor, int] | None = None

    def count(self, step: int, block: int, stats: Stats) -> None:
        sums, possible = stats.sums, stats.dense_products
        key = step, block, sums.shape[0], sums.device
        self.latest = sums, possible
        held = self._sums.get(key)
        if held is None:
            self._sums[key] = _Sum(sums, possible / sums.shape[0], 1)
        else:
            held.sums = held.sums + sums
            held.possible += possible / sums.shape[0]
            held.calls += 1

    def read(self) -> Iterator[tuple[int, int, Tally]]:
        """(step, block, tally); waits for the device."""
        for (step, block, *_), held in self._sums.items():
            # copies: a view would keep its tensor
            sums = held.sums.cpu()
            mass = mass_shares(sums).mul_(held.calls).numpy().copy()
            sums = sums.numpy().copy()
            yield step, block, Tally(sums[:, :5], sums[:, 5], held.possible, mass, held.calls)

    def drop(self) -> None:
        """Lets go of every tensor."""
        self._sums.clear()
        self.latest = None
