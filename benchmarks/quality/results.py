"""Results on disk: one JSON line at a time, so that a run that is cut off keeps what it has.

A folder's `results.jsonl` begins with what was run (`kind` "run"); a second run into the same
folder goes on where the first one stopped, if it is the same run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

FILE = "results.jsonl"
# what two results must share to stand in one table
SAME = ("subject", "sampling", "gpu", "versions")


class Mismatch(Exception):  # noqa: N818 - the user's folders do not go together
    """Results of different runs, which no table may mix."""


class Results:
    """Lines of one folder.

    run  what was measured on what; the entries named in `SAME` must be those of the lines there
    """

    def __init__(self, folder: Path, run: dict):
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self.lines = read(self.path) if self.path.exists() else []
        # without a line that was cut off: the next one would go on where it ends
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        self.path.write_text(text, encoding="utf-8")
        earlier = [line for line in self.lines if line["kind"] == "run"]
        if earlier:
            check_same(earlier[0], run, self.path)
        self.add("run", **run)

    def add(self, kind: str, **values) -> dict:
        line = json.loads(json.dumps({"kind": kind, **values}))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)
        return line

    def has(self, kind: str, **values) -> bool:
        """Whether there is a line with these values."""
        return any(
            line["kind"] == kind and all(line.get(k) == v for k, v in values.items())
            for line in self.lines
        )


def read(path: Path) -> list[dict]:
    """The lines of a file; one cut off in the middle, which can only be the last, is left out."""
    lines = []
    texts = path.read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(texts, 1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            if number < len(texts):
                raise Mismatch(f"{path}, line {number}: not JSON ({error})") from error
    return lines


def merge(folders: Iterable[Path]) -> list[dict]:
    """The lines of several folders as one run's. Raises `Mismatch`."""
    lines: list[dict] = []
    first = None
    for folder in folders:
        path = folder / FILE if folder.is_dir() else folder
        found = read(path)
        run = next((line for line in found if line["kind"] == "run"), None)
        if run is None:
            raise Mismatch(f"{path}: it does not say what was run")
        if first is not None:
            check_same(first, run, path)
        first = first or run
        lines += found
    return lines


def check_same(one: dict, other: dict, where: Path) -> None:
    for name in SAME:
        if one.get(name) != other.get(name):
            raise Mismatch(
                f"{where}: {name} differs from the other results: {other.get(name)!r} and "
                f"{one.get(name)!r}; keep them in folders of their own"
            )
