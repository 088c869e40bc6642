"""What the self-test found, as plain data and as text."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    state   OK; FAILED: something to fix; SKIPPED: could not be tried here, which may be fine
    detail  what was found, naming the missing piece where one is missing
    remedy  how to fix it; empty if there is nothing to do
    lines   more of it, for the verbose report: every case, or a traceback
    """

    name: str
    state: str
    detail: str = ""
    remedy: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """machine: what was found, by name. serving: which implementation calls run on, and why."""

    machine: dict[str, str]
    checks: tuple[Check, ...]
    serving: str

    @property
    def ok(self) -> bool:
        return all(check.state != FAILED for check in self.checks)

    def json(self) -> dict[str, Any]:
        """Plain data; `from_json` makes a report of it again."""
        return {"ok": self.ok, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        checks = tuple(Check(**{**x, "lines": tuple(x["lines"])}) for x in data["checks"])
        return cls(dict(data["machine"]), checks, data["serving"])

    def text(self, verbose: bool = False, columns: int = 100) -> str:
        """The whole report, at most `columns` wide where words allow it."""
        out = ["PSA self-test", ""]
        width = max(map(len, self.machine), default=0)
        for name, value in self.machine.items():
            out += _wrapped(f"  {name:<{width}}  ", value, columns)
        out.append("")
        for check in self.checks:
            mark = check.state.upper() if check.state == FAILED else check.state
            line = f"{check.name}: {check.detail}" if check.detail else check.name
            out += _wrapped(f"  {mark:<8} ", line, columns)
            if check.remedy:
                out += _wrapped("           -> ", check.remedy, columns)
            if verbose:
                out += [f"             {line}" for line in check.lines]
        failed = sum(check.state == FAILED for check in self.checks)
        verdict = "all that can run here works" if self.ok else f"{failed} to fix, see FAILED"
        out += ["", *_wrapped("Result: ", verdict, columns)]
        out += _wrapped("Calls:  ", self.serving, columns)
        return "\n".join(out)


def _wrapped(lead: str, text: str, columns: int) -> list[str]:
    # commands and paths stay whole, to be copied
    return textwrap.wrap(
        text, columns, initial_indent=lead, subsequent_indent=" " * len(lead),
        break_long_words=False, break_on_hyphens=False,
    ) or [lead.rstrip()]  # fmt: skip
