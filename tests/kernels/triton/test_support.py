"""Which calls the kernels take, and the reason for the others; the tuning table."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from psa_kernels import NoKernelsError, PSAConfig, psa_attention
from psa_kernels.capability import Call, refusal
from psa_kernels.triton import support, tuning
from psa_kernels.triton.gpus import described, too_old
from psa_kernels.triton.support import LIMITS

ROOT = Path(__file__).resolve().parents[3]
GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


def why_not(device=GPU, dtype=torch.float16, gradient=False, **sizes):
    """The tables' answer for a call of such sizes."""
    call = Call.small(device, dtype, 64, PSAConfig())
    layout = replace(call.layout, **sizes)
    return refusal(LIMITS, replace(call, layout=layout, gradient=gradient))


def test_a_call_on_the_cpu_names_the_device():
    q = torch.zeros(1, 1, 8, 8)
    reason = "the tensors are on cpu, the Triton kernels need a CUDA or ROCm GPU"
    assert why_not(CPU) == reason
    _, stats = psa_attention(q, q, q, return_stats=True)
    assert stats.implementation == "reference"
    assert stats.reason == reason
    with pytest.raises(NoKernelsError, match=reason):
        psa_attention(q, q, q, need_kernels=True)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that need not be there, and a Triton."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce RTX 2080")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(support, "_no_triton", lambda: "")
    described.cache_clear()
    yield monkeypatch
    described.cache_clear()


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({}, ""),
        ({"head_dim": 256, "k_len": 32768 * 128}, ""),
        ({"dtype": torch.float64},
         "the Triton kernels take float16, bfloat16 or float32, found float64"),
        ({"head_dim": 257}, "the Triton kernels take head dims up to 256, found 257"),
        ({"k_len": 32768 * 128 + 1},
         "32769 key blocks: the Triton kernels take up to 32768; larger key blocks make fewer"),
        ({"k_len": 8388608, "n": 1024}, "8388608 keys: the Triton kernels take up to 8388607"),
        ({"gradient": True}, "the Triton kernels have no backward pass"),
        # the first row that refuses is the one that is told
        ({"dtype": torch.float64, "head_dim": 257, "gradient": True},
         "the Triton kernels take float16, bfloat16 or float32, found float64"),
    ],
    ids=str,
)  # fmt: skip
def test_a_call_on_a_gpu_names_what_is_too_much(gpu, call, reason):
    assert why_not(**({"n": 128} | call)) == reason


def test_an_old_gpu_and_a_missing_triton_are_named(gpu):
    gpu.setattr(support, "_no_triton", lambda: "Triton is not installed")
    assert why_not() == "Triton is not installed"
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    described.cache_clear()
    assert why_not() == "GeForce RTX 2080 is older than compute capability 8.0"


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dtype", "dim", "says"),
    [(torch.float64, 64, "float64"), (torch.float16, 264, "up to 256"), (torch.float16, 64, "")],
)
def test_a_call_on_the_gpu_here_is_served_or_says_why(dtype, dim, says):
    q = torch.zeros(1, 1, 8, dim, device="cuda", dtype=dtype)
    _, stats = psa_attention(q, q, q, return_stats=True)
    assert says in stats.reason and bool(says) == bool(stats.reason)
    assert stats.implementation == ("reference" if says else "triton")


@pytest.mark.parametrize(
    ("gpu", "row"),
    [
        # MI210, MI300X, RX 7900 XTX, RX 9070 XT, Radeon 8060S: as ROCm's torch names them
        ({"gcn": "gfx90a:sramecc+:xnack-"}, "gfx942"),
        ({"gcn": "gfx942:sramecc+:xnack-"}, "gfx942"),
        ({"gcn": "gfx1100"}, "gfx1100"),
        ({"gcn": "gfx1201"}, "gfx1100"),
        ({"gcn": "gfx1151"}, "gfx1100"),
        ({"capability": (7, 5)}, None),
        ({"capability": (8, 0)}, "sm_80"),
        ({"capability": (8, 6)}, "sm_86"),
        ({"capability": (8, 9)}, "sm_86"),
        ({"capability": (9, 0)}, "sm_90"),
        ({"capability": (10, 3)}, "sm_100"),
        ({"capability": (12, 0)}, "sm_120"),
    ],
    ids=str,
)
def test_a_gpu_has_its_row_of_the_table_by_what_it_says_of_itself(gpu, row):
    assert too_old(**gpu) == (row is None)
    if row is None:
        return
    assert tuning.row_of(**gpu) == row
    for table in (tuning.ATTEND, tuning.ESTIMATE):
        for dim in (64, 128, 256):
            settings = tuning.pick(table, row, torch.bfloat16, dim)
            # AMD has no TMA, and its compiler no use for more than one stage here
            assert "gcn" not in gpu or not settings.tma


@pytest.mark.gpu
def test_gradients_go_through_the_reference():
    q, k, v = (torch.randn(1, 1, 200, 16, device="cuda", requires_grad=True) for _ in range(3))
    out, stats = psa_attention(q, k, v, return_stats=True)
    assert stats.implementation == "reference"
    out.sum().backward()
    assert v.grad is not None


def test_the_library_imports_without_triton():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules['triton'] = None; "
        "from tests import pack_import; pack_import.install(); import psa_kernels, torch; "
        "x = torch.randn(1, 1, 70, 8); print(psa_kernels.psa_attention(x, x, x).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
