"""One file of presets, named by whoever runs a script: what it says goes before what we ship."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .catalog import Catalog, read_section
from .errors import InvalidPresetError
from .files import SHIPPED_DIR, Reading, folder_at
from .shapes import misplaced
from .yaml_text import parse


def over_shipped(*paths: str | Path | None) -> Catalog:
    """The shipped families, with the presets and the defaults of files over them, each over those
    before; None: no file.

    Unlike in a user's folder, which `PresetStore` reads, a preset of the file takes the place of a
    shipped one by its name, and a broken one hides it. Raises `TextError` or `InvalidPresetError`
    for a file that is none of families, `OSError` for one that cannot be read.
    """
    catalog = Catalog.of(folder_at(SHIPPED_DIR).read(), Reading())
    for path in paths:
        if path is not None:
            _put_over(catalog, Path(path))
    return catalog


def _put_over(catalog: Catalog, path: Path) -> None:
    document = parse(path.read_bytes(), path.name)
    wrong = misplaced(document)
    if wrong is not None:
        raise InvalidPresetError(wrong)
    for name, section in document.data.items():
        base = catalog.families.pop(name, None)
        part, problems = read_section(document, name, section, base)
        catalog.problems += problems
        if part is None:
            continue
        presets = dict(base.attention_configs) if base else {}
        for problem in problems:
            presets.pop(problem.preset, None)
        presets |= part.attention_configs
        catalog.families[name] = replace(part, attention_configs=presets)
