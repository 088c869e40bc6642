"""Which settings are measured: presets, a sweep of densities, ablations at equal density."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from psa_kernels import PSAConfig
from psa_kernels.config import FIELD_BY_ARGUMENT

from .density import Unreachable, nearest_whole, solve

SWEEP, ABLATIONS, CALIBRATED = "sweep", "ablations", "calibrated"
LIKE_KEYS, FALLING, DECIDE, PEERS = "like-keys", "falling", "decide", "peers"
FIRST_ORDER = "first-order"  # has no settings of its own
BLOCK = 128  # of the base configuration, for queries and keys
# Blocks on levels 1 and 8 as in our presets fast and balanced.
RATIO = {1: 1, 8: 3}
DROPPING = {1: 2, 2: 1, 4: 1, 8: 4}  # in the proportions of the default mask_ratios
SWEEP_DENSITIES = (0.06, 0.1, 0.15, 0.2, 0.3, 0.5)
TARGETS = (0.2, 0.1)
WARM_UP = 0.2  # of the steps
FOUR_STEPS = 4


@dataclass(frozen=True)
class Setting:
    """One row of a table.

    key      unique, and the same in every run of this version
    against  key of the row that differences are taken to, "" for none
    target   the density it was solved for, None where it has its own shares
    steps    sampler steps, 0 for as many as the run has
    peer     attention of another project in place of PSA, by `peers.Peer.label`; of `config` only
             the warm-up counts then
    """

    key: str
    part: str
    table: str
    label: str
    config: PSAConfig
    against: str = ""
    target: float | None = None
    steps: int = 0
    peer: str = ""

    def to_data(self) -> dict:
        return {**asdict(self), "config": self.config.to_preset()}

    @classmethod
    def from_data(cls, data: dict) -> Setting:
        return cls(**{**data, "config": PSAConfig.from_preset(data["config"])})


@dataclass
class Settings:
    """rows in the order of the tables; left_out: [table, label, reason] of what cannot be had."""

    rows: list[Setting] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)

    def __iadd__(self, other: Settings) -> Settings:
        self.rows += other.rows
        self.left_out += other.left_out
        return self

    def add(
        self,
        part: str,
        table: str,
        label: str,
        make: Callable[[], PSAConfig],
        *,
        against: str = "",
        target: float | None = None,
    ) -> None:
        """`against`: label of an earlier row of the table; one left out does not count."""
        try:
            config = make()
        except Unreachable as reason:
            self.left_out.append((table, label, str(reason)))
            return
        other = f"{table}: {against}"
        other = other if any(row.key == other for row in self.rows) else ""
        self.rows.append(Setting(f"{table}: {label}", part, table, label, config, other, target))


@dataclass(frozen=True)
class Base:
    """The configuration that ablations start from.

    tokens, steps  of the clips; target: the density asked for
    """

    tokens: int
    steps: int
    target: float

    @property
    def density(self) -> float:
        """The target, moved to what block-sparse attention can have: the dearest one allowed."""
        return nearest_whole(self.target, self.blocks())

    def blocks(self, n: int = BLOCK) -> int:
        return math.ceil(self.tokens / n)

    @property
    def tail(self) -> int:
        return tail_for(self.target)

    @property
    def warm_up(self) -> int:
        return round(WARM_UP * self.steps)

    def config(
        self,
        ratio: Mapping[int, float] = RATIO,
        tail: int | str | None = None,
        **changes,
    ) -> PSAConfig:
        """The base with some fields changed, its shares solved for the density."""
        n = changes.get("block_n", BLOCK)
        tail = self.tail if tail is None else tail
        settings = {
            "block_m": BLOCK, "block_n": n, "rearrange_method": "Gilbert", "tail": tail,
            "warmup_steps": self.warm_up, **changes,
        }  # fmt: skip
        return PSAConfig(
            mask_ratios=solve(self.density, ratio, tail, self.blocks(n)), **settings
        )  # fmt: skip


def tail_for(density: float) -> int:
    """As our presets: the smaller the budget, the coarser the tail."""
    return 64 if density < 0.09 else 32 if density < 0.15 else 16


METHODS: dict[str, Callable[[Base], PSAConfig]] = {
    "block-sparse": lambda base: base.config({1: 1}, "none"),
    "levels, rest dropped": lambda base: base.config(DROPPING, "none"),
    "levels and tail": lambda base: base.config(),
    "levels, tail, second moment": lambda base: base.config(second_moment=True),
}


def sweep(tokens: int, steps: int, densities=SWEEP_DENSITIES) -> Settings:
    """The same four methods at rising density."""
    settings = Settings()
    for density in densities:
        base = Base(tokens, steps, density)
        for name, make in METHODS.items():
            settings.add(
                SWEEP, f"density {density:g}", name, lambda make=make, base=base: make(base),
                against="" if name == "block-sparse" else "block-sparse", target=base.density,
            )  # fmt: skip
    return settings


def named(families: Iterable) -> dict[str, PSAConfig]:
    """The presets of the families (`presets.family.Family`) that are not dense, by name; of two of
    a name, that of the earlier family."""
    found: dict = {}
    for family in families:
        found = {**family.attention_configs, **found}
    # the pack's own class is another copy where the pack is loaded under its own name
    return {
        name: PSAConfig.from_preset(config.to_preset())
        for name, config in found.items()
        if config.type != "dense"
    }


def presets(families: Iterable) -> Settings:
    """Every preset that is `named`. Those for few steps are sampled with 4."""
    settings = Settings()
    for name, config in named(families).items():
        steps = FOUR_STEPS if "4step" in name.replace("_", "") else 0
        label = f"{name}, {steps} sampler steps" if steps else name
        key = f"presets: {name}"
        settings.rows.append(Setting(key, SWEEP, "presets", label, config, steps=steps))
    return settings


def ablations(
    tokens: int,
    steps: int,
    targets=TARGETS,
    thresholds: Callable[[float, PSAConfig], PSAConfig] | None = None,
) -> Settings:
    """One thing changed at a time, at equal density.

    thresholds  makes a "thresholdbound" configuration of a density from a start
    """
    settings = Settings()
    for target in targets:
        base = Base(tokens, steps, target)
        for make in (_ladder, _levels, _orders, _tails, _second_moment, _estimators, _spending,
                     _warm_up, _blocks):  # fmt: skip
            make(settings, base)
        if thresholds is not None:
            _thresholds(settings, base, thresholds)
    return settings


class _Table:
    """Adds rows to one table; the first one is what the others are compared with."""

    def __init__(self, settings: Settings, base: Base, name: str):
        self.settings, self.base = settings, base
        self.name, self.first = f"{name}, density {base.target:g}", ""

    def row(self, label: str, make: Callable[[], PSAConfig], against: str | None = None) -> None:
        against = self.first if against is None else against
        self.settings.add(
            ABLATIONS, self.name, label, make, against=against, target=self.base.density
        )
        self.first = self.first or label


def _ladder(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "PSA step by step")
    before = ""
    for name, make in METHODS.items():
        # each step against the one before it
        table.row(name, lambda make=make: make(base), against=before)
        before = name
    last = list(METHODS)[-1]
    table.row("all of these", lambda: METHODS[last](base), against="block-sparse")


def _levels(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "levels without a tail")
    for label, ratio in {
        "level 1 alone": {1: 1},
        "1 and 2, 1:2": {1: 1, 2: 2},
        "1 and 4, 1:2": {1: 1, 4: 2},
        "1 and 8, 1:3": {1: 1, 8: 3},
        "1 and 8, 1:8": {1: 1, 8: 8},
        "1, 2, 4, 8 as the default's": DROPPING,
    }.items():
        table.row(label, lambda ratio=ratio: base.config(ratio, "none"))


def _orders(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "order of the tokens")
    for order in ("Gilbert", None, "STA", "SemanticAware", "Hybrid"):
        table.row(order or "raster", lambda order=order: base.config(rearrange_method=order))
    table.row(
        "raster, block-sparse",
        lambda: base.config({1: 1}, "none", rearrange_method=None), against="",
    )  # fmt: skip
    table.row(
        "Gilbert, block-sparse", lambda: base.config({1: 1}, "none"),
        against="raster, block-sparse",
    )  # fmt: skip


def _tails(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "tail")
    for tail in ("none", 8, 16, 32, 64, 128):
        table.row(f"tail {tail}", lambda tail=tail: base.config(tail=tail))


def _second_moment(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "second moment")
    for tail in ("none", 16, 32, 64, 128):
        label = f"tail {tail}"
        table.row(f"{label}, without", lambda tail=tail: base.config(tail=tail), against="")
        table.row(
            f"{label}, with", lambda tail=tail: base.config(tail=tail, second_moment=True),
            against=f"{label}, without",
        )  # fmt: skip


def _estimators(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "importance estimator")
    field = FIELD_BY_ARGUMENT["importance"]
    others = [name for name in field.choices if name != field.default]
    for label, changes in {
        "": {},
        ", second moment": {"second_moment": True},
        ", block-sparse": {"ratio": {1: 1}, "tail": "none"},
    }.items():
        usual = f"{field.default}{label}"
        table.row(usual, lambda c=changes: base.config(**c), against="")
        for name in others:
            table.row(
                f"{name}{label}",
                lambda c=changes, name=name: base.config(**c, importance=name),
                against=usual,
            )


def _spending(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "how the budget is spent")
    for label, ratio in {
        "1 and 8, 1:3": RATIO,
        "1 alone and the tail": {1: 1},
        "1 and 8, 1:1": {1: 1, 8: 1},
        "1 and 8, 1:8": {1: 1, 8: 8},
        "1 and 4, 1:1": {1: 1, 4: 1},
        "1 and 2, 1:1": {1: 1, 2: 1},
        "1, 4 and 8, 1:1:2": {1: 1, 4: 1, 8: 2},
        "1, 2, 4 and 8, 1:1:1:1": {1: 1, 2: 1, 4: 1, 8: 1},
    }.items():
        table.row(label, lambda ratio=ratio: base.config(ratio))


def _thresholds(settings: Settings, base: Base, make) -> None:
    table = _Table(settings, base, "quotas and thresholds")
    dropping = base.config(DROPPING, "none")
    table.row("quotas, tail", lambda: base.config(), against="")
    table.row("thresholds, tail", lambda: make(base.density, base.config()), against="quotas, tail")
    table.row("quotas, rest dropped", lambda: dropping, against="")
    table.row(
        "thresholds, rest dropped",
        lambda: make(base.density, dropping),
        against="quotas, rest dropped",
    )


def _warm_up(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "warm-up steps")
    usual = base.warm_up
    counts = sorted(
        {round(share * base.steps) for share in (0, 0.05, 0.1, 0.2, 0.3, 0.4)} - {usual}
    )
    for count in (usual, *counts):
        table.row(f"{count}", lambda count=count: base.config(warmup_steps=count))


def _blocks(settings: Settings, base: Base) -> None:
    table = _Table(settings, base, "block sizes, queries x keys")
    for m, n in ((128, 128), (128, 64), (128, 32), (64, 128), (64, 64), (64, 32)):

        def make(m=m, n=n):
            return base.config(tail=min(base.tail, n), block_m=m, block_n=n)

        table.row(f"{m} x {n}", make)
