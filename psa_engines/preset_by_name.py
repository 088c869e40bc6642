"""A preset as a user of the library names it."""

from __future__ import annotations

from .core.preset_value import PresetValue
from .ground import SHIPPED_DIR, PresetInfo, PresetStore, PSAConfig


def preset_value(preset: str | PSAConfig | PresetValue) -> PresetValue:
    """"family/name" of a shipped preset, "family" for its default; a configuration as it is.

    Raises the presets' `PresetError`, which says what there is, or `TypeError`.
    """
    if isinstance(preset, PresetValue):
        return preset
    if isinstance(preset, PSAConfig):
        return PresetValue(preset, name="own settings")
    if not isinstance(preset, str):
        raise TypeError(
            f"preset: found {type(preset).__name__}; give a name such as \"Wan2.1_14b/balanced\" "
            "or a PSAConfig"
        )
    family, _, name = preset.partition("/")
    # no folder of a user's own
    return of_store(PresetStore(SHIPPED_DIR, SHIPPED_DIR / "none"), family, name or None)[1]


def of_store(
    store: PresetStore, family: str, name: str | None
) -> tuple[PresetInfo, PresetValue]:
    """A store's preset, and what its list says of it; None for the family's default.

    Raises `PresetError`.
    """
    info, config = store.find(family, name)
    known = store.get_family(family)
    scale = known.video_scale
    size = scale.width_divisor, scale.height_divisor, scale.depth_divisor
    return info, PresetValue(config, family, info.name, known.text_length, size)
