"""The kernels without a GPU: random small calls in Triton's interpreter, against the reference."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
COUNT = 9
BROKEN = "Triton's interpreter does not work here:"  # tests/kernels/interpreter.py


def interpreted(program, *arguments):
    """Triton reads the setting when it is imported, so the kernels need a process of their own."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(program), *arguments],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if BROKEN in said:
        pytest.skip(said[said.index(BROKEN) :].splitlines()[0])
    assert done.returncode == 0, said[-6000:]
    assert done.stdout.strip().endswith("all good")


def test_random_configurations_agree_with_the_reference():
    interpreted("sweep.py", "0", str(COUNT), "1")


def test_channels_as_far_apart_as_strides_can_say():
    interpreted("check_strides.py")
