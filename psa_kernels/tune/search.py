"""The search for the fastest settings. It knows neither a GPU nor a kernel: see `Bench`.

Rounds: the table's row first; then other shapes; then other depths of the fastest shapes; then the
best depths together. In each, all candidates compile side by side, are compared with the reference,
and only then take turns in being timed, with nothing else to do for the machine. Each round times
the row too, and candidates compare by their time over the row's in the same round.

Last, the winner and what is in use now take turns once more, in a longer call, and only a gain that
is more than noise replaces anything.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from . import candidates
from .candidates import Variant
from .timing import Timing

NOISE = 0.02  # a gain below it changes nothing
FINALISTS = 2  # shapes whose depths are tried
# the part of the time after which a round starts no compilation
SHAPES_UNTIL, DEPTHS_UNTIL, JOINED_UNTIL = 0.45, 0.62, 0.70
CHOSEN_UNTIL = 0.80  # the rest is for the times of whole calls
MOST_EACH = 0.3  # seconds that a candidate of a round is timed for
DUEL_EACH = 1.0  # seconds of each in the last comparison
NOT_REACHED = "not reached in time"


class TuneError(Exception):
    """Nothing was measured; the text says why."""


class Bench(Protocol):
    """What can be measured.

    prepare  compiles a variant and holds its numbers against the reference: why it is left out, ""
             if it is right. Several threads call it at a time
    time     of prepared variants that take turns, `seconds` for each; time_long: in a longer call
    """

    def prepare(self, variant: Variant) -> str: ...

    def time(self, variants: Sequence[Variant], seconds: float) -> Mapping[Variant, Timing]: ...

    def time_long(
        self, variants: Sequence[Variant], seconds: float
    ) -> Mapping[Variant, Timing]: ...


@dataclass(frozen=True)
class Budget:
    """`seconds` from `start`, a `time.monotonic()`."""

    seconds: float
    start: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """The part of the time that has passed, from 0 to 1."""
        return (time.monotonic() - self.start) / self.seconds

    def left(self, until: float = 1.0) -> float:
        """Seconds until a part of the whole has passed."""
        return self.seconds * (until - self.spent)


@dataclass(frozen=True)
class Outcome:
    """The result for one kernel.

    row     the table's settings
    before  what was in use
    chosen  what is now: `before`, unless another was faster beyond noise
    gain    time of the row over that of `chosen`
    """

    row: Variant
    before: Variant
    chosen: Variant
    gain: float
    ms: float


@dataclass(frozen=True)
class Found:
    """seconds  that compiling (with the checks) and timing took
    qk       the precision of queries and keys in which the attention is fastest, sums in float32
    sums     for each of those precisions the one in which values are summed fastest
    """

    outcomes: Mapping[str, Outcome]
    timed: int
    left_out: Mapping[Variant, str]
    seconds: Mapping[str, float]
    qk: str
    sums: Mapping[str, str]


def search(
    bench: Bench,
    rows: Sequence[Variant],
    in_use: Sequence[Variant],
    *,
    width: int,
    tma: bool,
    limits: bool,
    budget: Budget,
    qk: str = "half",
    sums: Mapping[str, str] = MappingProxyType({}),
    workers: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Found:
    """The fastest settings of each kernel.

    rows     the table's, one a kernel; in_use: what calls take now, in the same order
    width    elements of a stored row
    tma, limits  as in `candidates.shapes`
    qk, sums  the precisions that were fastest before, as in `Found`
    workers  compilations side by side; 0: what the machine has cores for

    Raises `TuneError` where a row of the table does not run; one of less precision is left out.
    """
    run = _Run(bench, rows, budget, workers or _cores(), say)
    rows, in_use = run.first(in_use)
    run.round(
        "shapes of tiles",
        _mixed(candidates.shapes(x, width, tma, limits) for x in rows), SHAPES_UNTIL,
        ready=[x for x in in_use if x not in rows],
    )  # fmt: skip
    best = {row: run.best(row.kernel, FINALISTS if row is rows[0] else 1) for row in rows}
    run.round(
        "pipeline depths",
        _mixed([candidates.depths(x) for some in best.values() for x in some]), DEPTHS_UNTIL,
    )  # fmt: skip
    run.round("the best depths together", _mixed(run.joined(x) for x in best.values()),
              JOINED_UNTIL)  # fmt: skip
    outcomes = {row.kernel: run.outcome(row, now) for row, now in zip(rows, in_use, strict=True)}
    qk, sums = run.precisions(outcomes, qk, sums)
    return Found(outcomes, len(run.ratios), run.left_out, run.seconds, qk, sums)


def gain_is_noise(now: Timing, other: Timing) -> bool:
    """Whether `other` is not faster than `now` beyond what measuring can tell."""
    error = (now.spread + other.spread) / math.sqrt(min(now.count, other.count))
    return now.ms / other.ms < 1 + max(NOISE, error)


class _Run:
    def __init__(self, bench, rows, budget, workers, say):
        self.bench, self.rows, self.budget, self.say = bench, rows, budget, say
        self.workers = workers
        self.seen: set[Variant] = set()
        self.ratios: dict[Variant, float] = {}  # time over that of the kernel's row
        self.left_out: dict[Variant, str] = {}
        self.slowest = 0.0  # seconds that a compilation took
        self.seconds = {"compiling": 0.0, "timing": 0.0}

    def first(self, in_use: Sequence[Variant]) -> tuple[list[Variant], list[Variant]]:
        """The rows, and what is in use, alone: what all compilations share is made by the first.

        Those that run, and what is in use after all: the row, where that does not run.
        """
        found = {}
        begin = time.monotonic()
        for row, now in zip(self.rows, in_use, strict=True):
            self.say(f"{row.kernel}: the table's settings, {row}")
            if reason := self._prepare(row):
                if row != row.precise:
                    self.left_out[row] = reason
                    continue
                raise TuneError(f"{row.kernel}: the table's own settings do not run: {reason}")
            self.ratios[row] = 1.0
            self.seen |= {row, now}
            if now != row and (reason := self._prepare(now)):
                self.left_out[now], now = reason, row
            found[row] = now
        self.rows = list(found)
        self._took("compiling", begin, "the settings in use")
        return self.rows, list(found.values())

    def round(
        self, name: str, variants: Iterable[Variant], until: float, ready: Iterable[Variant] = ()
    ) -> None:
        new = [x for x in dict.fromkeys(variants) if x not in self.seen]
        self.seen.update(new)
        begin = time.monotonic()
        right = [*ready, *self._compile(name, new, until)]
        if new:
            self._took("compiling", begin, name)
        begin = time.monotonic()
        for row in self.rows:
            some = [x for x in right if x.kernel == row.kernel]
            if not some:
                continue
            each = min(MOST_EACH, self.budget.left() / 4 / len(right))
            self.say(f"{row.kernel}: timing {len(some)} {name}")
            times = self.bench.time([row, *some], each)
            self.ratios |= {x: times[x].ms / times[row].ms for x in some}
        if right:
            self._took("timing", begin, name)

    def best(self, kernel: str, count: int) -> list[Variant]:
        """The fastest of a kernel, of different shapes."""
        return sorted((x for x in self.ratios if x.kernel == kernel), key=self.ratios.__getitem__)[
            :count
        ]

    def joined(self, finalists: Sequence[Variant]) -> list[Variant]:
        """For each finalist, the depths that made it faster."""
        found = []
        for one in finalists:
            better = [
                x for x in candidates.depths(one)
                if self.ratios.get(x, math.inf) < self.ratios[one] * (1 - NOISE / 4)
            ]  # fmt: skip
            found += candidates.joined(one, better)
        return found

    def outcome(self, row: Variant, now: Variant) -> Outcome:
        (best,) = self.best(row.kernel, 1)
        some = list(dict.fromkeys((row, now, best)))
        self.say(f"{row.kernel}: the fastest against what is in use")
        each = min(DUEL_EACH, max(self.budget.left(CHOSEN_UNTIL) / 3 / len(some), 0.05))
        begin = time.monotonic()
        times = self.bench.time_long(some, each)
        self._took("timing", begin, f"{row.kernel}, the fastest")
        chosen = now if gain_is_noise(times[now], times[best]) else best
        return Outcome(row, now, chosen, times[row].ms / times[chosen].ms, times[chosen].ms)

    def precisions(
        self, outcomes: Mapping[str, Outcome], qk: str, sums: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """`qk` and `sums`, unless the attention is faster in another precision beyond noise."""
        some = [x.chosen for x in outcomes.values() if x.chosen.kernel != "importance"]
        ones = {(x.qk, x.sums): x for x in some}
        times: Mapping[Variant, Timing] = {}
        if len(ones) > 1:
            self.say("the attention in all precisions")
            each = min(DUEL_EACH, max(self.budget.left(CHOSEN_UNTIL) / 2 / len(ones), 0.05))
            begin = time.monotonic()
            times = self.bench.time_long(some, each)
            self._took("timing", begin, "the attention in all precisions")

        def faster(now: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
            if now not in ones or other not in ones:
                return now if now in ones else other
            return now if gain_is_noise(times[ones[now]], times[ones[other]]) else other

        others = {"half": "int8", "int8": "half", "float32": "float16", "float16": "float32"}
        found = {}
        for x in dict.fromkeys(x.qk for x in some):
            before = sums.get(x, "float32")
            found[x] = faster((x, before), (x, others[before]))[1]
        return faster((qk, "float32"), (others[qk], "float32"))[0], found

    def _compile(self, name: str, variants: list[Variant], until: float) -> list[Variant]:
        """Those that run and are right. What would not be ready by `until` is not begun."""
        waiting, right, done, total = list(variants), [], 0, len(variants)
        pending: dict = {}
        pool = ThreadPoolExecutor(self.workers)
        try:
            while waiting or pending:
                while waiting and len(pending) < self.workers:
                    if self.budget.left(until) < self.slowest:
                        self.left_out |= dict.fromkeys(waiting, NOT_REACHED)
                        waiting = []
                        break
                    variant = waiting.pop(0)
                    pending[pool.submit(self._prepare, variant)] = variant
                ready, _ = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in ready:
                    variant, done = pending.pop(future), done + 1
                    reason = future.result()
                    if reason:
                        self.left_out[variant] = reason
                    else:
                        right.append(variant)
                    self.say(f"{name}: {done} of {total}: {variant.kernel}, {variant}"
                             + (f": left out, {reason}" if reason else ""))  # fmt: skip
        finally:
            # after an interrupt, running compilations end on their own
            pool.shutdown(wait=False, cancel_futures=True)
        return right

    def _took(self, what: str, begin: float, name: str) -> None:
        seconds = time.monotonic() - begin
        self.seconds[what] += seconds
        self.say(f"{name}: {what} took {seconds:.1f} s")

    def _prepare(self, variant: Variant) -> str:
        begin = time.monotonic()
        reason = self.bench.prepare(variant)
        self.slowest = max(self.slowest, time.monotonic() - begin)
        return reason


def _mixed(lists: Iterable[Sequence[Variant]]) -> list[Variant]:
    """One of each list in turn, so that what time leaves out is of all."""
    lists = [list(x) for x in lists]
    longest = max(map(len, lists), default=0)
    return [x[i] for i in range(longest) for x in lists if i < len(x)]


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, 16))
