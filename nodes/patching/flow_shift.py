"""The shift of a flow model's noise schedule, and what the same schedule is at another shift.

A shift s takes the even way t in [0, 1] to sigma = s t / (1 + (s - 1) t): it divides the odds
(1 - sigma) / sigma by s. So two shifts of one schedule differ by one factor of their odds, and
sigmas that come from even steps tell their shift: the one at which t is even again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def odds(sigma: Any) -> Any:
    return (1.0 - sigma) / sigma


def at_shift(sigma: Any, factor: Any) -> Any:
    """What a sigma is at `factor` times its shift."""
    return factor * sigma / (1.0 + (factor - 1.0) * sigma)


def own_shift(model_sampling: Any) -> float | None:
    """The shift of a flow model, as a factor of odds; None of other models."""
    try:
        halfway = float(model_sampling.percent_to_sigma(0.5))
        if not 0.0 < halfway < 1.0:
            return None
        shift = 1.0 / odds(halfway)
        for percent in (0.1, 0.9):
            sigma = float(model_sampling.percent_to_sigma(percent))
            if not 0.0 < sigma < 1.0:
                return None
            if abs(1.0 / (1.0 + shift * odds(sigma)) - (1.0 - percent)) > 1e-4:
                return None
        return shift
    except Exception:  # a model like none that we know
        return None


def typed(shift: float) -> bool:
    """Whether a person may have typed it, or its logarithm: some nodes ask for that."""
    return any(abs(x - round(x, 1)) < 3e-4 * max(1.0, x) for x in (shift, np.log(shift)))


class Reshifted:
    """A flow model's noise schedule at `factor` times its shift, for ComfyUI's schedulers."""

    def __init__(self, model_sampling: Any, factor: float):
        self._model_sampling, self._factor = model_sampling, factor
        self.sigmas = self._moved(model_sampling.sigmas)
        self.sigma_min, self.sigma_max = self.sigmas[0], self.sigmas[-1]

    def _moved(self, sigma: Any) -> Any:
        return at_shift(sigma, self._factor)

    def timestep(self, sigma: Any) -> Any:
        return self._model_sampling.timestep(sigma)

    def sigma(self, timestep: Any) -> Any:
        return self._moved(self._model_sampling.sigma(timestep))


_SHIFTS = np.exp(np.linspace(np.log(0.1), np.log(100.0), 500))


def even_shifts(part: np.ndarray, own: float, model_sampling: Any) -> Iterator[tuple[float, int]]:
    """(shift, steps of the whole) of each shift at which the steps of `part` are even.

    part  falling sigmas. A last one of 0 may stand for 0, for the model's lowest sigma, or follow
          that: even schedulers differ in this
    """
    lowest = own * odds(float(model_sampling.sigmas[0]))

    def at_lowest(shift: Any) -> Any:
        # ComfyUI's schedulers take the lowest sigma itself for the way that is left there
        return 1.0 / (1.0 + lowest / shift)

    tried = [(part, np.zeros_like)]
    if part[-1] == 0.0:
        tried += [(part, at_lowest)]
        tried += [(part[:-1], np.zeros_like)] if len(part) > 3 else []
    for sigmas, end in tried:
        yield from _even_at(sigmas, end)


def _even_at(sigmas: np.ndarray, end: Callable[[Any], Any]) -> Iterator[tuple[float, int]]:
    # the widest three of even distance
    half = (len(sigmas) - 1) // 2
    known = [odds(s) if s > 0.0 else None for s in sigmas[[0, half, 2 * half]]]

    def ways(shift: Any) -> list[Any]:
        return [end(shift) if p is None else 1.0 / (1.0 + shift * p) for p in known]

    def bend(shift: Any) -> Any:
        first, middle, last = ways(shift)
        return first - 2.0 * middle + last

    values = bend(_SHIFTS)
    for i in np.flatnonzero(values[:-1] * values[1:] < 0):
        low, high = float(_SHIFTS[i]), float(_SHIFTS[i + 1])
        for _ in range(50):
            middle = (low + high) / 2
            if (bend(middle) < 0) == (values[i] < 0):
                low = middle
            else:
                high = middle
        first, _, last = ways(low)
        if first - last > 1e-6:
            yield low, round(2 * half / (first - last))
