"""Presets whose budget changes over a run, as presets of one budget each. The steps of
some benchmarks are all alike.
"""

from __future__ import annotations

from typing import Any


def of_ranges(name: str, config: Any) -> list[tuple[str, Any]]:
    """(name, settings) of each part of a run that the preset leaves sparse, in order.

    "balanced (15-45%)" has balanced's settings there, for all steps.
    """
    if not config.steps:
        return [(name, config)]
    starts = sorted({0.0, *(place for range_ in config.steps for place in range_)} - {100.0})
    found: dict[Any, list[str]] = {}
    for start, end in zip(starts, [*starts[1:], 100.0], strict=True):
        own = config.for_step(start / 100)
        if own.type != "dense":
            found.setdefault(own, []).append(f"{start:g}-{end:g}%")
    return [(f"{name} ({', '.join(where)})", own) for own, where in found.items()]


def of_middle(name: str, config: Any) -> tuple[str, Any]:
    """The part with the middle one of the budgets."""
    parts = of_ranges(name, config)
    return parts[len(parts) // 2]
