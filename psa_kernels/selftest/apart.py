"""The self-test in its own process, which it may break, hang or kill without harm to this one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping

from ..measured import file_in_use, forget
from ..measured.place import VARIABLE
from ..own_process import run_module
from .machine import describe
from .report import FAILED, Check, Report

NAME = "the self-test's own process"


def run_apart(
    time_limit: float = 600.0,
    *,
    every: bool = False,
    use_gpu: bool = True,
    environment: Mapping[str, str] | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Report:
    """`run_selftest` in another process of this Python; what goes wrong there is never raised.

    time_limit   seconds after which it is ended
    use_gpu      False: it sees no GPU
    environment  variables beside this process's own
    alive        called a few times a second; what it raises ends the process and is raised
    """
    env = {**(environment or {}), VARIABLE: str(file_in_use())}
    if not use_gpu:
        env |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    try:
        ended = run_module("psa_kernels.selftest", ["--every"] if every else [], time_limit,
                           environment=env, alive=alive)  # fmt: skip
    except OSError as error:
        return _failed(f"could not be started: {error}", f"see whether {sys.executable} runs")
    finally:
        forget()  # this process goes by the file as it is now, like the other that has read it
    if ended.code is None:
        return _failed(
            f"did not end within {time_limit:g} seconds and was stopped",
            "give it more time; a first compilation may take minutes", ended.said,
        )  # fmt: skip
    try:
        return Report.from_json(json.loads(ended.report))
    except (ValueError, KeyError, TypeError):
        return _failed(
            f"ended {ended.how} without a report",
            "a part of the GPU's software kills the process: update the GPU driver, and torch "
            "with the Triton that goes with it; the lines below, with verbose, are what was "
            "said last", ended.said,
        )  # fmt: skip


def _failed(what: str, remedy: str, lines: tuple[str, ...] = ()) -> Report:
    return Report(describe(), (Check(NAME, FAILED, what, remedy, lines),), "not known")
