"""The share of dense attention's query-key products that a preset computes (`Stats.density`).

In mode topk it follows from the quotas. Where it depends on the video, a profile stands in for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ...psa_kernels.config import LEVELS, PSAConfig
from . import profiles


@dataclass(frozen=True)
class Tokens:
    """`grid` = (frames, height, width) of the video's tokens; `text` tokens stand beside them."""

    grid: tuple[int, int, int]
    text: int

    @property
    def video(self) -> int:
        frames, height, width = self.grid
        return frames * height * width

    @property
    def total(self) -> int:
        return self.video + self.text


# where no size is given: what goes by quotas hardly depends on it
USUAL = Tokens((21, 30, 52), 0)


@dataclass(frozen=True)
class Density:
    """value      None where it cannot be said; `note` has the reason
    low, high  what it can be, if `value` is not the whole truth
    kind       "exact", "profile", "dense", or "extrapolated" where text is not counted
    profile    the name of the profile that `value` is for; `profiles`: name -> value of each
    per_level  level -> share of the video's block pairs
    """

    value: float | None
    low: float | None
    high: float | None
    kind: str
    note: str
    per_level: Mapping[int, float] | None = None
    profile: str | None = None
    profiles: Mapping[str, float] | None = None
    full: float = 0.0  # the part of `value` that is on level 1, text included


def density(config: PSAConfig, tokens: Tokens, blocks: int = 0) -> Density:
    """Of a sparse step's attention calls; `blocks`: how many the model has, 0 where not known.

    `config` without `steps`: over_run.py has the mean over a run.
    """
    if not config.blocks or config.type == "dense":
        return _of_one(config, tokens)
    if not blocks:
        found = _of_one(config, tokens)
        return dataclasses.replace(found, note=f"{found.note}; {BLOCKS_UNKNOWN}")
    found = [(n, _of_one(part, tokens)) for n, part in parts(config, blocks)]
    return averaged(found, how_mixed(config, blocks))


BLOCKS_UNKNOWN = (
    "settings of single blocks are left out: the number of the model's blocks is not known"
)


def parts(
    config: PSAConfig, blocks: int, without: frozenset[int] = frozenset()
) -> list[tuple[int, PSAConfig]]:
    """(how many of the model's blocks, their settings); together all of them but `without`."""
    here = frozenset(range(blocks)) - without
    own = [
        (len(here.intersection(group)), config.for_block(group[0]))
        for group, _ in config.blocks.groups
    ]
    rest = len(here) - sum(count for count, _ in own)
    return [(n, part) for n, part in ((rest, config.replace(blocks={})), *own) if n]


def how_mixed(config: PSAConfig, blocks: int) -> str:
    count = sum(i < blocks for i in config.blocks)
    return f"mean over {blocks} blocks, {count} of them with settings of their own"


def averaged(found: list[tuple[float, Density]], note: str) -> Density:
    """The mean of densities with weights; `note` says over what."""
    total = sum(n for n, _ in found)
    unknown = [one for _, one in found if one.value is None]
    if unknown:
        return unknown[0]

    def mean(get) -> float:
        return sum(n * get(one) for n, one in found) / total

    depends = [one for _, one in found if one.kind == "profile"]
    kinds = {one.kind for _, one in found}
    kind = "profile" if depends else "dense" if kinds == {"dense"} else "exact"
    names = depends[0].profiles if depends else ()
    profiles = {name: mean(lambda x, y=name: (x.profiles or {}).get(y, x.value)) for name in names}
    return Density(
        mean(lambda x: x.value), mean(lambda x: x.low), mean(lambda x: x.high), kind,
        "; ".join([note, *(one.note for one in depends[:1])]),
        {level: mean(lambda x, y=level: x.per_level.get(y, 0.0)) for level in LEVELS},
        depends[0].profile if depends else None,
        profiles or None,
        mean(lambda x: x.full),
    )


def _of_one(config: PSAConfig, tokens: Tokens) -> Density:
    if config.type == "dense":
        return Density(1.0, 1.0, 1.0, "dense", "a dense preset", {1: 1.0}, full=1.0)
    if config.mask_mode == "topk" and not config.use_sim_mask:
        return _from_quotas(config, tokens)
    if config.rearrange_method == "STA" and config.use_rearrange and (
        tuple(config.tile_size) != profiles.TILE
    ):
        tile = " x ".join(map(str, profiles.TILE))
        note = f"it depends on the video, and STA is only known for tiles of {tile}"
        return Density(None, None, None, "profile", note)
    found = {
        name: profiles.level_shares(config, name) for name in profiles.names()
    }
    values = {
        name: _density(config, tokens, _per_row(config, tokens, shares))[0]
        for name, shares in found.items()
    }
    name = profiles.MAIN
    return Density(
        values[name], min(values.values()), max(values.values()), "profile",
        profiles.note(), found[name], name, values, _full(config, tokens, found[name][1]),
    )


def _from_quotas(config: PSAConfig, tokens: Tokens) -> Density:
    blocks = -(-tokens.video // config.block_n)
    counts = {level: float(n) for level, n in config.mask_ratios.quotas(blocks).items()}
    kept = sum(counts.get(level, 0) for level in (1, 2, 4, 8))
    if config.tail == "none" and tokens.text == 0 and not kept:
        # A softmax needs a key: the most important block is kept (psa_kernels/reference/levels.py).
        finest = next(x for x in (1, 2, 4, 8) if config.mask_ratios.width(x) > 0)
        counts[finest] = 1.0
        counts[0] = counts.get(0, 0) - 1.0
    value, low, high = _density(config, tokens, counts)
    shares = {level: counts.get(level, 0.0) / blocks for level in LEVELS}
    note = "the same for every video: each level has its quota of blocks"
    if low != high:
        note += "; the range is where the last, short block may land"
    full = _full(config, tokens, shares[1])
    return Density(value, low, high, "exact", note, shares, full=full)


def _full(config: PSAConfig, tokens: Tokens, share: float) -> float:
    return _density(config, tokens, _per_row(config, tokens, {1: share}))[0]


def _per_row(
    config: PSAConfig, tokens: Tokens, shares: Mapping[int, float]
) -> dict[int, float]:
    blocks = -(-tokens.video // config.block_n)
    return {level: share * blocks for level, share in shares.items()}


def _density(
    config: PSAConfig, tokens: Tokens, counts: Mapping[int, float]
) -> tuple[float, float, float]:
    """(mean, low, high) from the number of key blocks on each level of a query block's row."""
    n, video, text = config.block_n, tokens.video, tokens.text
    blocks, last = -(-video // n), video % n or n
    sizes = {1: 1, 2: 2, 4: 4, 8: 8, 0: None if config.tail == "none" else config.tail}

    def cost(level: int, keys: int) -> int:
        return -(-keys // sizes[level]) if sizes[level] else 0

    # Pooled keys of a row if every block were whole, and what the short one takes off it.
    whole = sum(count * cost(level, n) for level, count in counts.items())
    less = {level: cost(level, last) - cost(level, n) for level, count in counts.items() if count}
    mean = sum(counts[level] / blocks * change for level, change in less.items())
    least, most = min(less.values(), default=0), max(less.values(), default=0)

    def share(row: float) -> float:
        # Every query sees the text in full; a query of the text sees everything in full.
        return (video * (text + row) + text * tokens.total) / tokens.total**2

    return share(whole + mean), share(whole + least), share(whole + most)
