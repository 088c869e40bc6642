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
    text = _Text(catalog, document, replace)
    if text.breaches:
        raise InvalidPresetError(*text.breaches, *text.collisions)
    if text.collisions:
        raise CollisionError(*text.collisions)
    for part, preset in text.new:
        section = part.to_mapping()
        presets = section.pop("attention_configs")
        header = None if part.name in catalog.families else section
        file = edit.file_for(catalog, part.name, preset)
        edit.put(file, part.name, preset, presets[preset], header)
    saved = tuple((part.name, preset) for part, preset in text.new)
    configs = {(part.name, preset): part.attention_configs[preset] for part, preset in text.new}
    return Imported(saved, tuple(text.skipped), tuple(text.notes)), configs


class _Text:
    """What a text holds, sorted by what is to be done with it."""

    def __init__(self, catalog: Catalog, document: Document, replace: bool):
        self.breaches: list[Problem] = []
        self.collisions: list[Problem] = []
        self.notes: list[Problem] = []
        self.new: list[tuple[Family, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self._catalog, self._document, self._replace = catalog, document, replace
        families = list(catalog.families)
        for name, section in document.data.items():
            if self._add_family(name, section, families):
                families.append(name)

    def _add_family(self, name: Any, section: Any, families: list[str]) -> bool:
        """Whether the section is a family's and can be read."""
        document = self._document
        if wrong := wrong_section(document, name, section, families):
            self.breaches.append(wrong)
            return False
        if wrong := nearly(document, name, section, families):
            same = same_but_for_case(name, families)
            (self.collisions if same else self.breaches).append(wrong)
            return False
        base = self._catalog.families.get(name)
        part, problems = read_section(document, name, section, base)
        self.breaches += problems
        if part is None:
            return False
        if base is not None:
            self.notes += header_problems(document, base, part)
        for preset, config in part.attention_configs.items():
            self._add_preset(part, base, preset, config)
        return True

    def _add_preset(
        self, part: Family, base: Family | None, preset: str, config: PSAConfig
    ) -> None:
        catalog = self._catalog
        taken = catalog.taken_by(part.name, preset)
        mine = taken == preset and not catalog.is_shipped(part.name, preset)
        if taken == preset and same_effect(base.attention_configs[taken], config):
            self.skipped.append((part.name, preset))
        elif taken is None or (self._replace and mine):
            self.new.append((part, preset))
        else:
            problem = catalog.collision(self._document, part.name, preset, taken)
            self.collisions.append(problem)


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
