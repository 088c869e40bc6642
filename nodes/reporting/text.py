"""A report as plain text."""

from __future__ import annotations

from typing import Any

from ...psa_engines.core.summary import repeated_text
from . import words
from .report import Report


def text_of(reports: list[Report]) -> str:
    """The text for one model, or for several with a heading each."""
    parts = []
    for number, report in enumerate(reports, 1):
        head = f"PSA report, model {number}" if len(reports) > 1 else "PSA report"
        body = [report.note] if report.note else []
        for i, run in enumerate(report.runs, 1):
            name = f"Run {i} of {len(report.runs)}" if len(report.runs) > 1 else None
            body.append("\n".join(filter(None, [name, *_run(run.figures)])))
        parts.append("\n\n".join([head, *body]))
    return "\n\n\n".join(parts) + "\n"


def _run(run: dict[str, Any]) -> list[str]:
    if run["note"]:
        return [run["note"]]
    lines = [f"{run['preset']}: {run['plan_text']}", words.verdict(run)]
    if run.get("bypassed"):
        lines.append(f"Bypassed by: {run['bypassed']}")
    if run["repeated"]:
        lines.append(repeated_text(run["repeated"]))
    if run["ended"]:
        lines.append(f"The run ended early: {run['ended']}")
    if run["implementation"]:
        why = f" ({run['implementation_reason']})" if run["implementation_reason"] else ""
        lines.append(f"Served by: {run['implementation']}{why}")
    lines.append(words.dense_kernel(run))
    lines += words.timing(run)
    lines.append(words.budget(run))
    lines += [f"{words.range_name(x)}: {words.range_line(x)}" for x in run["ranges"]]
    lines.append(_parts(run))
    lines.append(f"Calls left dense: {words.reasons(run) or 'none'}")
    return [line for line in lines if line] + ["", *_steps(run)]


def _parts(run: dict[str, Any]) -> str | None:
    if not run["parts"]:
        return None
    names = {"psa": "PSA", "dense": "dense self-attention", "other": "other attention",
             "compile": "compiling", "rest": "everything else"}  # fmt: skip
    parts = [f"{names[key]} {words.seconds(s)}" for key, s in run["parts"].items() if s]
    return f"Time by {run['times']['timer']}: " + ", ".join(parts)


def _steps(run: dict[str, Any]) -> list[str]:
    lines = [f"{'step':>5} {'sigma':>8} {'time':>9} {'sparse':>7} {'density':>8}  dense"]
    density = run["block_steps"]["density"]
    for step in run["steps"]:
        column = [row[step["step"]] for row in density]
        known = [x for x in column if x == x]
        dense = ", ".join(f"{n} {reason}" for reason, n in step["dense"].items())
        share = words.percent(sum(known) / len(known)) if known else "-"
        lines.append(
            f"{step['step'] + 1:>5} {step['sigma']:>8.4f} {words.seconds(step['seconds']):>9} "
            f"{step['sparse']:>7} {share:>8}  {dense}"
        )
    return lines
