"""Which calls the kernels take, and the reason for the others; the tuning table."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention
from psa_kernels.layout import Layout
from psa_kernels.triton import tuning
from psa_kernels.triton.gpus import too_old
from psa_kernels.triton.support import unsupported

ROOT = Path(__file__).resolve().parents[3]


def layout_of(q, config=None):
    return Layout.of(q, q, q, config or PSAConfig())


def test_a_call_on_the_cpu_names_the_device():
    q = torch.zeros(1, 1, 8, 8)
    assert "on cpu" in unsupported(q, layout_of(q), PSAConfig())
    _, stats = psa_attention(q, q, q, return_stats=True)
    assert stats.implementation == "reference"
    assert "on cpu" in stats.reason


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dtype", "dim", "says"),
    [(torch.float64, 64, "float64"), (torch.float16, 264, "up to 256"), (torch.float16, 64, "")],
)
def test_a_call_on_the_gpu_names_what_is_too_much(dtype, dim, says):
    q = torch.zeros(1, 1, 8, dim, device="cuda", dtype=dtype)
    reason = unsupported(q, layout_of(q), PSAConfig())
    assert says in reason and bool(says) == bool(reason)


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
