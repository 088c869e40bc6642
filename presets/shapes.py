"""What was put where something else is expected, and names that are nearly right."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .errors import Problem
from .family import HEADER, KEYS
from .ground import FIELDS
from .names import nearest, same_but_for_case
from .yaml_text import Document

_PRESET_KEYS = {field.path.partition(".")[0] for field in FIELDS}
PRESETS = "attention_configs"


def is_single_preset(document: Document) -> bool:
    """Whether a preset's settings stand where families are expected, maybe under a name."""
    return _settings(document.data) or named_preset(document) is not None


def named_preset(document: Document) -> Document | None:
    """The settings of a text that is one preset with its name above."""
    if len(document.data) != 1:
        return None
    [(name, settings)] = document.data.items()
    if not _settings(settings):
        return None
    lines = {path.removeprefix(f"{name}."): line for path, line in document.lines.items()}
    return Document(document.name, settings, lines)


def misplaced(document: Document) -> Problem | None:
    """What to say about a text that, as a whole, is not a file of families."""
    if _settings(document.data):
        what = "this is a single preset; a file of families is expected"
        mend = f"put it under its family, {PRESETS} and a name of its own"
        return Problem(what, document.name, 1, mend)
    strays = (_stray(document, key, section) for key, section in document.data.items())
    return next(filter(None, strays), None)


def has_family(document: Document) -> bool:
    """Whether any section of the text is a family's."""
    return any(map(_is_family, document.data.values()))


def wrong_section(
    document: Document, name: Any, section: Any, known: Collection[str]
) -> Problem | None:
    """What to say about a section that is not a family, or not one of this name."""
    stray = _stray(document, name, section)
    if stray is not None:
        return stray
    line = document.line_of(str(name))
    if _settings(section):
        what = f"{name} has a preset's settings; a family is expected"
        mend = f"put them under {PRESETS} and a name of their own"
        if name not in known:
            what = f"{name} is a preset without its family"
            mend = f"put it under its family and {PRESETS}"
        return Problem(what, document.name, line, mend, str(name))
    presets = section.values() if isinstance(section, Mapping) else ()
    if presets and PRESETS not in section and all(map(_settings, presets)):
        what = f"the presets of {name} are directly under it"
        return Problem(what, document.name, line, f"put them under {PRESETS}", str(name))
    return None


def nearly(document: Document, name: Any, section: Any, known: Collection[str]) -> Problem | None:
    """What to say about an unknown family whose name is nearly a known one's."""
    if not isinstance(name, str) or name in known:
        return None
    line = document.line_of(name)
    twin = same_but_for_case(name, known)
    if twin:
        what = f"the family {name} differs from {twin} by case only and is left out"
        return Problem(what, document.name, line, f"rename it to {twin}", name)
    missing = [key for key in HEADER if not isinstance(section, Mapping) or key not in section]
    near = nearest(name, known)
    if not missing or not near:
        return None
    what = f"there is no family {name}"
    mend = f"rename it to {near}, or make it a family of its own with {', '.join(missing)}"
    return Problem(what, document.name, line, mend, name)


def _stray(document: Document, key: Any, section: Any) -> Problem | None:
    """What to say about a key of a family that stands where the families' names do."""
    if key not in KEYS or _is_family(section):
        return None
    what = f"{key} is here without a family"
    mend = "write the family's name above, and indent all that belongs to it"
    if has_family(document):
        mend = "put it under its family, or remove it"
    return Problem(what, document.name, document.line_of(key), mend)


def _is_family(section: Any) -> bool:
    return isinstance(section, Mapping) and PRESETS in section


def _settings(mapping: Any) -> bool:
    return (
        isinstance(mapping, Mapping)
        and not _PRESET_KEYS.isdisjoint(mapping)
        and set(KEYS).isdisjoint(mapping)
    )
