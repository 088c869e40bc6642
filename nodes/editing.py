"""A preset as PSA Preset Editor holds it: a base preset, widgets and YAML laid over each other.

Both ways: what the node's values mean, and which values make the node mean a given preset.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..presets.yaml_text import Document, dump, parse
from ..psa_kernels.config import FIELDS, PSAConfig, check_preset, field_of
from . import field_widgets

OVERRIDES = "yaml_overrides"
WHOLE = ("mask_ratios", "blocks", "steps")


def merged(
    base: PSAConfig | None, widgets: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The preset's mapping: base, then the widgets that are not at their default, then YAML."""
    if base is None:
        mapping = field_widgets.to_preset({**field_widgets.defaults(), **widgets})
    else:
        mapping = base.to_preset()
        untouched = field_widgets.defaults()
        touched = {
            name: value
            for name, value in widgets.items()
            if value != untouched.get(name) and str(value) != str(untouched.get(name))
        }
        # One value of several widgets: the others' parts come from the base.
        for parts in (field_widgets.UPPER.values(), field_widgets.TILE):
            if touched.keys() & set(parts):
                of_base = field_widgets.shown(base)
                touched = {name: of_base[name] for name in parts} | touched
        lay_over(mapping, field_widgets.to_preset(touched))
    lay_over(mapping, overrides)
    return mapping


def read_overrides(text: Any) -> Document:
    """The YAML laid over the rest; none is fine. Raises `TextError`."""
    text = "" if text is None else str(text)
    return parse(text, OVERRIDES) if text.strip() else Document(OVERRIDES, {}, {})


def lay_over(mapping: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Puts `changes` into `mapping`."""
    for key, value in changes.items():
        # Sections merge; the levels of mask_ratios only make sense together, as do the blocks and
        # the ranges of steps, each of which is named once.
        both = isinstance(mapping.get(key), dict) and isinstance(value, Mapping)
        whole = key in WHOLE
        mapping[key] = {**mapping[key], **value} if both and not whole else value


def changed(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a preset's mapping with dotted paths set (`block_size.n`, `mask_ratios.4`)."""
    result = copy.deepcopy(dict(mapping))
    for path, value in changes.items():
        place, (key, rest) = result, _first(result, path)
        while rest:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
            key, rest = _first(place, rest)
        place[key] = value
    return result


def _first(place: Mapping[Any, Any], path: str) -> tuple[Any, str]:
    """(the key of `place` that a dotted path begins with, the rest of the path).

    Levels and blocks are numbers in YAML and text in JSON, and a range of steps may have a dot in
    it: a key that is there is meant.
    """
    there = [key for key in place if f"{path}.".startswith(f"{key}.")]
    if there:
        key = max(there, key=lambda key: len(str(key)))
        return key, path[len(str(key)) + 1 :]
    key, _, rest = path.partition(".")
    return key, rest


def node_values(config: PSAConfig, base: PSAConfig | None) -> tuple[dict[str, Any], str]:
    """(widgets, YAML overrides) with which the node gives `config` on this base.

    A widget at its default means the base's value; what the base has otherwise and `config` has at
    its default can only be said in YAML, as can the settings of single blocks and steps.
    """
    widgets = field_widgets.shown(config)
    preset, overrides = config.to_preset(whole=True), {}
    for name in ("blocks", "steps"):
        if getattr(config, name) != getattr(base or PSAConfig, name):
            overrides[name] = preset[name]
    if base is None:
        return widgets, dump(overrides) if overrides else ""
    untouched, of_base = field_widgets.defaults(), field_widgets.shown(base)
    lost = {
        name
        for name, value in widgets.items()
        if value == untouched[name] and value != of_base[name]
    }
    for field in FIELDS:
        if lost & set(field_widgets.names(field)):
            section, _, key = field.path.rpartition(".")
            value = preset[section][key] if section else preset[key]
            lay_over(overrides, {section: {key: value}} if section else {key: value})
    return widgets, dump(overrides) if overrides else ""


def node_changed(
    widgets: dict[str, Any],
    overrides: dict[str, Any],
    base: PSAConfig | None,
    changes: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The node's values with fields set: by widgets, or in YAML where only that can say it."""
    wanted = changed(merged(base, widgets, overrides), changes)
    good, _ = check_preset(wanted)
    widgets = {**field_widgets.defaults(), **widgets}
    for field in dict.fromkeys(map(field_of, changes)):
        section, _, key = field.path.rpartition(".")
        value = (wanted[section] if section else wanted)[key]
        overrides = _without(overrides, field.path)
        if field.argument in good and field_widgets.names(field):
            parts = field_widgets.parts(field, good[field.argument])
            widgets.update(parts)
            now, _ = check_preset(merged(base, widgets, overrides))
            if field.argument in now and field_widgets.parts(field, now[field.argument]) == parts:
                continue
        elif len(field_widgets.names(field)) == 1:
            widgets[field.argument] = value  # wrong, for the user to see and fix
            continue
        lay_over(overrides, {section: {key: value}} if section else {key: value})
    return widgets, overrides


def _without(mapping: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy without one field, and without a section that this empties."""
    section, _, key = path.rpartition(".")
    result = dict(mapping)
    if not section:
        result.pop(key, None)
    elif isinstance(result.get(section), Mapping):
        result[section] = {k: v for k, v in result[section].items() if k != key}
        if not result[section]:
            del result[section]
    return result
