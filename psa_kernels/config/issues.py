"""What the validator says: a list of issues, each naming a field and how to fix it.

The same list reaches a Python caller (`ConfigError.issues`), a node's error text (`str(error)`)
and the web editor (`Issue.to_json()`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 100  # issues of one preset; guesses take time, and nobody fixes more at once


def shown(value: Any) -> str:
    """`repr(value)`, kept short. Never an error: an int of 5000 digits has no repr, nor has a list
    nested deeper than the interpreter's stack."""
    try:
        text = repr(value)
    except Exception:
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 200 else text[:197] + "..."


@dataclass(frozen=True)
class Mend:
    """One way to fix an issue: `changes` maps preset paths (`block_size.n`) to values."""

    label: str
    changes: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "changes": dict(self.changes)}


@dataclass(frozen=True)
class Issue:
    """One breach of one rule.

    path      where it is in a preset, e.g. `mask_ratios.4` or `block_size.n`
    argument  the same place as a `PSAConfig` argument, e.g. `mask_ratios.4` or `block_n`
    found     the offending value, as `repr` shows it
    allowed   what would be accepted, in words
    mends     ways to fix it, none or more; the first is the recommended one
    """

    path: str
    argument: str
    found: str
    allowed: str
    mends: tuple[Mend, ...] = field(default=())

    def text(self, name: str | None = None) -> str:
        line = f"{name or self.path}: found {self.found}; {self.allowed}"
        if self.mends:
            line += ". Fix: " + ", or ".join(mend.label for mend in self.mends)
        return line

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "found": self.found,
            "allowed": self.allowed,
            "message": self.text(),
            "mends": [mend.to_json() for mend in self.mends],
        }


def first_of(issues: list[Issue]) -> list[Issue]:
    """The first `MOST`, and one that says that there are more."""
    if len(issues) <= MOST:
        return issues
    more = Issue("preset", "preset", "more problems than these", "fix these first")
    return [*issues[:MOST], more]


class ConfigError(ValueError):
    """A configuration that breaks one or more rules; `issues` lists every one of them.

    `names` says whose names the text uses: "preset" (`block_size.n`) or "python" (`block_n`).
    `where` names the preset or file, if there is one.
    """

    def __init__(self, issues: Iterable[Issue], *, names: str = "preset", where: str = ""):
        self.issues = tuple(issues)
        self.names = names
        self.where = where
        lines = [issue.text(issue.argument if names == "python" else None) for issue in self.issues]
        head = f"{where}: " if where else ""
        if len(lines) == 1:
            super().__init__(head + lines[0])
        else:
            body = "\n".join(f"  - {line}" for line in lines)
            super().__init__(f"{head}{len(lines)} problems\n{body}")

    def __reduce__(self):
        # An exception is pickled (worker processes do it) by calling its class with `args`, which
        # here hold the finished text and not the issues.
        return functools.partial(ConfigError, names=self.names, where=self.where), (self.issues,)
