"""What a range of steps or another video may compile once more, and what it shares."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@pytest.fixture(scope="module")
def found():
    """group -> {call: the kernels that it compiles and none before it did}"""
    program = Path(__file__).with_name("variants.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    groups = {}
    for line in done.stdout.splitlines():
        groups |= json.loads(line)
    return groups


def test_which_settings_of_a_range_compile_again(found):
    added = found["settings"]
    assert len(added.pop("first")) == 7
    assert {name for name, kernels in added.items() if not kernels} == {"shares", "few", "refresh"}
    assert all(len(kernels) <= 7 for kernels in added.values()), added


@pytest.mark.parametrize("group", ["sizes", "sizes on Hopper"])
def test_another_size_compiles_nothing_but_levels_of_more_blocks(found, group):
    if group not in found:
        pytest.skip("this Triton cannot compile the kernel for Hopper GPUs")
    added = found[group]
    attending = "hopper_kernel" if group == "sizes on Hopper" else "attend_kernel"
    assert attending in added.pop("first")
    assert added.pop("more blocks") == ["levels_kernel"]
    assert not any(added.values()), added
