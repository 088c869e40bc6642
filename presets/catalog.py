"""What the shipped and the user's files say together: families, where each preset is from, and
everything that is wrong. Shipped presets are read first and nothing replaces them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidPresetError, NotFoundError, Problem
from .family import HEADER, Family, read_family
from .files import Reading
from .ground import PSAConfig
from .names import DEFAULT, nearest, same_but_for_case
from .shapes import has_family, misplaced, nearly, wrong_section
from .yaml_text import Document

SHIPPED, USER = "shipped", "user"


@dataclass(frozen=True)
class Source:
    origin: str  # SHIPPED or USER
    file: str


@dataclass
class Catalog:
    """families   name -> the family with all its valid presets
    family_source, preset_source   where each was read first
    problems      of every file, in reading order
    """

    families: dict[str, Family] = field(default_factory=dict)
    family_source: dict[str, Source] = field(default_factory=dict)
    preset_source: dict[tuple[str, str], Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, shipped: Reading, user: Reading) -> Catalog:
        catalog = cls(problems=[*shipped.problems, *user.problems])
        catalog.add(SHIPPED, shipped.documents)
        catalog.add(USER, user.documents)
        return catalog

    def add(self, origin: str, documents: Iterable[Document]) -> None:
        for document in documents:
            wrong = None if has_family(document) else misplaced(document)
            if wrong is not None:
                self.problems.append(wrong)
                continue
            for name, section in document.data.items():
                self._add_family(Source(origin, document.name), document, name, section)

    def family(self, name: str) -> Family:
        """Raises `NotFoundError`, or `InvalidPresetError` where the family is there but broken."""
        found = self.families.get(name) if isinstance(name, str) else None
        if found is not None:
            return found
        self._raise_broken([p for p in self.problems if p.family == name and not p.preset])
        what = f"there is no family {name!r}"
        unread = [p for p in self.problems if not p.family]
        mend = _offer(name, self.families)
        raise NotFoundError(Problem(what, mend=mend, family=str(name)), *unread)

    def preset(self, family: str, name: str | None) -> tuple[str, PSAConfig]:
        """(name, configuration); None and "default" mean the default. Raises as `family` does."""
        known = self.family(family)
        if name is None or (isinstance(name, str) and name.lower() == DEFAULT):
            name = known.default_attention
        config = known.attention_configs.get(name) if isinstance(name, str) else None
        if config is not None:
            return name, config
        self._raise_broken([p for p in self.problems if (p.family, p.preset) == (family, name)])
        what = f"the family {family} has no preset {name!r}"
        mend = _offer(name, known.attention_configs)
        raise NotFoundError(Problem(what, mend=mend, family=family, preset=str(name)))

    @staticmethod
    def _raise_broken(problems: list[Problem]) -> None:
        if problems:
            raise InvalidPresetError(*problems)

    def is_shipped(self, family: str, preset: str) -> bool:
        source = self.preset_source.get((family, preset))
        return source is not None and source.origin == SHIPPED

    def _add_family(self, source: Source, document: Document, name: Any, section: Any) -> None:
        wrong = wrong_section(document, name, section, self.families)
        wrong = wrong or nearly(document, name, section, self.families)
        if wrong is not None:
            self.problems.append(wrong)
            return
        base = self.families.get(name)
        part, problems = read_section(document, name, section, base)
        self.problems += problems
        if part is None:
            return
        if base is None:
            self.families[name] = part
            self.family_source[name] = source
            self.preset_source |= {(name, preset): source for preset in part.attention_configs}
        else:
            self.problems += header_problems(document, base, part)
            self._add_presets(source, document, base, part)

    def _add_presets(self, source: Source, document: Document, base: Family, part: Family) -> None:
        known = dict(base.attention_configs)
        for preset, config in part.attention_configs.items():
            taken = self.taken_by(base.name, preset)
            if taken is None:
                known[preset] = config
                self.preset_source[base.name, preset] = source
            elif not (taken == preset and same_effect(known[taken], config)):
                self.problems.append(self.collision(document, base.name, preset, taken))
        self.families[base.name] = dataclasses.replace(base, attention_configs=known)

    def taken_by(self, family: str, preset: str) -> str | None:
        """The family's preset that has this name, or one equal but for case."""
        names = [name for owner, name in self.preset_source if owner == family]
        return preset if preset in names else same_but_for_case(preset, names)

    def collision(self, document: Document, family: str, preset: str, taken: str) -> Problem:
        """What to say about a preset whose name `taken_by` found taken."""
        source = self.preset_source[family, taken]
        what = f"the name {preset} is taken by the {source.origin} preset {taken} of {family}"
        if source.origin == USER:
            what += f" in {source.file}"
        line = document.line_of(f"{family}.attention_configs.{preset}")
        return Problem(f"{what}, which stays", document.name, line, "rename it", family, preset)


def _offer(name: Any, known: Iterable[str]) -> str:
    near = nearest(str(name), known)
    return f"use {near}" if near else "use one of " + ", ".join(known)


def read_section(
    document: Document, name: Any, section: Any, base: Family | None
) -> tuple[Family | None, list[Problem]]:
    """`read_family`, its issues with the document's name and lines."""
    family, issues = read_family(name, section, base, document.checked)
    raw = section.get("attention_configs") if isinstance(section, Mapping) else None
    presets = [str(key) for key in raw] if isinstance(raw, Mapping) else []
    problems = []
    for issue in issues:
        inside = issue.path.removeprefix(f"{name}.attention_configs.")
        about = [p for p in presets if inside == p or inside.startswith(f"{p}.")]
        preset = max(about, key=len, default="") if inside != issue.path else ""
        line = document.line_of(issue.path)
        problems.append(Problem(issue.text(), document.name, line, "", str(name), preset, issue))
    return family, problems


def header_problems(document: Document, base: Family, part: Family) -> list[Problem]:
    """What a further file says otherwise about a known family; it does not count."""
    problems = []
    for key in HEADER:
        known = getattr(base, key)
        if getattr(part, key) != known:
            what = f"{key} of the family {base.name} stays {known}"
            line = document.line_of(f"{base.name}.{key}")
            problems.append(Problem(what, document.name, line, "remove the line", base.name))
    return problems


def same_effect(one: PSAConfig, other: PSAConfig) -> bool:
    """Equal in all that changes a result: description and verbosity do not count."""
    alike = {"description": "", "verbose": False}
    return one.replace(**alike) == other.replace(**alike)
