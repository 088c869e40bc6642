"""`PresetStore`: the one place that nodes, routes and Python callers get presets from."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from .catalog import USER, Catalog
from .edit import Edit
from .errors import (
    CollisionError,
    ConflictError,
    PresetError,
    PresetNameError,
    Problem,
    ReadOnlyError,
    StorageError,
)
from .family import Family
from .files import Reading, folder_at, one_writer
from .ground import PSAConfig
from .importing import Imported, import_document
from .listing import ABSENT, Listing, PresetInfo, listing, preset_info, version_of
from .names import name_breach
from .shapes import named_preset
from .yaml_text import Document, dump, parse

log = logging.getLogger("PSA")


class PresetStore:
    """Shipped presets (read-only) and the user's, as one.

    The user's folder holds any number of *.yaml files with one or many families each; it need not
    exist before the first save. Every refusal is a `PresetError`; what is wrong inside files is
    listed by `list` and keeps nothing else from working.
    """

    def __init__(self, shipped_dir: str | Path, user_dir: str | Path):
        self._shipped = folder_at(Path(shipped_dir).absolute())
        self._user = folder_at(Path(user_dir).absolute())
        # made anew when a file changed
        self._known: tuple[Reading, Reading, Catalog] | None = None
        self._listed: tuple[Catalog, Listing] | None = None

    def list(self) -> Listing:
        """Everything there is, and everything that is wrong in any file."""
        catalog = self._catalog()
        listed = self._listed
        if listed is None or listed[0] is not catalog:
            self._listed = listed = catalog, listing(catalog)
        return listed[1]

    def get_family(self, family: str) -> Family:
        """The family with the shipped and the user's presets. Raises `NotFoundError`."""
        return self._catalog().family(family)

    def get(self, family: str, preset: str | None = None) -> PSAConfig:
        """One preset; None and "default" give the family's default.

        Raises `NotFoundError`, or `InvalidPresetError` for one that is there but broken.
        """
        return self._catalog().preset(family, preset)[1]

    def find(self, family: str, preset: str | None = None) -> tuple[PresetInfo, PSAConfig]:
        """One preset with what the list says of it. Raises as `get` does."""
        catalog = self._catalog()
        name, config = catalog.preset(family, preset)
        return preset_info(catalog, catalog.families[family], name), config

    def version(self, family: str, preset: str) -> str:
        """The token for `save(expected=...)`; `ABSENT` for a preset that does not exist."""
        _check_names(family, preset)
        catalog, documents = self._read()
        return _version(catalog, Edit(self._user, documents), family, preset)

    def stamp(self) -> str:
        """A token that changes with the files, whoever changes them; looks at them, reads none."""
        found = (self._shipped.signature(), self._user.signature())
        return hashlib.sha256(repr(found).encode()).hexdigest()[:16]

    def save(
        self, family: str, preset: str, config: PSAConfig, *, expected: str | None = None
    ) -> str:
        """Create or overwrite a user's preset of a known family; returns its new version.

        expected   the version that the caller last saw: `ConflictError` if it is no longer the one
        Raises also `PresetNameError`, `NotFoundError`, `ReadOnlyError`, `CollisionError` and
        `StorageError`.
        """
        with self._editing(family, preset, expected) as (catalog, edit):
            self._put(catalog, edit, family, preset, config)
            self._commit(edit)
        return version_of(config.to_preset())

    def check_saving(self, family: str, preset: str) -> None:
        """Raises what `save` would raise for these names now; writes nothing."""
        with self._editing(family, preset, None) as (catalog, edit):
            self._put(catalog, edit, family, preset, PSAConfig())

    def lost_comments(self, family: str, preset: str) -> tuple[Problem, ...]:
        """What saving this preset as it is, or a new one by this name, would do to comments that
        someone wrote into its file."""
        with contextlib.suppress(PresetError):
            catalog, documents = self._read()
            if any(document.comments for document in documents):
                edit = Edit(self._user, documents)
                known = catalog.families.get(family)
                config = known.attention_configs.get(preset) if known else None
                self._put(catalog, edit, family, preset, config or PSAConfig())
                return tuple(edit.lost_comments())
        return ()

    def rename(self, family: str, preset: str, to: str, *, expected: str | None = None) -> None:
        """Give a user's preset another name in its family. Raises as `save` does."""
        with self._editing(family, preset, expected) as (catalog, edit):
            _check_names(family, to)
            self._find(catalog, edit, family, preset)
            taken = catalog.taken_by(family, to)
            if taken not in (None, preset) or edit.find(family, to) is not None:
                what = f"the name {to} is taken in {family}"
                raise CollisionError(
                    Problem(what, mend="choose another name", family=family, preset=to)
                )
            config = catalog.families[family].attention_configs.get(preset)
            edit.rename(edit.file_for(catalog, family, preset), family, preset, to)
            self._check(catalog, edit, {(family, preset): None, (family, to): config})
            self._commit(edit)

    def delete(self, family: str, preset: str, *, expected: str | None = None) -> str | None:
        """Remove a user's preset, even a broken one. Raises as `save` does.

        Returns the text that `import_text` brings it back from; None for a broken one.
        """
        with self._editing(family, preset, expected) as (catalog, edit):
            self._find(catalog, edit, family, preset)
            known = catalog.families[family]
            if preset == known.default_attention and len(known.attention_configs) > 1:
                what = f"{preset} is the default of {family}"
                mend = "delete the family's other presets first, or change default_attention"
                file = catalog.family_source[family].file
                raise CollisionError(Problem(what, file, None, mend, family, preset))
            edit.remove(edit.file_for(catalog, family, preset), family, preset)
            self._check(catalog, edit, {(family, preset): None})
            self._commit(edit)
        config = known.attention_configs.get(preset)
        if config is None:
            return None
        section: dict = {}
        if catalog.family_source[family].origin == USER:
            section = known.to_mapping()
            if len(known.attention_configs) == 1:
                section["default_attention"] = preset
        return dump({family: {**section, "attention_configs": {preset: config.to_preset()}}})

    def export(self, family: str, preset: str | None = None) -> str:
        """YAML text: a whole family's section, or the bare mapping of one preset."""
        catalog = self._catalog()
        if preset is None:
            return dump({family: catalog.family(family).to_mapping()})
        return dump(catalog.preset(family, preset)[1].to_preset())

    def import_text(
        self,
        text: str | bytes,
        family: str | None = None,
        preset: str | None = None,
        *,
        replace: bool = False,
    ) -> Imported:
        """Take over all that `text` holds, or nothing.

        With `family` and `preset` the text is one preset's mapping; without, it holds families.
        Presets that are there already with the same effect are skipped. `replace` lets others
        overwrite a user's preset of the same name; a shipped one stays in any case.
        Raises `TextError`, `InvalidPresetError`, `CollisionError`, `NotFoundError`,
        `PresetNameError`, `StorageError`.
        """
        document = parse(text, "the imported text")
        if family is not None or preset is not None:
            _check_names(family, preset)
        self._read()  # parses what changed before others have to wait for it
        with one_writer(self._user.path):
            catalog, documents = self._read()
            if preset is not None:
                catalog.family(family)
                document = _as_family(named_preset(document) or document, family, preset)
            edit = Edit(self._user, documents)
            imported, configs = import_document(catalog, edit, document, replace)
            self._check(catalog, edit, configs)
            notes = self._commit(edit)
        return dataclasses.replace(imported, notes=(*imported.notes, *notes))

    def _read(self) -> tuple[Catalog, tuple[Document, ...]]:
        """(all that the files say, the user's readable files)"""
        shipped, user = self._shipped.read(), self._user.read()
        known = self._known
        if known is None or known[0] is not shipped or known[1] is not user:
            self._known = known = (shipped, user, Catalog.of(shipped, user))
        return known[2], user.documents

    def _catalog(self) -> Catalog:
        return self._read()[0]

    def _put(
        self, catalog: Catalog, edit: Edit, family: str, preset: str, config: PSAConfig
    ) -> None:
        _check_case(catalog, family, preset)
        file = edit.file_for(catalog, family, preset)
        edit.put(file, family, preset, config.to_preset())
        self._check(catalog, edit, {(family, preset): config})

    def _check(
        self, before: Catalog, edit: Edit, wanted: Mapping[tuple[str, str], PSAConfig | None]
    ) -> None:
        """Refuses an edit after which the `wanted` presets, or others of the user's that are there
        now, would not be there. Raises `StorageError`."""
        after = Catalog.of(self._shipped.read(), Reading(tuple(edit.documents())))
        kept = {
            key: before.families[key[0]].attention_configs[key[1]]
            for key, source in before.preset_source.items() if source.origin == USER
        }  # fmt: skip
        for (family, preset), config in (kept | wanted).items():
            known = after.families.get(family)
            found = known.attention_configs.get(preset) if known else None
            if config is None or found == config:
                continue
            what = f"{preset} of {family} could not be read back, so nothing is saved"
            mend = "correct the file by hand first"
            causes = [
                problem for problem in after.problems
                if problem.family == family and problem.preset in ("", preset)
                and (known is None or problem.issue)
            ]  # fmt: skip
            file = edit.file_for(before, family, preset)
            raise StorageError(Problem(what, file, None, mend, family, preset), *causes)

    @staticmethod
    def _commit(edit: Edit) -> list[Problem]:
        notes = edit.lost_comments()
        for note in notes:
            log.warning("PSA presets: %s", note)
        edit.commit()
        return notes

    @staticmethod
    def _find(catalog: Catalog, edit: Edit, family: str, preset: str) -> None:
        if edit.find(family, preset) is None:
            catalog.preset(family, preset)  # says what is wrong

    @contextlib.contextmanager
    def _editing(
        self, family: str, preset: str, expected: str | None
    ) -> Iterator[tuple[Catalog, Edit]]:
        """Inside: the lock is held, names and version are right, and the preset is not shipped."""
        _check_names(family, preset)
        self._read()  # parses what changed before others have to wait for it
        with one_writer(self._user.path):
            catalog, documents = self._read()
            catalog.family(family)
            if catalog.is_shipped(family, preset):
                what = f"{preset} of {family} is a shipped preset and cannot be changed"
                raise ReadOnlyError(
                    Problem(what, mend="use another name", family=family, preset=preset)
                )
            edit = Edit(self._user, documents)
            if expected not in (None, _version(catalog, edit, family, preset)):
                what = f"{preset} of {family} was changed by someone else in the meantime"
                mend = "load it again, or save yours under another name"
                raise ConflictError(Problem(what, mend=mend, family=family, preset=preset))
            yield catalog, edit


def _check_case(catalog: Catalog, family: str, preset: str) -> None:
    taken = catalog.taken_by(family, preset)
    if taken not in (None, preset):
        what = f"the name {preset} differs from the preset {taken} by case only"
        raise CollisionError(
            Problem(what, mend="choose another name", family=family, preset=preset)
        )


def _check_names(family: str | None, preset: str | None) -> None:
    problems = []
    for kind, name in (("family", family), ("preset", preset)):
        breach = name_breach(name, of_preset=kind == "preset")
        if breach:
            problems.append(Problem(f"{kind} name {str(name)[:70]!r}: {breach}"))
    if problems:
        raise PresetNameError(*problems)


def _as_family(document: Document, family: str, preset: str) -> Document:
    """A single preset's document as if it stood in its family's file."""
    path = f"{family}.attention_configs.{preset}"
    lines = {f"{path}.{key}": line for key, line in document.lines.items()}
    return Document(
        document.name, {family: {"attention_configs": {preset: document.data}}}, lines | {path: 1}
    )


def _version(catalog: Catalog, edit: Edit, family: str, preset: str) -> str:
    config = None
    if family in catalog.families:
        config = catalog.families[family].attention_configs.get(preset)
    if config is not None:
        return version_of(config.to_preset())
    found = edit.find(family, preset)
    return version_of(found[1]) if found else ABSENT
