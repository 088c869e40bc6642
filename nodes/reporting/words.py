"""The sentences of a report, from its figures. The text and the picture both use them."""

from __future__ import annotations

from typing import Any

from ...psa_kernels.config import block_list_text
from .dense_time import AFTER

LEVEL_NAMES = {
    "1": "in full", "2": "pooled by 2", "4": "pooled by 4", "8": "pooled by 8", "0": "skipped",
}  # fmt: skip
NOT_VIDEO = ("cross-attention", "not the video's tokens")


def verdict(run: dict[str, Any]) -> str:
    """The run in one line: was PSA on, and what did it gain?"""
    if run.get("note"):
        return run["note"]
    sparse, of = run["calls"]["sparse"], video_calls(run)
    if run["failure"]:
        return f"PSA stepped aside: {run['failure']}"
    if not sparse and not of:
        return "No self-attention over the video was seen"
    if not sparse:
        return f"Every call stayed dense: {reasons(run, video_only=True)}"
    line = f"{sparse:,} of {of:,} self-attention calls sparse at {percent(run['density'])} density"
    gain = run["saving"]["attention"] if "saving" in run else run.get("speedup")
    if gain is not None:
        line += f", attention {times(gain)} the speed of dense"
    return line


def headline(report: dict[str, Any]) -> str:
    """The same from a run's own short report, for Apply PSA."""
    steps = _count(len(report["steps"]), "step") + ": "
    if report["ended"]:
        steps = f"ended early ({report['ended'].split(':')[0]}): "
    return steps + verdict(report)


def video_calls(run: dict[str, Any]) -> int:
    """Calls that PSA could have served, by their kind."""
    dense = run["calls"]["dense"].items()
    return run["calls"]["sparse"] + sum(n for reason, n in dense if reason not in NOT_VIDEO)


def reasons(run: dict[str, Any], video_only: bool = False) -> str:
    found = sorted(run["calls"]["dense"].items(), key=lambda item: -item[1])
    kept = [(r, n) for r, n in found if not (video_only and r in NOT_VIDEO)]
    return ", ".join(f"{n:,} {reason}" for reason, n in kept)


def dense_kernel(run: dict[str, Any]) -> str | None:
    """What served the dense calls, and what would serve them faster."""
    if not run.get("dense_kernel"):
        return None
    line = f"Dense calls ran: {run['dense_kernel']}"
    if run.get("cheaper_kernel") and "dense" in run["plan"]:
        line += f". Dense steps are cheaper with {run['cheaper_kernel']}"
    return line


def timing(run: dict[str, Any]) -> list[str]:
    """Sentences about time, most important first."""
    gain, lines = run["saving"], []
    for shape in run["shapes"]:
        if not shape["psa_calls"]:
            continue
        of = f"{shape['tokens']:,} tokens, {shape['heads']} heads"
        line = f"A call ({of}): {milliseconds(shape['psa_ms'])}"
        if shape["dense_ms"] is not None:
            line += f", dense {milliseconds(shape['dense_ms'])} ({_from(shape)})"
            line += f": {times(shape['speedup'])}"
        else:
            line += f"; dense was not measured: {shape['dense_reason']}"
        lines.append(line)
    if gain["step"] is not None:
        how = "" if gain["dense_step_from"] == "measured" else " as computed from the calls"
        lines.append(
            f"A step: {seconds(gain['sparse_step_s'])}, dense {seconds(gain['dense_step_s'])}{how}"
            f": {times(gain['step'])}"
        )
    if gain["run"] is not None:
        verb = "saved" if gain["saved_s"] >= 0 else "LOST"
        lines.append(
            f"The run: {seconds(gain['run_s'])}, without PSA {seconds(gain['without_s'])}"
            f": {times(gain['run'])}, {seconds(abs(gain['saved_s']))} {verb}"
        )
    if gain["share"] is not None:
        line = f"Self-attention over the video is {percent(gain['share'])} of a dense step"
        if gain["limit"] is not None:
            line += f": with attention in no time at all, a step would be {times(gain['limit'])}"
        lines.append(line)
    if gain["attention"] is not None and gain["attention"] < 1:
        lines.append(
            "PSA is slower than dense attention here: the video is too short for it, or this "
            "machine has no kernels. Raise min_tokens, or switch PSA off."
        )
    if run["times"]["compile_calls"]:
        line = (
            f"Kernels were compiled for {seconds(run['times']['compile_seconds'])} in "
            f"{_count(run['times']['compile_calls'], 'call')}; no figure above includes this"
        )
        if gain["repaid"] is not None:
            steps = _count(max(1, round(gain["repaid"])), "sparse step")
            line += f"; repaid after {steps}"
        lines.append(line)
    expected = expectation(run)
    if expected:
        lines.append(expected)
    if run["missing"]:
        lines.append(f"Some figures are missing: {run['missing']}")
    return lines


OFFER = (
    "No times were estimated beforehand. To get them for this GPU, run PSA Self-test once with "
    "measure on (head_dim {})"
)


def expectation(run: dict[str, Any]) -> str | None:
    """What was estimated before the run."""
    found = run["estimate"] or {}
    parts = [
        f"{name} {times(found[key]['value'])}"
        for key, name in (("attention", "attention"), ("step", "a step"), ("run", "the run"))
        if found.get(key) and found[key]["value"] is not None
    ]
    if not parts:
        offer = found.get("offer")
        return OFFER.format(offer) if offer else None
    line = "Estimated beforehand: " + ", ".join(parts)
    even = found.get("break_even")
    if even and even["value"] is not None:
        line += f"; PSA breaks even at about {even['value']:,.0f} tokens"
    measured = (found.get("attention") or {}).get("measured")
    if measured:
        line += f"; measured on {measured['date']} against {measured['against']}"
    return line


def budget(run: dict[str, Any]) -> str | None:
    """How the block pairs and the estimated mass are spread over the levels."""
    if not run["per_level"]:
        return None
    parts = [
        f"{percent(share)} {level_name(run, level)} ({percent(run['mass'][level])} of the mass)"
        for level, share in run["per_level"].items() if share
    ]  # fmt: skip
    return "Block pairs: " + ", ".join(parts)


def range_name(part: dict[str, Any]) -> str:
    """Which steps were in a range of the preset: "Steps 3-5 (10-25%)"."""
    numbers = block_list_text(part["steps"])
    steps = f"Step {numbers}" if numbers.isdigit() else f"Steps {numbers}"
    return f"{steps} ({part['range'] or 'in no range'})"


def range_line(part: dict[str, Any]) -> str:
    """What the steps of a range did."""
    sparse = part["calls"]["sparse"]
    if not sparse:
        said = f"dense: {reasons(part, video_only=True) or 'no calls'}"
    else:
        said = f"{_count(sparse, 'sparse call')} at {percent(part['density'])} density"
        dense = reasons(part, video_only=True)
        said += f", dense: {dense}" if dense else ""
    if part["step_s"] is not None:
        said += f"; {seconds(part['step_s'])} a step"
    return said


def level_name(run: dict[str, Any], level: str) -> str:
    """How blocks on a level were read."""
    if level == "0" and run["tail"] == "mixed":
        return "skipped or in the tail"
    if level == "0" and run["tail"] != "none":
        return f"pooled by {run['tail']} (tail)"
    return LEVEL_NAMES[level]


def _from(shape: dict[str, Any]) -> str:
    if shape["dense_from"] == AFTER:
        return f"{AFTER}, median of {shape['dense_calls']}"
    return f"median of {shape['dense_calls']} in {shape['dense_from']}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def times(factor: float | None) -> str:
    if factor is None:
        return "-"
    return f"{factor:.2f}x" if factor < 9.995 else f"{factor:.1f}x"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 1:
        return f"{1000 * value:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"
