"""Runs a program of this folder in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BROKEN = "Triton's interpreter does not work here:"  # tests/kernels/interpreter.py


def interpreted(program, *arguments, timeout=900):
    """What it prints. Triton reads the setting when it is imported, so the kernels need a process
    of their own."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(program), *arguments],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if BROKEN in said:
        pytest.skip(said[said.index(BROKEN) :].splitlines()[0])
    assert done.returncode == 0, said[-6000:]
    return done.stdout
