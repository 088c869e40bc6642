"""What can go wrong with presets: a `Problem` for each finding, an error class for each refusal.

A problem in a user's file is listed and harms nothing else; a refused request is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .ground import Issue


@dataclass(frozen=True)
class Problem:
    """One finding.

    what    what is wrong, one sentence or the validator's line
    file    name of the file (never its full path), or what the text was called
    line    1-based, where known
    mend    how to fix it, if `what` does not say so already
    family, preset   what it is about, where known
    issue   the validator's own finding, for one that came from there
    """

    what: str
    file: str = ""
    line: int | None = None
    mend: str = ""
    family: str = ""
    preset: str = ""
    issue: Issue | None = None

    @property
    def where(self) -> str:
        if self.line is None:
            return self.file
        return f"{self.file}, line {self.line}" if self.file else f"line {self.line}"

    def __str__(self) -> str:
        head = f"{self.where}: " if self.where else ""
        return head + self.what + (f". Fix: {self.mend}" if self.mend else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "message": str(self),
            "what": self.what,
            "file": self.file,
            "line": self.line,
            "mend": self.mend,
            "family": self.family,
            "preset": self.preset,
            "issue": self.issue.to_json() if self.issue else None,
        }


class PresetError(Exception):
    """A refused request; `problems` lists everything that stands in its way."""

    def __init__(self, *problems: Problem | str):
        self.problems = tuple(Problem(p) if isinstance(p, str) else p for p in problems)
        lines = [str(problem) for problem in self.problems]
        if len(lines) == 1:
            super().__init__(lines[0])
        else:
            super().__init__("\n".join([f"{len(lines)} problems", *(f"  - {x}" for x in lines)]))


class TextError(PresetError):
    """The text is not YAML, or uses more of YAML than presets need."""


class PresetNameError(PresetError):
    """A family or preset name outside the accepted alphabet."""


class InvalidPresetError(PresetError):
    """Well-formed YAML that breaks rules of a preset or a family."""

    @property
    def issues(self) -> tuple[Issue, ...]:
        return tuple(problem.issue for problem in self.problems if problem.issue)


class NotFoundError(PresetError):
    """No such family or preset."""


class ReadOnlyError(PresetError):
    """A shipped preset cannot be changed, deleted or shadowed."""


class CollisionError(PresetError):
    """The name is taken by something else."""


class ConflictError(PresetError):
    """The preset changed since the caller read it."""


class StorageError(PresetError):
    """The disk, or the state of a user's file, does not allow it."""
