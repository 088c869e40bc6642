"""Which fields have no effect with the values of the others, and why: for forms to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import FIELDS

_ALWAYS = ("type", "description", "verbose")
_RANKING = ("mask_mode", "importance", "second_moment", "tail", "use_sim_mask")


def not_applicable(values: Mapping[str, Any]) -> dict[str, str]:
    """Field path -> reason, from well-formed values by `PSAConfig` argument; absent ones default.

    A field whose own value the validator refuses still applies: it is what is to be changed.
    """
    full = {field.argument: field.default for field in FIELDS} | dict(values)
    found: dict[str, str] = {}
    if full["type"] == "dense":
        reason = "with type dense the model's own attention runs, untouched"
        return {field.path: reason for field in FIELDS if field.path not in _ALWAYS}

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

    method = full["rearrange_method"]
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
