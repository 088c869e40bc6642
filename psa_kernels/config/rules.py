"""The rules across fields, sections 6b and 7. A rule is called with the values that it reads."""

from __future__ import annotations

from typing import Any

from .issues import Issue, Mend


def _sim_mask_needs_old(attn_impl: str, use_sim_mask: bool) -> list[Issue]:
    if not (use_sim_mask and attn_impl == "new_mask_type"):
        return []
    old = {"attn_impl": "old_mask_type", "block_size.m": 128, "block_size.n": 128}
    mends = (
        Mend("drop the mask (use_sim_mask: false)", {"use_sim_mask": False}),
        Mend("switch to attn_impl: old_mask_type with block_size.m = block_size.n = 128", old),
    )
    allowed = "attn_impl new_mask_type does not support the similarity mask"
    return [Issue("use_sim_mask", "use_sim_mask", "True", allowed, mends)]


def _old_wants_128(attn_impl: str, block_m: int, block_n: int) -> list[Issue]:
    if attn_impl != "old_mask_type":
        return []
    issues = []
    for path, argument, value in (
        ("block_size.m", "block_m", block_m),
        ("block_size.n", "block_n", block_n),
    ):
        if value != 128:
            mends = (
                Mend(f"set {path} to 128", {path: 128}),
                Mend("switch to attn_impl: new_mask_type", {"attn_impl": "new_mask_type"}),
            )
            allowed = "attn_impl old_mask_type works with 128 only"
            issues.append(Issue(path, argument, str(value), allowed, mends))
    return issues


def _tile_divides_block(tile_n: int, block_n: int) -> list[Issue]:
    if block_n % tile_n == 0:
        return []
    mend = Mend(f"set block_size.tile_n to {block_n}", {"block_size.tile_n": block_n})
    allowed = f"it must divide block_size.n = {block_n}"
    return [Issue("block_size.tile_n", "tile_n", str(tile_n), allowed, (mend,))]


def _tail_fits_block(tail: int | str, block_n: int) -> list[Issue]:
    if tail == "none" or tail <= block_n:
        return []
    mends = [Mend(f"set tail to {block_n}", {"tail": block_n})]
    if tail in (32, 64, 128):
        mends.append(Mend(f"set block_size.n to {tail}", {"block_size.n": tail}))
    allowed = f"it can be at most block_size.n = {block_n}"
    return [Issue("tail", "tail", str(tail), allowed, tuple(mends))]


def _something_is_kept(mask_ratios: Any, tail: int | str) -> list[Issue]:
    if tail != "none" or any(mask_ratios.width(level) > 0 for level in (1, 2, 4, 8)):
        return []
    mend = Mend("set tail to 32", {"tail": 32})
    allowed = "with every block on level 0 and no tail, nothing is left to attend to"
    return [Issue("mask_ratios.0", "mask_ratios.0", "[0, 1]", allowed, (mend,))]


# (rule, arguments that it reads)
RULES = (
    (_sim_mask_needs_old, ("attn_impl", "use_sim_mask")),
    (_old_wants_128, ("attn_impl", "block_m", "block_n")),
    (_tile_divides_block, ("tile_n", "block_n")),
    (_tail_fits_block, ("tail", "block_n")),
    (_something_is_kept, ("mask_ratios", "tail")),
)
