"""The attention for Hopper GPUs: which calls it serves, what it computes, what follows if it fails.

That it compiles: test_offline.py.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.triton import hopper, tuning
from psa_kernels.triton.versions import OLDEST

from .interpreted import interpreted

HERE = Path(__file__).parent
GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
HALF = torch.float16, torch.bfloat16
triton_here = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@pytest.fixture
def hopper_gpu(monkeypatch):
    """One that need not be there, with a Triton that was tried."""
    monkeypatch.setattr(hopper, "is_hopper", lambda device: device == GPU)
    monkeypatch.setattr(hopper, "_lacking", lambda device: "")
    monkeypatch.setattr(hopper, "_given_up", [])
    monkeypatch.setattr(tuning, "architecture", lambda device: "sm_90")
    monkeypatch.setattr(tuning, "has_tma", lambda device: True)
    return monkeypatch


def layout_of(dim=128, length=1000, m=128, n=128):
    q = torch.empty(1, 2, length, dim, device="meta")
    return Layout.of(q, q, q, PSAConfig(block_m=m, block_n=n))


@pytest.mark.parametrize("dim", [65, 96, 128])
def test_blocks_of_128_and_heads_of_65_to_128_channels_are_served(hopper_gpu, dim):
    assert hopper.serves(layout_of(dim), False, GPU)


@pytest.mark.parametrize(
    ("layout", "half_sums", "device"),
    [
        (layout_of(m=64), False, GPU), (layout_of(n=64), False, GPU),
        (layout_of(64), False, GPU), (layout_of(129), False, GPU),
        (replace(layout_of(), after=1000), False, GPU),
        (replace(layout_of(), causal=True), False, GPU),
        (layout_of(), True, GPU), (layout_of(), False, CPU),
    ],
    ids=["m", "n", "short heads", "long heads", "no blocks", "causal", "float16 sums", "CPU"],
)  # fmt: skip
def test_each_thing_that_the_kernel_has_not_is_enough_to_refuse(
    hopper_gpu, layout, half_sums, device
):
    assert not hopper.serves(layout, half_sums, device)


def test_what_is_lacking_or_was_given_up_is_not_served(hopper_gpu, caplog):
    hopper_gpu.setattr(hopper, "_lacking", lambda device: "no Gluon")
    assert not hopper.serves(layout_of(), False, GPU) and hopper.lacking(GPU) == "no Gluon"
    hopper_gpu.setattr(hopper, "_lacking", lambda device: "")
    for _ in range(2):  # two threads at once
        hopper.give_up(RuntimeError("x" * 1000))
    assert not hopper.serves(layout_of(), False, GPU) and not hopper.lacking(CPU)
    (record,) = caplog.records
    assert "does not run here (RuntimeError: xxx" in record.getMessage()
    assert len(record.getMessage()) < 400


@triton_here
@pytest.mark.parametrize(
    ("version", "served"),
    [
        (f"{OLDEST}.0", False), ("3.5.1", False), ("3.6.0", True), ("3.8.1+git", True),
        ("3.9.0", False), ("3.10.0", False), ("4.0.0", False),
    ],
)  # fmt: skip
def test_only_versions_of_triton_that_compile_it_are_used(monkeypatch, version, served):
    import triton

    monkeypatch.setattr(triton, "__version__", version)
    monkeypatch.setattr(hopper, "is_hopper", lambda device: device == GPU)
    # whether this Triton's Gluon imports is another question
    monkeypatch.setitem(sys.modules, f"{hopper.__name__}.launch", object())
    hopper._lacking.cache_clear()
    try:
        found = hopper.lacking(GPU)
        assert hopper.lacking(CPU) == ""  # nothing is missed where there is no such GPU
    finally:
        hopper._lacking.cache_clear()
    assert (found == "") == served
    assert served or found.endswith(f"3.6 to 3.8, this is {'.'.join(version.split('.')[:2])}")


@triton_here
def test_a_gluon_that_does_not_import_is_named(monkeypatch):
    import triton

    monkeypatch.setattr(triton, "__version__", "3.8.0")
    monkeypatch.setattr(hopper, "is_hopper", lambda device: True)
    monkeypatch.delattr(hopper, "launch", raising=False)
    monkeypatch.setitem(sys.modules, f"{hopper.__name__}.launch", None)
    hopper._lacking.cache_clear()
    try:
        assert hopper.lacking(GPU).startswith("Gluon does not import: ")
    finally:
        hopper._lacking.cache_clear()


def test_the_table_has_the_kernel_for_half_precision_at_width_128_only(hopper_gpu):
    for qk in ("half", "int8"):
        for dtype in HALF:
            assert tuning.row_attend(GPU, dtype, 128, qk) == tuning.SPECIALISED[qk]
            for dim in (64, 256):
                assert not tuning.row_attend(GPU, dtype, dim, qk).specialised
            assert not tuning.portable_attend(GPU, dtype, 128, qk).specialised
            assert not tuning.row_attend(CPU, dtype, 128, qk).specialised
    assert not tuning.row_attend(GPU, torch.float32, 128).specialised
    hopper.give_up(RuntimeError())
    assert not tuning.row_attend(GPU, torch.bfloat16, 128).specialised


@triton_here
def test_a_kernel_that_fails_is_given_up_once_and_the_other_serves_the_call():
    assert interpreted("check_hopper.py", timeout=300).strip() == "all good"


@pytest.fixture
def on_hopper():
    """A real one."""
    if not hopper.is_hopper(GPU):
        pytest.skip("needs a GPU of compute capability 9.0")
    if lacking := hopper.lacking(GPU):
        pytest.skip(lacking)


@pytest.mark.gpu
def test_calls_agree_with_the_reference_and_with_themselves(on_hopper, request):
    """Compiling takes the time, some 12 s a configuration on one core."""
    from .check_hopper import CASES

    processes = min(8, os.cpu_count() or 1)
    count = len(CASES) + (request.config.getoption("--random-configurations") or 3 * processes)
    sweep = [HERE / "sweep.py", "0", str(count), str(processes), "hopper"]
    done = subprocess.run([sys.executable, *sweep], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.strip().endswith("all good")


@pytest.mark.gpu
@pytest.mark.parametrize("qk", ["half", "int8"])
def test_spoiled_values_spoil_what_reads_them_and_nothing_else(on_hopper, qk):
    from .check_hopper import check_spoiled

    check_spoiled(qk)


@pytest.mark.gpu
def test_a_gpu_goes_on_with_the_other_kernel():
    from .check_hopper import check_given_up

    check_given_up("cuda", torch.bfloat16)
