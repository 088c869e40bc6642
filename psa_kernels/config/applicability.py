"""Which fields have no effect with the values of the others, and why: for forms to show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .block_overrides import DENSE, BlockOverrides, Override
from .fields import FIELD_BY_PATH, FIELDS
from .step_ranges import StepRanges

_ALWAYS = ("type", "description", "verbose")
_RANKING = ("mask_mode", "importance", "second_moment", "tail", "use_sim_mask", "grouping")


def not_applicable(values: Mapping[str, Any]) -> dict[str, str]:
    """Field path -> reason, from well-formed values by `PSAConfig` argument; absent ones default.

    A field whose own value the validator refuses still applies: it has to be changed.
    """
    full = {field.argument: field.default for field in FIELDS} | dict(values)
    if full["type"] == "dense":
        reason = "with type dense the model's own attention runs, untouched"
        return {field.path: reason for field in FIELDS if field.path not in _ALWAYS}
    first, *others = map(_in_one, _everywhere(full))
    return {path: why for path, why in first.items() if all(path in other for other in others)}


def _everywhere(full: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The preset's values, and what they become in ranges of steps and in single blocks."""
    ranges: StepRanges = full["steps"]
    for own in (), *ranges.values():
        if own == DENSE:
            continue
        of_range = full | _arguments(own)
        yield of_range
        blocks: BlockOverrides = of_range["blocks"]
        for _, override in blocks.groups:
            if override != DENSE:
                yield of_range | _arguments(override)


def _arguments(own: Override) -> dict[str, Any]:
    return {FIELD_BY_PATH[path].argument: value for path, value in own}


def _in_one(full: Mapping[str, Any]) -> dict[str, str]:
    """With one set of values, the same in all steps and blocks."""
    found: dict[str, str] = {}
    ratios = full["mask_ratios"]
    pooled = any(ratios.width(level) > 0 for level in (2, 4, 8))
    skipped = ratios.width(0) > 0
    if not pooled and not skipped:
        reason = "every block is at full resolution"
        found |= dict.fromkeys(_RANKING, reason)
    elif not skipped:
        found["tail"] = "no block is on level 0"
    elif not pooled and full["tail"] == "none":
        found |= dict.fromkeys(("second_moment", "use_sim_mask"), "nothing is pooled")
    if "grouping" in found:
        found["refresh"] = found["grouping"]
    elif full["grouping"] == "order":
        found["refresh"] = "only the grouping similar reads it"

    method = full["rearrange_method"]
    if full["use_rearrange"] and method in ("SemanticAware", "Hybrid"):
        found.setdefault("refresh", "nothing is kept with this order, whose blocks change")
    if not full["use_rearrange"]:
        reason = "use_rearrange is off"
        found |= {"rearrange_method": reason, "tile_size": reason}
    elif method is None:
        found["use_rearrange"] = "no order is chosen"
    if method != "STA":
        found.setdefault("tile_size", "only the STA order reads it")

    if not full["use_sim_mask"] or "use_sim_mask" in found:
        reason = found.get("use_sim_mask", "use_sim_mask is off")
        found |= {f"sim_thresholds.x{level}": reason for level in (2, 4, 8)}
    return found
