"""What a range of steps sets may compile a few kernels more, and shares none."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


def test_which_settings_of_a_range_compile_again():
    program = Path(__file__).with_name("variants.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert len(found.pop("first")) == 7
    assert {name for name, kernels in found.items() if not kernels} == {"shares", "few", "refresh"}
    assert all(len(kernels) <= 7 for kernels in found.values()), found
