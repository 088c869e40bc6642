"""Finds a preset by the name that a user of the library gives."""

from __future__ import annotations

from pathlib import Path

from .core.preset_value import PresetValue
from .ground import Family, PresetInfo, PresetStore, PSAConfig, over_shipped


def preset_value(
    preset: str | PSAConfig | PresetValue | None,
    file: str | Path | None = None,
    family: str | None = None,
    engines: str | Path | None = None,
) -> PresetValue:
    """ "family/name" of a preset, "family" or None for a default; a configuration as it is.

    file     of presets, which take precedence over the shipped ones
    family   the model's, if known: used for "name" alone and for None
    engines  file of an engine's own presets, for models that ComfyUI does not have

    Raises the presets' `PresetError`, which lists what there is, or `TypeError`.
    """
    if isinstance(preset, PresetValue):
        return preset
    if isinstance(preset, PSAConfig):
        return PresetValue(preset, name="own settings")
    if not (isinstance(preset, str) or (preset is None and family)):
        raise TypeError(
            f'preset: found {type(preset).__name__}; give a name such as "Wan2.1_14b/balanced" '
            "or a PSAConfig"
        )
    catalog = over_shipped(engines, file)
    first, parted, name = (preset or family).partition("/")
    if not parted and family and first not in catalog.families:
        first, name = family, first
    found, config = catalog.preset(first, name or None)
    return _value(catalog.family(first), found, config)


def of_store(store: PresetStore, family: str, name: str | None) -> tuple[PresetInfo, PresetValue]:
    """A preset of a store, with its entry in the store's list. name: None for the family's default.

    Raises `PresetError`.
    """
    info, config = store.find(family, name)
    return info, _value(store.get_family(family), info.name, config)


def _value(family: Family, name: str, config: PSAConfig) -> PresetValue:
    scale = family.video_scale
    size = scale.width_divisor, scale.height_divisor, scale.depth_divisor
    return PresetValue(config, family.name, name, family.text_length, size)
