"""The self-test in a process of its own: what it breaks, hangs or kills there harms nobody here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .machine import describe
from .report import FAILED, Check, Report

ROOT = Path(__file__).resolve().parents[2]  # what holds psa_kernels
# Not `-m` in that folder: an embedded Python (Windows, portable) does not look there.
START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('psa_kernels.selftest', run_name='__main__', alter_sys=True)"
)
PAUSE = 0.2  # seconds between two looks at the process
SHOWN = 40  # lines of what it said before it ended
NAME = "the self-test's own process"


def run_apart(
    time_limit: float = 600.0,
    *,
    every: bool = False,
    use_gpu: bool = True,
    environment: Mapping[str, str] | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Report:
    """`run_selftest` in another process of this Python; it never raises for what goes wrong there.

    time_limit   seconds after which it is ended
    use_gpu      False: it sees no GPU
    environment  variables beside this process's own
    alive        called a few times a second; what it raises ends the process and is raised
    """
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", **(environment or {})}
    if not use_gpu:
        env |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result, said = Path(folder) / "report.json", Path(folder) / "output.txt"
        command = [sys.executable, "-X", "faulthandler", "-c", START, str(ROOT),
                   "--json", str(result), *(["--every"] if every else [])]  # fmt: skip
        try:
            with said.open("wb") as output:
                process = subprocess.Popen(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            return _failed(f"could not be started: {error}", f"see whether {sys.executable} runs")
        code = _wait(process, time_limit, alive)
        lines = tuple(said.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:])
        if code is None:
            return _failed(
                f"did not end within {time_limit:g} seconds and was stopped",
                "give it more time; a first compilation may take minutes", lines,
            )  # fmt: skip
        try:
            return Report.from_json(json.loads(result.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return _failed(
                f"ended {_ending(code)} without a report",
                "a part of the GPU's software kills the process: update the GPU driver, and torch "
                "with the Triton that goes with it; the lines below, with verbose, are what was "
                "said last", lines,
            )  # fmt: skip


def _wait(process: subprocess.Popen, limit: float, alive: Callable[[], None]) -> int | None:
    """The exit code, or None if the time was over."""
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            try:
                return process.wait(PAUSE)
            except subprocess.TimeoutExpired:
                alive()
        return None
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen) -> None:
    """With the compilers that it started, where the system can tell them."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        else:
            process.kill()
    except OSError:  # it has just ended by itself
        pass
    process.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def _failed(what: str, remedy: str, lines: tuple[str, ...] = ()) -> Report:
    return Report(describe(), (Check(NAME, FAILED, what, remedy, lines),), "not known")
