"""Refusals as JSON, {"error": {"kind", "message", "issues"}}, and the HTTP status with it."""

from __future__ import annotations

from typing import Any

from ...presets import errors as preset_errors
from ...presets.errors import PresetError, Problem
from ...psa_kernels.config import ConfigError, Issue, field_of


class Refusal(Exception):  # noqa: N818  (it is the server that refuses; nothing has failed)
    """A request that is not served; `more` goes beside kind and message."""

    def __init__(self, status: int, kind: str, message: str, **more: Any):
        super().__init__(message)
        self.status, self.kind, self.more = status, kind, more


_KINDS = {
    preset_errors.TextError: (422, "invalid_yaml"),
    preset_errors.PresetNameError: (400, "bad_name"),
    preset_errors.InvalidPresetError: (422, "invalid_preset"),
    preset_errors.NotFoundError: (404, "not_found"),
    preset_errors.ReadOnlyError: (403, "read_only"),
    preset_errors.CollisionError: (409, "name_taken"),
    preset_errors.ConflictError: (409, "conflict"),
    preset_errors.StorageError: (503, "storage"),
}


def answer_for(error: Exception) -> tuple[int, dict[str, Any]]:
    """(status, JSON) that answers with this error."""
    if isinstance(error, Refusal):
        return error.status, _content(error.kind, str(error), [], **error.more)
    if isinstance(error, ConfigError):
        issues = [issue_json(issue) for issue in error.issues]
        return 422, _content("invalid_preset", str(error), issues)
    for kind, (status, name) in _KINDS.items():
        if isinstance(error, kind):
            issues = [problem_issue(problem) for problem in error.problems]
            return status, _content(name, str(error), issues)
    return 500, _content("internal", "something went wrong here; ComfyUI's log says what", [])


def _content(kind: str, message: str, issues: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "issues": issues, **more}}


def issue_json(issue: Issue, line: int | None = None) -> dict[str, Any]:
    """One finding of the validator; `line` in the text that it came from."""
    found = field_of(issue.path)
    return {**issue.to_json(), "field": found.path if found else None, "line": line}


def problem_issue(problem: Problem) -> dict[str, Any]:
    """A finding of the preset store in the same form."""
    if problem.issue is not None:
        inside = problem.issue.path.removeprefix(
            f"{problem.family}.attention_configs.{problem.preset}."
        )
        found = field_of(inside)
        return issue_json(problem.issue, problem.line) | {
            "message": str(problem), "field": found.path if found else None,
        }  # fmt: skip
    return {
        "path": "", "field": None, "message": str(problem), "found": "", "allowed": problem.mend,
        "mends": [], "line": problem.line,
    }  # fmt: skip


def text_issues(error: PresetError) -> list[dict[str, Any]]:
    return [problem_issue(problem) for problem in error.problems]
