"""Telling the user what a slow step is doing, and what to do when it fails."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

HEARTBEAT_SECONDS = 10.0


class SetupError(Exception):
    """A failure explained to the user (what happened, what to do), shown without a traceback."""


class StepError(SetupError):
    """A command of the set-up failed; `tail` holds its last lines."""

    def __init__(self, message: str, tail: list[str]):
        super().__init__(message)
        self.tail = tail


def say(text: str) -> None:
    print(f"[dev] {text}", flush=True)


def run_step(title: str, command: list[str], log_file: Path, env: dict | None = None) -> None:
    """Run a slow command: all its output goes to log_file, a sign of life to the terminal."""
    say(f"{title} ...")
    log_file.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    tail: deque[str] = deque(maxlen=12)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env or {})},
    )
    try:
        with open(log_file, "a", encoding="utf-8") as log:
            log.write(f"\n=== {title}: {' '.join(command)}\n")
            for line in _lines_with_heartbeat(process, start):
                log.write(line)
                if line.strip() and not line.startswith("WARNING:"):
                    tail.append(line.rstrip())
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code != 0:
        raise StepError(
            f"this step failed: {title}\n"
            + "\n".join(f"    {line}" for line in tail)
            + f"\n  All of its output: {log_file}\n"
            "  Fix the cause (network, disk space, ...) and run the same command again: "
            "finished steps are kept.",
            list(tail),
        )
    say(f"{title}: done in {time.monotonic() - start:.0f} s")


def _lines_with_heartbeat(process: subprocess.Popen, start: float):
    """Yield the process's lines; now and then print the latest one with the time gone by."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    latest, next_beat = "", time.monotonic() + HEARTBEAT_SECONDS
    while True:
        try:
            line = lines.get(timeout=max(0.1, next_beat - time.monotonic()))
        except queue.Empty:
            line = ""
        if line is None:
            return
        if line:
            if line.strip() and not line.startswith("WARNING:"):
                latest = line.strip()
            yield line
        if time.monotonic() >= next_beat:
            print(f"[dev]   {time.monotonic() - start:4.0f} s  {_shorten(latest)}", flush=True)
            next_beat = time.monotonic() + HEARTBEAT_SECONDS


def _shorten(line: str) -> str:
    if line.startswith("Installing collected packages:"):
        return f"unpacking {line.count(',') + 1} packages"
    return line[:78]


def exit_with(error: SetupError) -> int:
    print(f"\n[dev] error: {error}", file=sys.stderr, flush=True)
    return 1
