"""What a calibration has measured so far, on disk: with the same inputs, it continues from there.

One file for each set of inputs, one JSON line for each measurement. A line that was cut off is
ignored and measured again. Lines are only added to a file, or the whole file is replaced.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger("PSA")

# Changes with what the lines hold and how it is measured; another version measures all again.
# 2: the grouping of each line, and the base in token order besides a ladder with like keys together
# 3: how many sparse steps each measured step stands for, with ranges of steps
VERSION = 3


class Journal:
    """`about`: all that the figures depend on, in plain types. Each `about` has its own file."""

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        self.path, self._about = _file(folder, VERSION, about)
        folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            _log_earlier(folder, about)
        self.lines, whole = _read(self.path, self._about)
        if not whole:
            self._replace()

    def clear(self) -> None:
        """Starts over."""
        self.lines = []
        self._replace()

    def add(self, kind: str, **values: Any) -> None:
        text = json.dumps({"kind": kind, **values})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        self.lines.append(json.loads(text))

    def _replace(self) -> None:
        text = "".join(f"{line}\n" for line in (self._about, *map(json.dumps, self.lines)))
        made = self.path.with_suffix(".new")
        made.write_text(text, encoding="utf-8")
        os.replace(made, self.path)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]


def _file(folder: Path, version: int, about: Mapping[str, Any]) -> tuple[Path, str]:
    """(where a version keeps its journal, the first line there)"""
    text = json.dumps({"version": version, **about}, sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.jsonl", text


def _log_earlier(folder: Path, about: Mapping[str, Any]) -> None:
    """Logs that measurements of an earlier version cannot be used."""
    for version in range(VERSION - 1, 0, -1):
        path, text = _file(folder, version, about)
        if _read(path, text)[0]:
            log.info(
                "PSA Calibrate: an earlier version of this pack measured %s in another way, so "
                "everything is measured again. You may delete that file", path,
            )  # fmt: skip
            return


def _read(path: Path, about: str) -> tuple[list[dict[str, Any]], bool]:
    """(the lines of a file that begins with `about`, whether they are all that is in it)"""
    try:
        first, *rest = path.read_text(encoding="utf-8").split("\n")
    except (FileNotFoundError, UnicodeDecodeError):
        return [], False
    if first != about or not rest:
        return [], False
    *rest, end = rest  # `end` is empty if the last line is whole
    lines = []
    for text in rest:
        try:
            line = json.loads(text)
        except ValueError:
            return lines, False
        if not isinstance(line, dict) or "kind" not in line:
            return lines, False
        lines.append(line)
    return lines, not end
