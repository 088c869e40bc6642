"""Settings of the part "decide": candidates for the presets, in groups that cost the same over the
run, dense steps counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from psa_kernels import PSAConfig
from psa_kernels.config import range_text

from .density import (
    Part,
    Unreachable,
    cost_of_run,
    filled,
    nothing_dropped,
    ratios_of,
    solve_counts,
    sparse_steps,
)
from .settings import BLOCK, DECIDE, RATIO, Settings, named

PRESETS = ("fast", "balanced", "faithful")
LONG, MIDDLE = 12, 6  # steps from which a run counts as one of 20, or of 8
LIKE = {"grouping": "similar", "second_moment": True}
# density, key blocks -> how many of them go to which level, and the tail of the rest
Spending = Callable[[float, int], tuple[Mapping[int, int], int | str]]
DROPS = 0.2  # the density from which every block can be pooled by 8 at least
GENTLE, STEEP = (3, 2, 1), (6, 3, 1)  # densities of the thirds of the sparse steps


def block_sparse(density: float, blocks: int):
    return solve_counts(density, {1: 1}, "none", blocks), "none"


def all_at_8(density: float, blocks: int):
    return nothing_dropped(density, blocks), "none"


def with_tail(tail: int | str, ratio: Mapping[int, float] = RATIO) -> Spending:
    return lambda density, blocks: (solve_counts(density, ratio, tail, blocks), tail)


def usual(density: float, blocks: int):
    """Nothing dropped if the density allows it, else a tail."""
    return (all_at_8 if density >= DROPS else with_tail(128))(density, blocks)


@dataclass(frozen=True)
class Budget:
    """Runs of a cost: the mean density of all `steps`, dense ones counted as 1."""

    tokens: int
    steps: int
    cost: float

    def plan(
        self,
        dense: int,
        shape: tuple[float, ...] = (1,),
        spending: Spending = usual,
        **changes,
    ) -> PSAConfig:
        """So many dense steps, then parts of equal length whose densities are as `shape`.

        Like keys together and the second moment, unless `changes`, fields of the configuration, say
        otherwise. Raises `Unreachable`.
        """
        settings = {"block_m": BLOCK, "block_n": BLOCK, "rearrange_method": "Gilbert"}
        settings |= {**LIKE, **changes, "warmup_steps": dense}
        left, budget = self.steps - dense, self.cost * self.steps - dense
        if budget <= 0 or left < len(shape):
            raise Unreachable(f"{dense} dense steps of {self.steps} leave nothing to share out")
        ends = [dense + round(left * (i + 1) / len(shape)) for i in range(len(shape))]
        starts = [dense, *ends[:-1]]
        lengths = [end - start for start, end in zip(starts, ends, strict=True)]
        blocks = math.ceil(self.tokens / settings["block_n"])
        parts = []
        for density, length in zip(_scaled(shape, lengths, budget), lengths, strict=True):
            counts, tail = spending(density, blocks)
            parts.append(Part(length, counts, tail))
        own = [
            {"mask_ratios": ratios_of(part.counts, blocks), "tail": part.tail}
            for part in filled(parts, blocks, budget)
        ]
        ranges = {
            range_text((_percent(start, self.steps), _percent(end, self.steps))): {
                "mask_ratios": {x: list(y) for x, y in shares["mask_ratios"].items()},
                "tail": shares["tail"],
            }
            for start, end, shares in zip(starts, ends, own[:-1], strict=False)
        }
        return PSAConfig(**{**settings, **own[-1], "steps": ranges})

    def block_sparse(self, dense: int, shape: tuple[float, ...] = (1,)) -> PSAConfig:
        return self.plan(dense, shape, block_sparse, grouping="order", second_moment=False)


def _percent(step: int, steps: int) -> float:
    return round(100 * step / steps, 4)


def _scaled(shape, lengths, budget: float) -> list[float]:
    """Densities in proportion to `shape`, none above 1, that cost `budget` over these lengths."""
    low, high = 0.0, len(lengths) / min(shape) * 2
    for _ in range(60):
        middle = (low + high) / 2
        spent = sum(n * min(1.0, middle * x) for x, n in zip(shape, lengths, strict=True))
        low, high = (middle, high) if spent <= budget else (low, middle)
    return [min(1.0, low * x) for x in shape]


class _Group:
    """Adds rows that cost as much as a preset; differences are from the preset."""

    def __init__(self, settings: Settings, name: str, preset: PSAConfig, tokens: int, steps: int):
        self.budget = Budget(tokens, steps, cost_of_run(preset, tokens, steps))
        self.settings, self.preset, self.steps = settings, preset, steps
        self.table = f"decide, cost of {name}"
        self.first = ""
        self.row("as shipped", lambda: preset)
        if preset.grouping == "similar":
            self.row("as shipped, token order", lambda: preset.replace(grouping="order"))
        else:
            self.row("as shipped, like keys", lambda: preset.replace(grouping="similar"))
        self.row("as shipped, int8 products", lambda: preset.replace(qk="int8"))

    @property
    def dense(self) -> int:
        """Dense steps of the preset."""
        return self.steps - len(sparse_steps(self.preset, self.steps))

    def share(self, part: float) -> int:
        return round(part * self.steps)

    def row(self, label: str, make: Callable[[], PSAConfig]) -> None:
        self.settings.add(DECIDE, self.table, label, make, against=self.first)
        self.first = self.first or label

    def plan(self, label: str, dense: int | None = None, *arguments, **changes) -> None:
        """A row of so many dense steps, by default the preset's."""
        dense = self.dense if dense is None else dense
        self.row(
            f"{_dense(dense)}, {label}", lambda: self.budget.plan(dense, *arguments, **changes)
        )

    def rivals(self, fewer: int) -> None:
        """Block-sparse attention: with the preset's dense steps, and at its best."""
        for dense, shape in ((self.dense, (1,)), (fewer, GENTLE)):
            label = f"{_dense(dense)}, block-sparse" + _falling(shape)
            self.row(label, lambda d=dense, s=shape: self.budget.block_sparse(d, s))

    def flat(self, *parts: float) -> None:
        """One budget for all sparse steps after other numbers of dense ones."""
        for dense in dict.fromkeys(map(self.share, parts)):
            self.plan("flat", dense)

    def falling(self, dense: int, *shapes: tuple[float, ...]) -> None:
        for shape in shapes:
            self.plan(_falling(shape).removeprefix(", "), dense, shape)


def _dense(count: int) -> str:
    return f"{count} dense"


def _falling(shape: tuple[float, ...]) -> str:
    return f", falling {':'.join(map(str, shape))}" if len(shape) > 1 else ""


def settings(families: Iterable, tokens: int, steps: int) -> Settings:
    """The candidates for runs of so many steps.

    families  whose presets are as shipped (`presets.family.Family`)
    """
    presets, found = named(families), Settings()

    def group(name: str) -> _Group:
        return _Group(found, name, presets[name], tokens, steps)

    if steps >= LONG:
        _fast(group("fast"))
        _balanced(group("balanced"))
        _faithful(group("faithful"))
    elif steps >= MIDDLE:
        _eight(group("lora_4step"))
    else:
        _four(group("lora_4step"))
    return found


def _fast(group: _Group) -> None:
    group.rivals(group.share(0.1))
    group.plan("tail 64", None, (1,), with_tail(64))
    group.plan("rest dropped", None, (1,), with_tail("none"))
    group.flat(0.1)
    group.plan("flat, tail 128", group.share(0.1), (1,), with_tail(128))
    group.falling(group.share(0.1), GENTLE, STEEP)
    group.falling(group.share(0.05), GENTLE)


def _balanced(group: _Group) -> None:
    group.rivals(group.share(0.1))
    for tail in (16, 32, 64):
        group.plan(f"tail {tail}", None, (1,), with_tail(tail))
    group.plan("rest dropped", None, (1,), with_tail("none"))
    group.plan("nothing dropped", None, (1,), all_at_8)
    group.plan("tail 128, no second moment", None, (1,), with_tail(128), second_moment=False)
    group.plan("blocks 128 x 64", None, (1,), with_tail(64), block_n=64)
    group.plan("blocks 64 x 64", None, (1,), with_tail(64), block_m=64, block_n=64)
    group.plan("exact importance", None, (1,), with_tail(128), importance="exact")
    group.flat(0.05, 0.1, 0.15, 0.2)
    group.falling(group.share(0.1), GENTLE, STEEP)
    group.falling(group.share(0.05), GENTLE)
    group.falling(group.share(0.15), GENTLE)


def _faithful(group: _Group) -> None:
    group.rivals(group.share(0.1))
    group.plan("nothing dropped", None, (1,), all_at_8)
    group.plan("nothing dropped, no second moment", None, (1,), all_at_8, second_moment=False)
    group.plan("nothing dropped, blocks 128 x 64", None, (1,), all_at_8, block_n=64)
    group.flat(0.1, 0.2)
    group.falling(group.share(0.1), GENTLE, STEEP)
    group.falling(group.share(0.2), GENTLE)


def _eight(group: _Group) -> None:
    group.rivals(1)
    group.plan("nothing dropped", 1, (1,), all_at_8)
    group.plan("tail 128", 1, (1,), with_tail(128))
    group.plan("nothing dropped, anew each step", 1, (1,), all_at_8, refresh=1)
    group.plan("nothing dropped, token order", 1, (1,), all_at_8, grouping="order")
    group.plan("flat", 0)
    group.plan("flat", 2)
    group.falling(1, GENTLE, (2, 1))


def _four(group: _Group) -> None:
    group.rivals(1)
    group.plan("nothing dropped", 1, (1,), all_at_8)
    group.plan("tail 128", 1, (1,), with_tail(128))
    group.plan("nothing dropped, no second moment", 1, (1,), all_at_8, second_moment=False)
    group.plan("nothing dropped, blocks 128 x 64", 1, (1,), all_at_8, block_n=64)
    group.plan("nothing dropped", 0, (1,), all_at_8)
    group.falling(1, GENTLE, (2, 2, 1))
    group.falling(0, (3, 3, 2, 1))
