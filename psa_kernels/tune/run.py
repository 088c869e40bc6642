"""The whole measurement: search, compare with the file, write."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import measured
from ..capability import Call, refusal
from ..config import PSAConfig
from ..layout import row_width
from ..measured import HEAD_DIMS
from ..measured.entries import name_of
from ..triton.settings import Attend, Estimate
from ..triton.support import FLOAT16_SUMS, INT8, MOST_HEAD_DIM
from .candidates import Variant
from .search import Budget, Found, Outcome, TuneError, search

SECONDS = 90.0
DTYPES = ("bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Result:
    """text     what was found, in sentences
    lines    every variant that was left out, and why
    changed  whether the file was written
    """

    text: str
    lines: tuple[str, ...]
    changed: bool


def tune(
    head_dim: int = HEAD_DIMS[0],
    dtype: torch.dtype = torch.bfloat16,
    *,
    budget: Budget | None = None,
    file: Path | None = None,
    device: torch.device | None = None,
    make_bench: Callable | None = None,
    measure_times: Callable | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Measures one head size and dtype, and keeps the settings that are faster than those in use.

    Then it times whole calls, with the settings in the file.

    file           where the results are kept; `measured.file_in_use` if absent
    make_bench     makes the `Bench` of (device, head_dim, dtype); that of the GPU if absent
    measure_times  in place of `times.measure`

    Raises `TuneError` where nothing can be measured, `OSError` where the file cannot be written.
    """
    budget = budget or Budget(SECONDS)
    file = file or measured.file_in_use()
    device = device or torch.device("cuda", torch.cuda.current_device())
    if not 0 < head_dim <= MOST_HEAD_DIM:
        raise TuneError(f"head_dim: found {head_dim}, give 1 to {MOST_HEAD_DIM}")
    if name_of(dtype) not in DTYPES:
        raise TuneError(f"dtype: found {name_of(dtype)}, give {' or '.join(DTYPES)}")
    here = measured.machine_of(device)
    if here is None:
        raise TuneError("there is no GPU here that torch can use; nothing to measure")
    from ..triton import tuning  # here, so that asking for help needs no Triton
    from ..triton.descriptors import has_tma
    from . import times
    from .bench import CallBench

    width = row_width(head_dim)
    rows = [Variant(tuning.row_attend(device, dtype, width)),
            Variant(tuning.row_estimate(device, dtype, width))]  # fmt: skip
    call = Call.small(device, dtype, head_dim, PSAConfig())
    if not refusal(INT8.limits, call):
        rows.insert(1, Variant(tuning.row_attend(device, dtype, width, "int8"), "int8"))
    if tuning.halves_float32_sums(device) and not refusal(FLOAT16_SUMS.limits, call):
        attends = [x for x in rows if isinstance(x.settings, Attend)]
        rows += [dataclasses.replace(x, sums="float16") for x in attends]
    say(f"making calls of {head_dim} channels a head in {name_of(dtype)} on {here.gpu}")
    bench = (make_bench or CallBench)(device, head_dim, dtype)
    dropped = {}
    for i, row in enumerate(rows):
        if row.specialised and (reason := bench.prepare(row)):
            say(f"{row.kernel}, {row}, is left out: {reason}")
            dropped[row] = reason
            portable = tuning.portable_attend(device, dtype, width, row.qk)
            rows[i] = dataclasses.replace(row, settings=portable)
    old = measured.find(device, head_dim, dtype, file).entry  # or what serves this one too
    of_this = old is not None and (old["head_dim"], old["dtype"]) == (head_dim, name_of(dtype))
    in_use = [_in_use(old, row) for row in rows] if old else rows
    found = search(
        bench, rows, in_use, width=width, tma=has_tma(device),
        limits=tuning.limits_registers(device), budget=budget, say=say,
        qk=old["qk"] if old else "half", sums=old.get("sums", {}) if old else {},
        workers=1 if tuning.interpreted(device) else 0,  # the interpreter has no threads
    )  # fmt: skip
    found = dataclasses.replace(found, left_out={**dropped, **found.left_out})
    entry = dataclasses.asdict(here) | _entry(found, head_dim, dtype)
    kept = "qk", "sums", "attend", "estimate"
    changed = not of_this or any(old.get(key) != entry[key] for key in kept)
    if of_this and "times" in old:
        entry["times"] = old["times"]
    if changed:
        measured.write(file, entry)  # the calls that are timed next use it
    else:
        entry = {**old, "date": entry["date"]}
    del bench
    calls, missed = {}, {}
    if measure_times or device.type == "cuda":  # whole calls of the reference would take minutes
        measure_times = measure_times or times.measure
        calls, missed = measure_times(
            device, head_dim, dtype, budget=budget, say=say, int8="int8" in entry["attend"]
        )
    if times.differ(entry.get("times"), calls):
        measured.write(file, entry | {"times": times.merged(entry.get("times"), calls)})
        changed = True
    left_out = (*_left_out(found), *(f"{name}: {reason}" for name, reason in missed.items()))
    named = {f"{row.kernel}, {row}": reason for row, reason in dropped.items()} | missed
    return Result(_text(found, calls, named, changed, file), left_out, changed)


def _in_use(entry: Mapping[str, Any], row: Variant) -> Variant:
    """What the entry has for the row's kernel, or the row itself."""
    if isinstance(row.settings, Estimate):
        return Variant(Estimate(**entry["estimate"]))
    found = entry["attend"].get(measured.attend_name(row.qk, row.sums))
    return dataclasses.replace(row, settings=Attend(**found)) if found else row


def _entry(found: Found, head_dim: int, dtype: torch.dtype) -> dict[str, Any]:
    attends = [x.chosen for x in found.outcomes.values() if isinstance(x.chosen.settings, Attend)]
    return {
        "head_dim": head_dim,
        "dtype": name_of(dtype),
        "date": time.strftime("%Y-%m-%d"),
        "qk": found.qk,
        "sums": dict(found.sums),
        "attend": {measured.attend_name(x.qk, x.sums): vars(x.settings) for x in attends},
        "estimate": vars(found.outcomes["importance"].chosen.settings),
        "gain": {name: round(x.gain, 3) for name, x in found.outcomes.items()},
        "tried": found.timed,
        "left_out": list(_left_out(found)),
    }


def _text(
    found: Found, times: Mapping[str, Any], named: Mapping[str, str], changed: bool, file: Path
) -> str:
    said = [_of_kernel(name, x) for name, x in found.outcomes.items()]
    said.append("The attention's times include the pyramid before it.")
    said.append(f"{found.timed} settings were timed{_counted(found)}.")
    said += [f"{what.capitalize()} took {x:.0f} s." for what, x in found.seconds.items()]
    said += [_of_calls(x) for x in times.get("calls", ())[:1]]
    said += [f"Left out: {name}, {reason}." for name, reason in named.items()]
    said.append(f"Written to {file}." if changed else f"{file} stays as it is.")
    return " ".join(said)


def _of_kernel(name: str, x: Outcome) -> str:
    table = f"{x.ms:.3g} ms, {x.gain:.2f} times as fast as the table's settings"
    if x.chosen == x.row:
        return f"{name}: the table's own settings are the fastest ({x.chosen}; {x.ms:.3g} ms)."
    if x.chosen == x.before:
        return f"{name}: nothing is faster than what was measured before ({x.chosen}; {table})."
    return f"{name}: {x.chosen}; {table}."


def _of_calls(one: Mapping[str, Any]) -> str:
    dense = "".join(f"dense {ms:.3g} ms, " for ms in one["dense_ms"].values())
    psa = " and ".join(
        f"{x['anew_ms']:.3g} ms at density {x['density']:.2g} ({x['kept_ms']:.3g} with groups kept"
        f", {x['order_ms']:.3g} without like keys{_in_int8(x)})"
        for x in one["psa"]
    )
    return f"A whole call of {one['tokens']:,} tokens, {one['heads']} heads: {dense}PSA {psa}."


def _in_int8(call: Mapping[str, float]) -> str:
    return f", {call['int8_ms']:.3g} without like keys in int8" if "int8_ms" in call else ""


def _counted(found: Found) -> str:
    """How many were left out, by kind of reason."""
    kinds = Counter(_kind(reason) for reason in found.left_out.values())
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"; left out: {counted}" if counted else ""


def _kind(reason: str) -> str:
    if "spill" in reason:
        return "that spill registers"
    if "out of resource" in reason:
        return "that need more than the GPU has"
    if "wrong numbers" in reason:
        return "with wrong numbers"
    return "not reached in time" if reason.startswith("not reached") else "that do not compile"


def _left_out(found: Found) -> tuple[str, ...]:
    return tuple(f"{x.kernel}, {x}: {reason}" for x, reason in found.left_out.items())
