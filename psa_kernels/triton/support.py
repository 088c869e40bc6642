"""Whether these kernels can serve a call, and if not, why. Importing this needs no Triton."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

import torch

from ..config import PSAConfig
from ..layout import Layout
from . import versions
from .gpus import described, too_old

MOST_HEAD_DIM = 256
LEAST_INT8_DIM = 17  # stored as 32
MOST_KEYS = 2**31 // MOST_HEAD_DIM - 1  # offsets inside a head are int32
MOST_KEY_BLOCKS = 32768  # one row of the importance matrix is held in registers
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@lru_cache(maxsize=1)
def _no_triton() -> str:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    try:
        import triton
        import triton.language
    except Exception as error:  # a broken installation can raise anything
        return f"Triton does not import: {type(error).__name__}: {error}"
    return versions.too_old(triton.__version__)


def no_int8(device: torch.device, head_dim: int, dtype: torch.dtype) -> str:
    """Why these kernels have no products of queries and keys on int8 here; "" if they have."""
    from . import tuning

    if head_dim < LEAST_INT8_DIM:
        return f"heads of {head_dim} channels are shorter than an int8 product's 32"
    if tuning.architecture(device).startswith("gfx"):
        return "on AMD GPUs it has not been tried"
    return ""


def int8_unused(q: torch.Tensor, layout: Layout, config: PSAConfig) -> str:
    """Why these kernels multiply queries and keys in half precision, where `config.qk` is not
    "half"; "" if they do so on int8."""
    from . import tuning

    if reason := no_int8(q.device, layout.head_dim, q.dtype):
        return reason
    if config.qk == "auto" and tuning.measured_qk(q.device, layout.head_dim, q.dtype) != "int8":
        return "no measurement on this GPU says that int8 is faster"
    return ""


def unsupported(q: torch.Tensor, layout: Layout, config: PSAConfig) -> str:
    """Why the Triton kernels cannot serve this call; "" if they can."""
    if q.device.type != "cuda":
        return f"the tensors are on {q.device.type}, the Triton kernels need a CUDA or ROCm GPU"
    if q.dtype not in DTYPES:
        return f"the Triton kernels take float16, bfloat16 and float32, found {q.dtype}"
    if layout.head_dim > MOST_HEAD_DIM:
        return f"the Triton kernels take head dims up to {MOST_HEAD_DIM}, found {layout.head_dim}"
    if layout.k_blocks > MOST_KEY_BLOCKS:
        return (
            f"{layout.k_blocks} key blocks: the Triton kernels take up to {MOST_KEY_BLOCKS}; "
            "larger key blocks make fewer"
        )
    if layout.k_len > MOST_KEYS:
        return f"{layout.k_len} keys: the Triton kernels take up to {MOST_KEYS}"
    if too_old(**described(q.device)):
        return f"{torch.cuda.get_device_name(q.device)} is older than compute capability 8.0"
    return _no_triton()
