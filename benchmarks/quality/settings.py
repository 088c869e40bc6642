"""Which settings are measured: presets, a sweep of densities, orders of the tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from psa_kernels import PSAConfig

from .density import Unreachable, nearest_whole, solve

SWEEP, ORDERS, CALIBRATED = "sweep", "orders", "calibrated"
DECIDE, PEERS = "decide", "peers"
BLOCK = 128  # of the base configuration, for queries and keys
# Blocks on levels 1 and 8 as in our presets fast and balanced.
RATIO = {1: 1, 8: 3}
DROPPING = {1: 2, 2: 1, 4: 1, 8: 4}  # in the proportions of the default mask_ratios
SWEEP_DENSITIES = (0.06, 0.1, 0.15, 0.2, 0.3, 0.5)
ORDERS_DENSITY = 0.2
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
    """rows: in the order of the tables. left_out: (table, label, reason) of what cannot be had."""

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
    """The configuration that others differ from in one thing.

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
    a name, that of the earlier family. With `qk: half` for `auto`, which depends on the machine."""
    found: dict = {}
    for family in families:
        found = {**family.attention_configs, **found}
    # the pack's own class is another copy where the pack is loaded under its own name
    copies = {
        name: PSAConfig.from_preset(config.to_preset())
        for name, config in found.items()
        if config.type != "dense"
    }
    return {
        name: config.replace(qk="half") if config.qk == "auto" else config
        for name, config in copies.items()
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


def orders(tokens: int, steps: int) -> Settings:
    """Every order of the tokens at equal density, and block-sparse attention in two of them."""
    settings, base = Settings(), Base(tokens, steps, ORDERS_DENSITY)

    def add(label: str, against: str, *arguments, order: str | None) -> None:
        settings.add(
            ORDERS, f"order of the tokens, density {ORDERS_DENSITY:g}", label,
            lambda: base.config(*arguments, rearrange_method=order), against=against,
            target=base.density,
        )  # fmt: skip

    for order in ("Gilbert", None, "STA", "SemanticAware", "Hybrid"):
        add(order or "raster", "" if order == "Gilbert" else "Gilbert", order=order)
    add("raster, block-sparse", "", {1: 1}, "none", order=None)
    add("Gilbert, block-sparse", "raster, block-sparse", {1: 1}, "none", order="Gilbert")
    return settings
