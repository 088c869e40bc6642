"""Which calls the kernels take, and the reason for the others; the tuning table."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention
from psa_kernels.layout import Layout
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
