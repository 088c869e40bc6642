"""Counts of one run: what ran sparse, what ran dense and why."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from ...psa_kernels import Stats
from ...psa_kernels.config import LEVELS


class RunStats:
    """Thread-safe: with several GPUs the model runs in one thread each."""

    def __init__(self, steps: int):
        self._lock = threading.Lock()
        self._sparse = [0] * steps
        self._dense: list[Counter[str]] = [Counter() for _ in range(steps)]
        self._implementations: Counter[str] = Counter()
        self._shares: list[tuple[float, dict[int, float]]] = []

    def dense(self, step: int, reason: str) -> None:
        with self._lock:
            self._dense[step][reason] += 1

    def sparse(self, step: int, stats: Stats) -> None:
        with self._lock:
            self._sparse[step] += 1
            self._implementations[stats.implementation] += 1
            self._shares.append((stats.density, stats.per_level))

    def report(self, sigmas: list[float]) -> dict[str, Any]:
        with self._lock:
            shares, count = self._shares, len(self._shares)
            return {
                "calls": {"sparse": sum(self._sparse), "dense": dict(sum(self._dense, Counter()))},
                "density": sum(d for d, _ in shares) / count if count else None,
                "per_level": {
                    str(level): sum(p[level] for _, p in shares) / count
                    for level in (LEVELS if count else ())
                },
                "implementation": ", ".join(sorted(self._implementations)) or None,
                "steps": [
                    {"step": i, "sigma": sigma, "sparse": self._sparse[i],
                     "dense": dict(self._dense[i])}
                    for i, sigma in enumerate(sigmas)
                ],
            }


def summary_line(report: dict[str, Any]) -> str:
    """One line that says what the run did."""
    dense = report["calls"]["dense"]
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(dense.items(), key=_by_count))
    line = f"{report['preset']}: {report['calls']['sparse']} attention calls sparse"
    if report["density"] is not None:
        line += f" at {report['density']:.1%} density ({report['implementation']})"
    line += f", {sum(dense.values())} dense" + (f" ({reasons})" if reasons else "")
    line += f"; {report['plan_text']}"
    if report["failure"]:
        line += f"; STEPPED ASIDE: {report['failure']}"
    return line


def _by_count(item: tuple[str, int]) -> int:
    return -item[1]
