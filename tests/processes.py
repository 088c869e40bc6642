"""Processes that tests start: whether one runs, and waiting for what other processes do."""

import os
import time
from collections.abc import Callable
from pathlib import Path


def is_running(pid: int) -> bool:
    """A process that has ended and that nobody asked for yet, a zombie, does not run."""
    try:
        os.kill(pid, 0)
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):  # also between the question and the reading
        return False
    return True


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Until it holds; the time is for a busy machine, and passes only where it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
