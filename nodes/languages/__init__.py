"""The words for fields in each language: English from the fields themselves, other languages from
the files in this folder."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...psa_kernels.config import GROUPS, Field

LANGUAGES = ("en", "zh")
LEVEL_LABELS = {1: "Full resolution", 2: "Pooled 2x", 4: "Pooled 4x", 8: "Pooled 8x", 0: "Skipped"}


@dataclass(frozen=True)
class Words:
    """The words of one language; missing ones are English."""

    table: Mapping[str, Any]

    def label(self, field: Field) -> str:
        return self._of(field, "label", field.label)

    def help(self, field: Field) -> str:
        return self._of(field, "help", field.help)

    def group(self, name: str) -> str:
        return self.table.get("groups", {}).get(name, GROUPS[name])

    def level(self, level: int) -> str:
        return self.table.get("levels", {}).get(level, LEVEL_LABELS[level])

    def unit(self, unit: str) -> str:
        return self.table.get("units", {}).get(unit, unit)

    def _of(self, field: Field, what: str, english: str) -> str:
        return self.table.get("fields", {}).get(field.path, {}).get(what, english)


@functools.cache
def words(language: str) -> Words:
    """`language`: one of `LANGUAGES`."""
    if language == "en":
        return Words({})
    text = (Path(__file__).parent / f"{language}.yaml").read_text(encoding="utf-8")
    return Words(yaml.safe_load(text))
