"""The rules across fields, sections 6b and 7, and where they hold: in a preset, and in each block
that has settings of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .fields import FIELD_BY_PATH
from .issues import Issue, Mend


@dataclass(frozen=True)
class Scope:
    """Values that must fit each other.

    prefix  of the paths of what is wrong: "" for the preset itself, `blocks.12.` for blocks
    full    every argument's value; of blocks, the preset's where they have none of their own
    broken  arguments whose value is not known, being malformed
    own     arguments given here; the others of a block follow the preset
    """

    prefix: str
    full: Mapping[str, Any]
    broken: frozenset[str]
    own: frozenset[str]

    def placed(self, issue: Issue) -> Issue:
        """The issue of a setting here with its whole path."""
        if not self.prefix:
            return issue
        where = self.prefix.removeprefix("blocks.").removesuffix(".")
        mends = tuple(
            Mend(
                f"{mend.label} for blocks {where}",
                {self.prefix + path: value for path, value in mend.changes.items()},
            )
            for mend in issue.mends
        )
        path = self.prefix + issue.path
        return dataclasses.replace(issue, path=path, argument=path, mends=mends)


def clashes(scopes: Iterable[Scope]) -> list[Issue]:
    """Every breach of a rule by well-formed values; what a block shares with the preset once."""
    issues = []
    for scope in scopes:
        for rule, reads in _RULES:
            if scope.broken.isdisjoint(reads) and not scope.own.isdisjoint(reads):
                found = rule(*(scope.full[name] for name in reads))
                issues.extend(map(scope.placed, found))
    return issues


def changed(scopes: Sequence[Scope], changes: Mapping[str, Any]) -> list[Scope]:
    """The scopes with the changes of a mend, path -> value."""
    result = []
    for scope in scopes:
        own, theirs = {}, {}
        for path, value in changes.items():
            inside = path.removeprefix(scope.prefix) if path.startswith(scope.prefix) else None
            if inside in FIELD_BY_PATH:
                own[FIELD_BY_PATH[inside].argument] = value
            elif path in FIELD_BY_PATH and FIELD_BY_PATH[path].argument not in scope.own:
                theirs[FIELD_BY_PATH[path].argument] = value
        full, known = {**scope.full, **theirs, **own}, own.keys() | theirs.keys()
        result.append(Scope(scope.prefix, full, scope.broken - known, scope.own | own.keys()))
    return result


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


_RULES = (
    (_sim_mask_needs_old, ("attn_impl", "use_sim_mask")),
    (_old_wants_128, ("attn_impl", "block_m", "block_n")),
    (_tile_divides_block, ("tile_n", "block_n")),
    (_tail_fits_block, ("tail", "block_n")),
    (_something_is_kept, ("mask_ratios", "tail")),
)
