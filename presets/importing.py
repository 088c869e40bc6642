"""Taking a pasted or dropped text over into the user's files: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .catalog import Catalog, header_problems, read_section, same_effect
from .edit import Edit
from .errors import CollisionError, InvalidPresetError, Problem
from .family import Family
from .ground import PSAConfig
from .names import same_but_for_case
from .shapes import is_single_preset, misplaced, nearly, wrong_section
from .yaml_text import Document


@dataclass(frozen=True)
class Imported:
    """(family, preset) pairs; `skipped` were there already with the same effect, `notes` say what
    of a known family's header was not taken over."""

    saved: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[Problem, ...]


def import_document(
    catalog: Catalog, edit: Edit, document: Document, replace: bool
) -> tuple[Imported, dict[tuple[str, str], PSAConfig]]:
    """Put every new preset of `document` into `edit`, uncommitted; also returns what these are.

    Raises `InvalidPresetError` or `CollisionError` with everything that stands in the way.
    """
    _check_shape(document)
    breaches: list[Problem] = []
    collisions: list[Problem] = []
    notes: list[Problem] = []
    new: list[tuple[Family, str]] = []
    skipped: list[tuple[str, str]] = []
    families: list[str] = list(catalog.families)
    for name, section in document.data.items():
        wrong = wrong_section(document, name, section, families)
        if wrong is not None:
            breaches.append(wrong)
            continue
        wrong = nearly(document, name, section, families)
        if wrong is not None:
            (collisions if same_but_for_case(name, families) else breaches).append(wrong)
            continue
        base = catalog.families.get(name)
        part, problems = read_section(document, name, section, base)
        breaches += problems
        if part is None:
            continue
        families.append(name)
        if base is not None:
            notes += header_problems(document, base, part)
        for preset, config in part.attention_configs.items():
            taken = catalog.taken_by(name, preset)
            known = base.attention_configs[taken] if taken else None
            if taken == preset and same_effect(known, config):
                skipped.append((name, preset))
            elif taken is None or (
                replace and taken == preset and not catalog.is_shipped(name, preset)
            ):
                new.append((part, preset))
            else:
                collisions.append(catalog.collision(document, name, preset, taken))
    if breaches:
        raise InvalidPresetError(*breaches, *collisions)
    if collisions:
        raise CollisionError(*collisions)
    for part, preset in new:
        section = part.to_mapping()
        presets = section.pop("attention_configs")
        header = None if part.name in catalog.families else section
        file = edit.file_for(catalog, part.name, preset)
        edit.put(file, part.name, preset, presets[preset], header)
    saved = tuple((part.name, preset) for part, preset in new)
    configs = {(part.name, preset): part.attention_configs[preset] for part, preset in new}
    return Imported(saved, tuple(skipped), tuple(notes)), configs


def _check_shape(document: Document) -> None:
    """A single preset where families are expected, or the other way round, gets a plain word."""
    if is_single_preset(document):
        what = "this is a single preset; a file of families is expected"
        mend = "say which family and name it gets"
        raise InvalidPresetError(Problem(what, document.name, 1, mend))
    wrong = misplaced(document)
    if wrong is not None:
        raise InvalidPresetError(wrong)
    for section in document.data.values():
        presets = section.get("attention_configs") if isinstance(section, Mapping) else None
        for preset in presets.values() if isinstance(presets, Mapping) else ():
            if isinstance(preset, Mapping) and any(map(_is_family, preset.values())):
                what = "this holds families; a single preset is expected"
                mend = "import it without a family and a name"
                raise InvalidPresetError(Problem(what, document.name, 1, mend))


def _is_family(value: Any) -> bool:
    return isinstance(value, Mapping) and "attention_configs" in value
