"""The `psa_setting` of a LightX2V configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.preset_value import PresetValue
from ..preset_by_name import preset_value

NAMES = ("preset", "presets_file", "dense_blocks", "min_tokens", "dense_type")
DENSE_TYPE = "torch_sdpa"  # LightX2V has it on every platform


@dataclass(frozen=True)
class Settings:
    """dense_type  name in LightX2V's registry of the attention for calls that stay dense"""

    preset: PresetValue
    dense_blocks: frozenset[int] = frozenset()
    min_tokens: int = 0
    dense_type: str = DENSE_TYPE


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Raises `ValueError`, `TypeError` or the presets' `PresetError` for wrong settings."""
    given = config.get("psa_setting")
    if not isinstance(given, Mapping) or "preset" not in given:
        raise ValueError(
            f"psa_setting: found {given!r}, which names no preset. Fix: "
            '"psa_setting": {"preset": "Wan2.1_14b/balanced"}'
        )
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise ValueError(f"psa_setting: found {unknown[0]!r}. Fix: use only {', '.join(NAMES)}")
    return Settings(
        preset_value(given["preset"], given.get("presets_file")),
        frozenset(given.get("dense_blocks", ())),
        given.get("min_tokens", 0),
        given.get("dense_type", DENSE_TYPE),
    )
