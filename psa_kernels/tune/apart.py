"""The tuner in a separate process, for a host that shows its progress and can end it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from ..measured import file_in_use
from ..measured.entries import forget
from ..measured.place import VARIABLE
from ..own_process import run_module
from ..selftest.report import FAILED, OK, Check

NAME = "Measuring this GPU"
ROOM = 60.0  # seconds beyond its own limit until it is ended
KEPT = "what it had found by then may be written"
_PROGRESS = re.compile(r"\[ *(\d+)%\] (.*)")


def tune_apart(
    head_dim: int,
    dtype: str,
    seconds: float,
    *,
    environment: Mapping[str, str] | None = None,
    alive: Callable[[], None] = lambda: None,
    progress: Callable[[float, str], None] = lambda part, text: None,
) -> Check:
    """`python -m psa_kernels.tune` for the file in use here; what goes wrong there is never raised.

    environment  variables beside this process's own
    alive        called a few times a second; what it raises ends the process and is raised
    progress     called with the part of the time that has passed, and what is being done
    """

    def heard(line: str) -> None:
        if found := _PROGRESS.match(line):
            progress(int(found[1]) / 100, found[2])

    arguments = ["--head-dim", str(head_dim), "--dtype", dtype, "--seconds", f"{seconds:g}"]
    env = {**(environment or {}), VARIABLE: str(file_in_use())}
    try:
        ended = run_module("psa_kernels.tune", arguments, seconds + ROOM, environment=env,
                           alive=alive, heard=heard)  # fmt: skip
    except OSError as error:
        return Check(NAME, FAILED, f"the tuner could not be started: {error}")
    finally:
        forget()
    if ended.code is None:
        return Check(NAME, FAILED, f"the tuner did not end within {seconds + ROOM:g} seconds and "
                     f"was stopped; {KEPT}", lines=ended.said)  # fmt: skip
    try:
        report = json.loads(ended.report)
    except ValueError:
        detail = f"the tuner ended {ended.how}; {KEPT}"
        remedy = "the lines below, with verbose, are what was said last"
        return Check(NAME, FAILED, detail, remedy, ended.said)
    if "failed" in report:
        return Check(NAME, FAILED, report["failed"])
    return Check(NAME, OK, report["text"], lines=tuple(report["lines"]))
