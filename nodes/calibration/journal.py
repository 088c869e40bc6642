"""What a calibration has measured so far, on disk: an interrupted one goes on with the same inputs.

One file for each set of inputs, one JSON line for each thing measured. A line that was cut off is
left out and measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """`about`: everything that the figures depend on, plain types; another one is another file."""

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        text = json.dumps(about, sort_keys=True)
        self.path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.lines = _read(self.path, text)
        whole = [text, *(json.dumps(line) for line in self.lines)]
        self.path.write_text("\n".join(whole) + "\n", encoding="utf-8")

    def add(self, kind: str, **values: Any) -> None:
        text = json.dumps({"kind": kind, **values})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        self.lines.append(json.loads(text))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]


def _read(path: Path, about: str) -> list[dict[str, Any]]:
    """The lines of a file that begins with `about`; none of any other file."""
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # not there, empty, or no text
        return []
    if first != about:
        return []
    lines = []
    for text in rest:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict) or "kind" not in line:
            break
        lines.append(line)
    return lines
