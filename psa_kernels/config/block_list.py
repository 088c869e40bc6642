"""Transformer blocks named by index: "0, 1, 38-39" and back."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ITEM = re.compile(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?", re.ASCII)
_SHOWN = 40  # characters of an unreadable part that a message repeats


def parse_block_list(text: str) -> frozenset[int]:
    """Indices named by `text`; raises ValueError that names the part it cannot read."""
    blocks: set[int] = set()
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
        blocks.update(range(first, last + 1))
    return frozenset(blocks)


def block_list_text(blocks: Iterable[int]) -> str:
    """The shortest text that `parse_block_list` reads as these indices."""
    runs: list[list[int]] = []
    for block in sorted(blocks):
        if runs and block == runs[-1][1] + 1:
            runs[-1][1] = block
        else:
            runs.append([block, block])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
