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


def test_random_configurations_agree_with_the_reference():
    # Triton reads the setting when it is imported, so the kernels need a process of their own
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("sweep.py"), "0", str(COUNT), "1"],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    if BROKEN in done.stdout:
        pytest.skip(done.stdout[done.stdout.index(BROKEN) :].splitlines()[0])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.strip().endswith("all good")
