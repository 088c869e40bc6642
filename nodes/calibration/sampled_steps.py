"""Which of a run's sparse steps are measured, and what each of them stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def measured_steps(ranges: Mapping[int, str | None], count: int) -> dict[int, float]:
    """Step to measure -> how many sparse steps it stands for.

    ranges  sparse step -> its range, whose budget is another: of each at least one is measured
    """
    parts: dict[str | None, list[int]] = {}
    for step, range_ in ranges.items():
        parts.setdefault(range_, []).append(step)
    counts = dict.fromkeys(parts, 1)
    for _ in range(min(count, len(ranges)) - len(parts)):
        # where a measured step stands for the most
        least = max(parts, key=lambda part: len(parts[part]) / counts[part])
        counts[least] += 1
    return {
        step: len(steps) / counts[part]
        for part, steps in parts.items() for step in spaced(steps, counts[part])
    }  # fmt: skip


def spaced(values: Sequence[int], count: int) -> list[int]:
    """Up to `count` of the values, evenly spread, the first and the last among them."""
    count = min(count, len(values))
    if count <= 1:
        return list(values[:count])
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


def shares(
    sigmas: Sequence[float], sparse: Sequence[int], measured: Sequence[int]
) -> dict[int, float]:
    """Measured step -> its part of the integral of the squared error over sigma.

    A step that is not measured counts with the nearest one that is. (By the square of the step's
    change of sigma, as an error enters the video, early steps would hardly count; but what goes
    wrong in them grows in the later ones.)
    """
    found = dict.fromkeys(measured, 0.0)
    for step in sparse:
        near = min(measured, key=lambda other: abs(other - step))
        found[near] += abs(sigmas[step] - sigmas[step + 1])
    total = sum(found.values())
    return {step: part / total for step, part in found.items()}
