"""Runs a module of this package in a process of its own, which a host can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the folder of psa_kernels
# Not `-m` in that folder: an embedded Python (portable, on Windows) does not look there.
START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); name = sys.argv.pop(1); "
    "runpy.run_module(name, run_name='__main__', alter_sys=True)"
)
PAUSE = 0.2  # seconds between two looks at the process
SHOWN = 40  # last lines of its output


@dataclass(frozen=True)
class Ended:
    """code    its exit code; None if it ran out of time and was stopped
    report  what it wrote to the file of `--json`; "" if nothing
    said    the last lines of its output
    """

    code: int | None
    report: str
    said: tuple[str, ...]

    @property
    def how(self) -> str:
        """Like "with exit code 7" or "by SIGSEGV"."""
        if self.code is None or self.code >= 0:
            return f"with exit code {self.code}"
        try:
            return f"by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"by signal {-self.code}"


def run_module(
    module: str,
    arguments: list[str],
    time_limit: float,
    *,
    environment: Mapping[str, str] | None = None,
    alive: Callable[[], None] = lambda: None,
    heard: Callable[[str], None] = lambda line: None,
) -> Ended:
    """Runs `module`, which takes `--json FILE`, with this Python.

    time_limit   seconds after which it is stopped
    environment  variables in addition to this process's own
    alive        called a few times a second; if it raises, the process is stopped and the
                 exception passed on
    heard        called with each line that the process prints

    Raises `OSError` if it cannot be started.
    """
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", **(environment or {})}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result, output = Path(folder) / "report.json", Path(folder) / "output.txt"
        command = [sys.executable, "-X", "faulthandler", "-c", START, str(ROOT), module,
                   "--json", str(result), *arguments]  # fmt: skip
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        with output.open(encoding="utf-8", errors="replace") as lines:
            code = _wait(process, time_limit, alive, lambda: _read(lines, heard))
        said = output.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:]
        report = result.read_text(encoding="utf-8") if result.exists() else ""
        return Ended(code, report, tuple(said))


def _read(lines, heard: Callable[[str], None]) -> None:
    """Passes complete lines to `heard`; an unfinished line waits for its rest."""
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return
        heard(line.rstrip("\n"))


def _wait(
    process: subprocess.Popen, limit: float, alive: Callable[[], None], look: Callable[[], None]
) -> int | None:
    """The exit code, or None if it ran out of time."""
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            try:
                code = process.wait(PAUSE)
                look()
                return code
            except subprocess.TimeoutExpired:
                look()
                alive()
        return None
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen) -> None:
    """Ends the process and, where the system can, the compilers that it started."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        else:
            process.kill()
    except OSError:  # it has just ended by itself
        pass
    process.wait()
