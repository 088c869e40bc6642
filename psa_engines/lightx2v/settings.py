"""What a LightX2V configuration says to PSA: its `psa_setting`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.preset_value import PresetValue
from ..preset_by_name import preset_value

NAMES = ("preset", "presets_file", "dense_blocks", "min_tokens", "dense_type")
DENSE_TYPE = "torch_sdpa"  # which LightX2V has everywhere


@dataclass(frozen=True)
class Settings:
    """dense_type  the attention of LightX2V's registry that serves the calls that stay dense"""

    preset: PresetValue
    dense_blocks: frozenset[int] = frozenset()
    min_tokens: int = 0
    dense_type: str = DENSE_TYPE


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Raises `ValueError`, `TypeError` or the presets' `PresetError` for what is not understood."""
    given = config.get("psa_setting")
    if not isinstance(given, Mapping) or "preset" not in given:
        raise ValueError(
            f"psa_setting: found {given!r}; it names a preset. Fix: "
            '"psa_setting": {"preset": "Wan2.1_14b/balanced"}'
        )
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise ValueError(f"psa_setting: found {unknown[0]!r}; it may have {', '.join(NAMES)}")
    return Settings(
        preset_value(given["preset"], given.get("presets_file")),
        frozenset(given.get("dense_blocks", ())),
        given.get("min_tokens", 0),
        given.get("dense_type", DENSE_TYPE),
    )
