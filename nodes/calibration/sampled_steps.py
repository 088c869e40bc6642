"""Which of a run's sparse steps are measured, and how many steps each stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def measured_steps(ranges: Mapping[int, str | None], count: int) -> dict[int, float]:
    """Step to measure -> how many sparse steps it stands for.

    ranges  sparse step -> its range; each has its own budget, so at least one step of each is
            measured
    """
    parts: dict[str | None, list[int]] = {}
    for step, range_ in ranges.items():
        parts.setdefault(range_, []).append(step)
    counts = dict.fromkeys(parts, 1)
    for _ in range(min(count, len(ranges)) - len(parts)):
        # add one to the range whose measured steps stand for the most
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
