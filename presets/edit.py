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
from .comments import rewritten
from .errors import Problem, StorageError, TextError
from .files import Folder, free_copy, storage_errors, write_all
from .yaml_text import Document, dump, parse


class Edit:
    """`folder`: the user's; `documents`: all its readable files, as read under the lock."""

    def __init__(self, folder: Folder, documents: Iterable[Document]):
        self._folder = folder
        self._documents = {document.name: document for document in documents}
        self._files = {name: document.data for name, document in self._documents.items()}
        self._touched: set[str] = set()
        # file -> what it will hold, as text and as read back; None where it goes
        self._prepared: dict[str, tuple[bytes, Document] | None] = {}
        # files that lose comments -> where they are kept as they were
        self._copies: dict[str, Path] = {}

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
        self,
        file: str,
        family: str,
        preset: str,
        mapping: dict[str, Any],
        header: dict[str, Any] | None = None,
    ) -> None:
        """Set one preset; a family new to the file starts with `header`."""
        if file not in self._files:
            self._refuse_unreadable(file)
        section = self._own(file).setdefault(family, dict(header or {}))
        if isinstance(section, dict) and section.get("attention_configs") is None:
            section["attention_configs"] = {}
        if not isinstance(section, dict) or not isinstance(section["attention_configs"], dict):
            what = f"{family} has no mapping of presets there"
            raise StorageError(Problem(what, file, mend="correct the file by hand first"))
        section["attention_configs"][preset] = mapping

    def remove(self, file: str, family: str, preset: str) -> None:
        """Take one preset out, and its family with the last of its presets."""
        data = self._own(file)
        del data[family]["attention_configs"][preset]
        if not data[family]["attention_configs"]:
            del data[family]

    def rename(self, file: str, family: str, preset: str, to: str) -> None:
        """Give one preset another name in its place, also where it is named as the default."""
        section = self._own(file)[family]
        section["attention_configs"] = {
            to if name == preset else name: raw
            for name, raw in section["attention_configs"].items()
        }
        for other, data in list(self._files.items()):
            header = data.get(family)
            if isinstance(header, dict) and header.get("default_attention") == preset:
                self._own(other)[family]["default_attention"] = to

    def documents(self) -> list[Document]:
        """All files as they will read, in the order of their names. Raises `StorageError`."""
        for file in sorted(self._touched - self._prepared.keys()):
            before = self._documents.get(file)
            comments = before.comments if before else 0
            prepared = self._changed_in_place(file) if comments else None
            if prepared is None and self._files[file]:
                prepared = self._anew(file)
            if comments > (prepared[1].comments if prepared else 0):
                with storage_errors("the file could not be copied"):
                    self._copies[file] = free_copy(self._folder.path / file)
            self._prepared[file] = prepared
        found = self._documents | {
            file: prepared[1] if prepared else None for file, prepared in self._prepared.items()
        }
        return [found[file] for file in sorted(found) if found[file] is not None]

    def lost_comments(self) -> list[Problem]:
        """Notes about comments that are lost, and about the copies that keep them."""
        self.documents()
        notes = []
        for file, kept in self._copies.items():
            prepared = self._prepared[file]
            which = "some of its" if prepared and prepared[1].comments else "its"
            what = f"{which} comments are lost; the file as it was is kept as {kept.name}"
            notes.append(Problem(what, file))
        return notes

    def commit(self) -> None:
        """Write every changed file, or none; a file without families left goes. `StorageError`."""
        self.documents()
        changes: dict[Path, bytes | None] = {}
        for file in sorted(self._touched):
            prepared, path = self._prepared[file], self._folder.path / file
            if file in self._copies:
                with storage_errors("the file could not be copied"):
                    changes[self._copies[file]] = path.read_bytes()
            changes[path] = prepared[0] if prepared else None
        write_all(changes)
        for content, document in filter(None, self._prepared.values()):
            self._folder.wrote(document, content)

    def _own(self, file: str) -> dict[Any, Any]:
        """The file's data, to be changed."""
        if file not in self._touched:
            self._files[file] = copy.deepcopy(self._files.get(file, {}))
            self._touched.add(file)
        return self._files[file]

    def _changed_in_place(self, file: str) -> tuple[bytes, Document] | None:
        before = self._documents[file]
        content = self._folder.content(before)
        return None if content is None else rewritten(content, before, self._files[file])

    def _anew(self, file: str) -> tuple[bytes, Document]:
        """The text of the file's data, sure to read back as the same data."""
        data = self._files[file]
        try:
            text = dump(data)
            document = parse(text, file)
            if dump(document.data) != text:
                raise StorageError(Problem("it would not read back as it was written", file))
            return text.encode("utf-8"), document
        except TextError as error:
            reasons = "; ".join(problem.what for problem in error.problems)
            raise StorageError(Problem(f"it could not be read again: {reasons}", file)) from None

    def _refuse_unreadable(self, file: str) -> None:
        with storage_errors("the presets folder cannot be read"):
            present = [path.name for path in self._folder.path.iterdir()]
        if any(name.lower() == file.lower() for name in present):
            what = "this file cannot be read, so nothing is added to it"
            raise StorageError(Problem(what, file, mend="correct it or move it away first"))
