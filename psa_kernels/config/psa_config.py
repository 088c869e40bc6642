"""`PSAConfig`: one immutable, validated configuration."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .block_overrides import DENSE, NO_OVERRIDES, BlockOverrides, Override, nested
from .fields import DEFAULT_MASK_RATIOS, FIELD_BY_PATH, FIELDS
from .issues import ConfigError, Issue
from .step_ranges import NO_RANGES, Range, StepRanges, parse_range
from .validate import check_arguments, check_preset


@dataclass(frozen=True)
class PSAConfig:
    """Settings of pyramid sparse attention; `fields.FIELDS` describes each one.

    The names and defaults are those of the PSA module's reference. `rearrange_method`
    only takes effect while `use_rearrange` is on; `type`, `description`, `warmup_steps`, `blocks`,
    `steps` and `verbose` are read by a host that has presets and sampler steps, not by the
    attention call.

    `blocks` and `steps` take what a preset file has there, `{"0-1": "dense", 12: {"tail": 64}}` and
    `{"0-20%": "dense", "60-100%": {"tail": 64}}`.

    Raises `ConfigError`, which lists every breach at once, for anything invalid.
    """

    block_m: int = 128
    block_n: int = 64
    tile_n: int = 32
    mask_ratios: Mapping[int, tuple[float, float]] = DEFAULT_MASK_RATIOS
    mask_mode: str = "topk"
    attn_impl: str = "new_mask_type"
    use_sim_mask: bool = False
    sim_2x_threshold: float = 0.0
    sim_4x_threshold: float = 0.0
    sim_8x_threshold: float = -1.0
    rearrange_method: str | None = None
    use_rearrange: bool = True
    tile_size: tuple[int, int, int] = (2, 8, 8)
    importance: str = "sub_block"
    tail: int | str = "none"
    second_moment: bool = False
    warmup_steps: int = 0
    blocks: BlockOverrides | Mapping[int | str, Any] = NO_OVERRIDES
    type: str = "psa"
    description: str = ""
    verbose: bool = False
    grouping: str = "order"
    refresh: int = 4
    steps: StepRanges | Mapping[str, Any] = NO_RANGES
    qk: str = "half"
    value_sums: str = "float32"

    def __post_init__(self) -> None:
        values = {field.argument: getattr(self, field.argument) for field in FIELDS}
        checked, issues = check_arguments(values)
        if issues:
            raise ConfigError(map(_in_python, issues), names="python", where="PSAConfig")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        """Kept: it is asked for several times a call, and there are two dozen fields."""
        return hash(tuple(self._arguments.values()))

    def __getstate__(self) -> dict[str, Any]:
        # not the hash, which is another in the next process
        return self._arguments

    @classmethod
    def from_preset(cls, mapping: Mapping[str, Any], where: str = "") -> PSAConfig:
        """The configuration that a preset's mapping (the YAML format) describes.

        Absent keys take their defaults. Raises `ConfigError` with `where` in front of its text.
        """
        config, issues = cls.read_preset(mapping)
        if config is None:
            raise ConfigError(issues, where=where)
        return config

    @classmethod
    def read_preset(cls, mapping: Mapping[str, Any]) -> tuple[PSAConfig | None, list[Issue]]:
        """(configuration, every breach) of a preset's mapping; None where there is a breach."""
        arguments, issues = check_preset(mapping)
        return (None if issues else cls._of(arguments)), issues

    @classmethod
    def _of(cls, arguments: Mapping[str, Any]) -> PSAConfig:
        """A configuration from arguments that the validator returned; missing ones are defaults."""
        config = object.__new__(cls)
        for field in FIELDS:
            value = arguments.get(field.argument, field.default)
            object.__setattr__(config, field.argument, value)
        return config

    def to_preset(self, *, whole: bool = False) -> dict[str, Any]:
        """The preset's mapping, plain types only: `PSAConfig.from_preset` gives it back equal.

        whole: every field, also those that a file leaves out at their default.
        """
        values = ((field, getattr(self, field.argument)) for field in FIELDS)
        return nested(tuple(
            (field.path, value) for field, value in values
            if whole or not field.quiet or value != field.default
        ))  # fmt: skip

    def replace(self, **changes: Any) -> PSAConfig:
        """A copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)

    def for_step(self, place: float) -> PSAConfig:
        """The settings of a sampler step, without `steps`; of type "dense" in a dense range.

        place  the part of the whole run that comes before it, 0 to 1
        """
        return self.of_ranges[self.steps.at(place)]

    def in_range(self, name: str | None) -> PSAConfig:
        """The settings of the steps in a range, by its name in the preset; None: of all others."""
        return self.of_ranges[None if name is None else parse_range(name)]

    @functools.cached_property
    def of_ranges(self) -> dict[Range | None, PSAConfig]:
        """Range of steps -> its settings, `blocks` among them; None -> those of all other steps."""
        whole = self._arguments | {"steps": NO_RANGES}
        found: dict[Range | None, PSAConfig] = {None: self._of(whole)}
        return found | {
            range_: self._of(whole | _arguments(own)) for range_, own in self.steps.items()
        }

    def for_block(self, block: int) -> PSAConfig:
        """One transformer block's settings, without `blocks`; of type "dense" for a dense one."""
        return self._of_blocks.get(block, self._of_blocks[None])

    @functools.cached_property
    def _of_blocks(self) -> dict[int | None, PSAConfig]:
        """Block -> its settings; None -> those of all others."""
        whole = self._arguments | {"blocks": NO_OVERRIDES}
        found: dict[int | None, PSAConfig] = {None: self._of(whole)}
        for blocks, override in self.blocks.groups:
            # they fit: the validator looked at them together
            found |= dict.fromkeys(blocks, self._of(whole | _arguments(override)))
        return found

    @property
    def _arguments(self) -> dict[str, Any]:
        return {field.argument: getattr(self, field.argument) for field in FIELDS}

    @property
    def order(self) -> str | None:
        """The rearrangement in force: `rearrange_method`, or None for raster order."""
        return self.rearrange_method if self.use_rearrange else None

    @property
    def sim_thresholds(self) -> dict[int, float]:
        """Similarity threshold by pooling level."""
        return {
            2: self.sim_2x_threshold,
            4: self.sim_4x_threshold,
            8: self.sim_8x_threshold,
        }

    @functools.cached_property
    def pooling_sizes(self) -> tuple[int, ...]:
        """The sizes, in keys, of the groups that a call can read, finest first."""
        sizes = {x for x in (2, 4, 8) if self.mask_ratios.width(x) > 0}
        if self.use_sim_mask and sizes:
            # the similarity constraint can send a block to any finer level
            sizes |= {x for x in (2, 4, 8) if x < max(sizes)}
        if self.importance == "sub_block":
            sizes.add(8)
        if self.tail != "none":
            sizes.add(self.tail)
        return tuple(sorted(sizes))


def _arguments(own: Override) -> dict[str, Any]:
    """What a block or a range has of its own, as arguments."""
    if own == DENSE:
        return {"type": DENSE}
    return {FIELD_BY_PATH[path].argument: value for path, value in own}


def _in_python(issue: Issue) -> Issue:
    """The issue with a caller's names in its words: `block_n` for `block_size.n`."""

    def renamed(text: str) -> str:
        for field in FIELDS:
            if field.path != field.argument:
                text = text.replace(field.path, field.argument)
        return text

    if issue.path.startswith(("blocks.", "steps.")):
        return issue  # they are written as in a preset file
    mends = tuple(dataclasses.replace(m, label=renamed(m.label)) for m in issue.mends)
    return dataclasses.replace(issue, allowed=renamed(issue.allowed), mends=mends)
