"""Counts of one run: what ran sparse, what ran dense and why."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import torch

from ...psa_kernels import Stats
from ...psa_kernels.config import LEVELS


class RunStats:
    """Thread-safe: with several GPUs the model runs in one thread each."""

    def __init__(self, steps: int):
        self._lock = threading.Lock()
        self._sparse = [0] * steps
        self._dense: list[Counter[str]] = [Counter() for _ in range(steps)]
        # Of model calls that cannot be told a step.
        self._unplaced: Counter[str] = Counter()
        self._implementations: set[str] = set()
        self._reasons: set[str] = set()
        # Left on the device and read when the run is over: no waiting for a GPU in between.
        self._tallies: list[tuple[torch.Tensor, int]] = []

    def dense(self, step: int | None, reason: str) -> None:
        with self._lock:
            (self._unplaced if step is None else self._dense[step])[reason] += 1

    def sparse(self, step: int, stats: Stats) -> None:
        tally = stats.tally, stats.dense_products
        with self._lock:
            self._tallies.append(tally)
            self._sparse[step] += 1
            self._implementations.add(stats.implementation)
            if stats.reason:
                self._reasons.add(stats.reason)

    def report(self, sigmas: list[float]) -> dict[str, Any]:
        with self._lock:
            tallies = [tally.tolist() for tally, _ in self._tallies]
            pairs = [sum(column) for column in zip(*tallies, strict=True)][:-1]
            dense = sum(products for _, products in self._tallies)
            calls = {"sparse": sum(self._sparse), "dense": dict(sum(self._dense, self._unplaced))}
            return {
                "calls": calls,
                "density": sum(tally[-1] for tally in tallies) / dense if tallies else None,
                "per_level": {
                    str(level): count / max(1, sum(pairs))
                    for level, count in zip(LEVELS, pairs, strict=False)
                },
                "implementation": ", ".join(sorted(self._implementations)) or None,
                "implementation_reason": ", ".join(sorted(self._reasons)) or None,
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
