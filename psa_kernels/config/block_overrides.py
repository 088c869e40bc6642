"""`blocks`: the transformer blocks that have settings of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .block_list import block_list_text
from .immutable import Immutable
from .mask_ratios import MaskRatios

DENSE = "dense"

# A key of a file has at most 128 characters (presets/yaml_text.py); longer lists become several.
_LONGEST_KEY = 100

# What a block has of its own: `DENSE`, or (preset path, value) pairs in the order of the fields.
Override = str | tuple[tuple[str, Any], ...]


class BlockOverrides(Immutable, Mapping[int, Override]):
    """Immutable, hashable mapping from a block's index to what it has of its own.

    Two are equal where every block has the same, however the blocks were grouped.
    """

    __slots__ = ("_groups",)

    def __init__(self, overrides: Mapping[int, Override] | None = None):
        blocks_of: dict[Override, list[int]] = {}
        for block in sorted(overrides or ()):
            blocks_of.setdefault(overrides[block], []).append(block)
        groups = tuple((tuple(blocks), override) for override, blocks in blocks_of.items())
        object.__setattr__(self, "_groups", groups)

    @property
    def groups(self) -> tuple[tuple[tuple[int, ...], Override], ...]:
        """(indices, what these blocks have), by the first index."""
        return self._groups

    def __getitem__(self, block: int) -> Override:
        for blocks, override in self._groups:
            if block in blocks:
                return override
        raise KeyError(block)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(block for blocks, _ in self._groups for block in blocks))

    def __len__(self) -> int:
        return sum(len(blocks) for blocks, _ in self._groups)

    def __hash__(self) -> int:
        return hash(self._groups)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BlockOverrides):
            return self._groups == other._groups
        return NotImplemented

    def __repr__(self) -> str:
        return repr(self.to_preset())

    def __reduce__(self):
        return BlockOverrides, (dict(self),)

    def to_preset(self) -> dict[int | str, Any]:
        """As a preset file has it, plain types only: one entry for blocks that have the same."""
        return {
            key: override if override == DENSE else nested(override)
            for blocks, override in self._groups
            for key in _keys(blocks)
        }


NO_OVERRIDES = BlockOverrides()


def _keys(blocks: tuple[int, ...]) -> list[int | str]:
    if len(blocks) == 1:
        return [blocks[0]]
    parts = block_list_text(blocks).split(", ")
    keys, line = [], parts[0]
    for part in parts[1:]:
        longer = f"{line}, {part}"
        if len(longer) > _LONGEST_KEY:
            keys.append(line)
            longer = part
        line = longer
    return [int(key) if key.isdigit() else key for key in (*keys, line)]


def nested(own: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """(path, value) pairs as a preset's mapping, plain types only."""
    preset: dict[str, Any] = {}
    for path, value in own:
        section, _, key = path.rpartition(".")
        (preset.setdefault(section, {}) if section else preset)[key] = plain(value)
    return preset


def plain(value: Any) -> Any:
    """A setting's value as a preset file has it, plain types only."""
    if isinstance(value, MaskRatios):
        return {level: list(bounds) for level, bounds in value.items()}
    if hasattr(value, "to_preset"):
        return value.to_preset()
    return list(value) if isinstance(value, tuple) else value
