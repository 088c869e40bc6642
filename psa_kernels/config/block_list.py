"""Transformer blocks named by index: "0, 1, 38-39" and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

LONGEST = 65_536  # characters; each of the 10,000 blocks there can be, one by one, takes fewer

_ITEM = re.compile(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?", re.ASCII)
_SHOWN = 40  # characters of an unreadable part that a message repeats


def parse_block_list(text: str) -> frozenset[int]:
    """Indices named by `text`; raises ValueError that names the part it cannot read."""
    return blocks_of(block_ranges(text))


def blocks_of(runs: Iterable[tuple[int, int]]) -> frozenset[int]:
    """The indices of runs (first, last)."""
    return frozenset(chain.from_iterable(range(first, last + 1) for first, last in runs))


def block_ranges(text: str) -> list[tuple[int, int]]:
    """(first, last) of the runs of blocks that `text` names, in order and apart from each other;
    however often it names a block. Raises as `parse_block_list` does."""
    if len(text) > LONGEST:
        raise ValueError(
            f"cannot read a list of {len(text)} characters; at most {LONGEST} are read. Write "
            "ranges, like 38-39"
        )
    named = []
    for item in text.replace(";", ",").split(","):
        item = item.strip()
        if not item:
            continue
        match = _ITEM.fullmatch(item)
        first, last = (int(x or match[1]) for x in match.groups()) if match else (1, 0)
        if first > last:
            raise ValueError(
                f"cannot read {item[:_SHOWN]!r}; write block numbers and ranges "
                "separated by commas, like 0, 1, 38-39"
            )
        named.append((first, last))
    runs: list[tuple[int, int]] = []
    for first, last in sorted(named):
        if runs and first <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(runs[-1][1], last))
        else:
            runs.append((first, last))
    return runs


def block_list_text(blocks: Iterable[int]) -> str:
    """The shortest text that `parse_block_list` reads as these indices."""
    runs: list[list[int]] = []
    for block in sorted(blocks):
        if runs and block == runs[-1][1] + 1:
            runs[-1][1] = block
        else:
            runs.append([block, block])
    return _text(runs)


def bits_of(runs: Iterable[tuple[int, int]]) -> int:
    """The runs as the bits of one number."""
    return sum((1 << last + 1) - (1 << first) for first, last in runs)


def bits_text(bits: int) -> str:
    """`block_list_text` of the indices of the bits that are set."""
    return _text((x.start(), x.end() - 1) for x in re.finditer("1+", f"{bits:b}"[::-1]))


def _text(runs: Iterable[Sequence[int]]) -> str:
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
