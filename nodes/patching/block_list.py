"""The `dense_blocks` setting: "0, 1, 38-39" names transformer blocks by index."""

from __future__ import annotations

import re

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
                f"dense_blocks: cannot read {item[:_SHOWN]!r}; write block numbers and ranges "
                "separated by commas, like 0, 1, 38-39"
            )
        blocks.update(range(first, last + 1))
    return frozenset(blocks)
