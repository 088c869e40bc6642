"""Node widgets from the field descriptions, and back: the node adds no range or default of its own.

A field becomes one widget, unless a widget cannot hold it. A list becomes one widget per entry.
`mask_ratios` becomes the upper bound of each level: a level starts where the one before ends, and
level 0 takes the rest. `blocks` and `steps` have no widget; they are set in the YAML.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..psa_kernels.config import FIELDS, LEVELS, Field, PSAConfig
from .compat import declare
from .given_values import LEFT_OUT, read

UPPER = {level: f"level_{level}_to" for level in LEVELS if level}
TILE = ("tile_depth", "tile_height", "tile_width")


# kinds of fields whose values are mappings of settings
YAML_ONLY = ("block_overrides", "step_ranges")


def widgets() -> list[io.Input]:
    """One or more widgets for every field of the first version, in the order of the fields."""
    return [widget for field in FIELDS if not field.quiet for widget in _widgets(field)]


def later_widgets() -> list[io.Input]:
    """The widgets of fields that were added later.

    A saved workflow knows a node's widgets by their position, so these come after all others.
    """
    return [widget for field in FIELDS if field.quiet for widget in _widgets(field)]


def held(given: dict[str, Any]) -> dict[str, Any]:
    """Widget id -> value, from what a script may write for them; null is left out."""
    known = {widget.id: widget for widget in (*widgets(), *later_widgets())}
    values = {
        name: read(known[name], value) if name in known else value for name, value in given.items()
    }
    return {name: value for name, value in values.items() if value is not LEFT_OUT}


def parts(field: Field, value: Any) -> dict[str, Any]:
    """Widget id -> value, for the widgets that show one field's value."""
    if field.kind == "mask_ratios":
        upper, bounds = 0.0, {}
        for level, part in UPPER.items():
            # a missing level has no width
            upper = bounds[part] = value[level][1] if level in value else upper
        return bounds
    if field.kind == "ints":
        return dict(zip(TILE, value, strict=True))
    if field.kind in YAML_ONLY:
        return {}
    return {field.argument: _text(value) if field.kind == "choice" else value}


def names(field: Field) -> list[str]:
    """Ids of the field's widgets."""
    return list(parts(field, field.default))


def defaults() -> dict[str, Any]:
    """Widget id -> value, as in a new node."""
    return {name: value for field in FIELDS for name, value in parts(field, field.default).items()}


def shown(config: PSAConfig) -> dict[str, Any]:
    """Widget id -> value, for a configuration."""
    return {
        name: value
        for field in FIELDS
        for name, value in parts(field, getattr(config, field.argument)).items()
    }


def to_preset(values: dict[str, Any]) -> dict[str, Any]:
    """The nested preset mapping that these widget values describe; missing widgets stay missing.

    Wrong values are passed on as they are: the validator reports them.
    """
    preset: dict[str, Any] = {}
    for field in FIELDS:
        value = _read(field, values)
        if value is not _ABSENT:
            section, _, key = field.path.rpartition(".")
            (preset.setdefault(section, {}) if section else preset)[key] = value
    return preset


_ABSENT = object()


def _widgets(field: Field) -> list[io.Input]:
    common = {"tooltip": field.help, "display_name": field.label}
    name, default = field.argument, field.default
    if field.kind == "bool":
        return [_widget(io.Boolean, name, default, **common)]
    if field.kind == "text":
        return [_widget(io.String, name, default, **common)]
    if field.kind == "choice":
        options = [_text(choice) for choice in field.choices]
        return [_widget(io.Combo, name, _text(default), options=options, **common)]
    if field.kind in ("int", "float"):
        number = int if field.kind == "int" else float
        ends = {"min": number(field.low), "max": number(field.high), "step": number(field.step)}
        kind = io.Int if field.kind == "int" else io.Float
        return [_widget(kind, name, default, **ends, **common)]
    if field.kind in YAML_ONLY:
        return []
    if field.kind == "ints":
        return [
            _widget(
                io.Int,
                part,
                value,
                min=int(field.low),
                max=int(field.high),
                step=int(field.step),
                tooltip=field.help,
                display_name=part.replace("_", " ").capitalize(),
            )
            for part, value in zip(TILE, default, strict=True)
        ]
    return [
        _widget(
            io.Float,
            part,
            default[level][1],
            min=field.low,
            max=field.high,
            step=field.step,
            display_name=f"Level {level} up to",
            tooltip=f"Where pyramid level {level} ends, as a share from 0 to 1. {field.help}",
        )
        for level, part in UPPER.items()
    ]


def _widget(kind: Any, name: str, default: Any, **settings: Any) -> io.Input:
    # Optional, so that settings added by a later version do not break older workflows.
    return declare(kind.Input, name, default=default, optional=True, **settings)


def _read(field: Field, values: dict[str, Any]) -> Any:
    if field.kind == "mask_ratios":
        return _ratios(values)
    if field.kind in YAML_ONLY:
        return _ABSENT
    if field.kind == "ints":
        sizes = [values[name] for name in TILE if name in values]
        return sizes if len(sizes) == len(TILE) else _ABSENT
    if field.argument not in values:
        return _ABSENT
    value = values[field.argument]
    if field.kind == "choice":
        by_text = {_text(choice): choice for choice in field.choices}
        return by_text.get(str(value), value)
    return value


def _ratios(values: dict[str, Any]) -> Any:
    if not all(name in values for name in UPPER.values()):
        return _ABSENT
    ratios, lower = {}, 0.0
    for level, name in UPPER.items():
        ratios[level] = [lower, values[name]]
        lower = values[name]
    ratios[0] = [lower, 1.0]
    return ratios


def _text(choice: Any) -> str:
    return "none" if choice is None else str(choice)
