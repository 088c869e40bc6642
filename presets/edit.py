"""A change to the user's files: prepared on their plain data, checked, then written at once.

Working on plain data keeps what the store itself cannot read: a broken preset in a user's file
survives the saving of its neighbour.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .catalog import USER, Catalog
from .errors import Problem, StorageError, TextError
from .files import storage_errors, write_all
from .yaml_text import Document, dump, parse


class Edit:
    """`folder`: the user's; `documents`: all its readable files, as read under the lock."""

    def __init__(self, folder: Path, documents: Iterable[Document]):
        self._folder = folder
        self._files: dict[str, dict[Any, Any]] = {
            document.name: copy.deepcopy(document.data) for document in documents
        }
        self._touched: set[str] = set()

    def find(self, family: str, preset: str) -> tuple[str, Any] | None:
        """(file, raw mapping) of a preset, even a broken one."""
        for file, data in self._files.items():
            section = data.get(family)
            presets = section.get("attention_configs") if isinstance(section, dict) else None
            if isinstance(presets, dict) and preset in presets:
                return file, presets[preset]
        return None

    def file_for(self, catalog: Catalog, family: str, preset: str) -> str:
        """The file that a preset is in, or is to go to: its family's, else `<family>.yaml`."""
        source = catalog.preset_source.get((family, preset))
        if source is not None:
            return source.file
        found = self.find(family, preset)
        if found is not None:
            return found[0]
        owner = catalog.family_source.get(family)
        if owner is not None and owner.origin == USER:
            return owner.file
        wanted = f"{family}.yaml"
        return next((file for file in self._files if file.lower() == wanted.lower()), wanted)

    def put(
        self, file: str, family: str, preset: str, mapping: dict[str, Any],
        header: dict[str, Any] | None = None,
    ) -> None:
        """Set one preset; a family new to the file starts with `header`."""
        if file not in self._files:
            self._refuse_unreadable(file)
        sections = self._files.setdefault(file, {})
        section = sections.setdefault(family, dict(header or {}))
        if isinstance(section, dict) and section.get("attention_configs") is None:
            section["attention_configs"] = {}
        if not isinstance(section, dict) or not isinstance(section["attention_configs"], dict):
            what = f"{family} has no mapping of presets there"
            raise StorageError(Problem(what, file, mend="mend the file by hand first"))
        section["attention_configs"][preset] = mapping
        self._touched.add(file)

    def remove(self, file: str, family: str, preset: str) -> None:
        """Take one preset out, and its family with the last of its presets."""
        section = self._files[file][family]
        del section["attention_configs"][preset]
        if not section["attention_configs"]:
            del self._files[file][family]
        self._touched.add(file)

    def rename(self, file: str, family: str, preset: str, to: str) -> None:
        """Give one preset another name in its place, also where it is named as the default."""
        section = self._files[file][family]
        presets = section["attention_configs"]
        section["attention_configs"] = {
            to if name == preset else name: raw for name, raw in presets.items()
        }
        self._touched.add(file)
        for other, data in self._files.items():
            header = data.get(family)
            if isinstance(header, dict) and header.get("default_attention") == preset:
                header["default_attention"] = to
                self._touched.add(other)

    def commit(self) -> None:
        """Write every changed file, or none; a file without families left goes. `StorageError`."""
        changes: dict[Path, bytes | None] = {}
        for file in sorted(self._touched):
            data = self._files[file]
            changes[self._folder / file] = _checked(file, data) if data else None
        write_all(changes)

    def _refuse_unreadable(self, file: str) -> None:
        with storage_errors("the presets folder cannot be read"):
            present = [path.name for path in self._folder.iterdir()]
        if any(name.lower() == file.lower() for name in present):
            what = "this file cannot be read, so nothing is added to it"
            raise StorageError(Problem(what, file, mend="mend it or move it away first"))


def _checked(file: str, data: dict[Any, Any]) -> bytes:
    """The text of `data`, sure to read back as the same data."""
    try:
        text = dump(data)
        if dump(parse(text, file).data) != text:
            raise StorageError(Problem("it would not read back as it was written", file))
        return text.encode("utf-8")
    except TextError as error:
        reasons = "; ".join(problem.what for problem in error.problems)
        raise StorageError(Problem(f"it could not be read again: {reasons}", file)) from None
