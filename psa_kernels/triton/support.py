"""Which calls these kernels can serve, and in what precision. Importing this needs no Triton."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache

import torch

from ..capability import Call, Limit, Precision
from . import versions
from .gpus import described, too_old

MOST_HEAD_DIM = 256
LEAST_INT8_DIM = 17  # stored as 32
MOST_KEYS = 2**31 // MOST_HEAD_DIM - 1  # offsets inside a head are int32
MOST_HEADS = 65535  # programs of a launch in its second and third direction
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


def _old_gpu(call: Call) -> str:
    """The name of a GPU that is too old."""
    old = too_old(**described(call.device))
    return torch.cuda.get_device_name(call.device) if old else ""


def _amd(call: Call) -> bool:
    return call.device.type == "cuda" and bool(torch.version.hip)


def _measured_qk(call: Call) -> str:
    from . import tuning

    return tuning.measured_qk(call.device, call.layout.head_dim, call.dtype)


def _measured_sums(call: Call) -> str:
    from . import tuning

    return tuning.measured_sums(call.device, call.layout.head_dim, call.dtype, call.config.qk)


def _faster(value: str, measured: Callable[[Call], str]) -> Limit:
    return Limit(
        "faster on this GPU", measured, one_of=(value,),
        reason="no measurement on this GPU says that {one_of} is faster",
    )  # fmt: skip


LIMITS = (
    Limit(
        "device", lambda call: call.device.type, one_of=("cuda",), needs="a CUDA or ROCm GPU",
        reason="the tensors are on {found}, the Triton kernels need a CUDA or ROCm GPU",
    ),
    Limit(
        "dtype", lambda call: call.dtype, one_of=DTYPES,
        reason="the Triton kernels take {one_of}, found {found}",
    ),
    Limit(
        "head dim", lambda call: call.layout.head_dim, most=MOST_HEAD_DIM,
        reason="the Triton kernels take head dims up to {most}, found {found}",
    ),
    Limit(
        "key blocks", lambda call: call.layout.k_blocks, most=MOST_KEY_BLOCKS,
        reason="{found} key blocks: the Triton kernels take up to {most}; larger key blocks make "
        "fewer",
    ),
    Limit(
        "batch x heads", lambda call: call.layout.batch * call.layout.heads, most=MOST_HEADS,
        reason="{found} heads in all elements of the batch: the Triton kernels take up to {most}",
    ),
    Limit(
        "keys", lambda call: call.layout.k_len, most=MOST_KEYS,
        reason="{found} keys: the Triton kernels take up to {most}",
    ),
    Limit(
        "GPU", _old_gpu, one_of=("",), needs="compute capability 8.0 or newer, or AMD",
        reason="{found} is older than compute capability 8.0",
    ),
    Limit(
        "Triton", lambda call: _no_triton(), one_of=("",), needs=f"{versions.OLDEST} or newer",
        reason="{found}",
    ),
    Limit(
        "gradients", lambda call: call.gradient, one_of=(False,), needs="none",
        reason="the Triton kernels have no backward pass",
    ),
)  # fmt: skip

AMD = Limit(
    "AMD GPUs", _amd, one_of=(False,), needs="not served",
    reason="on AMD GPUs it has not been tried",
)  # fmt: skip
INT8 = Precision(
    "qk", "int8", "half",
    limits=(
        Limit(
            "head dim", lambda call: call.layout.head_dim, least=LEAST_INT8_DIM,
            reason="heads of {found} channels are shorter than an int8 product's 32",
        ),
        AMD,
    ),
    measured=(_faster("int8", _measured_qk),),
)  # fmt: skip
FLOAT16_SUMS = Precision(
    "value_sums", "float16", "float32",
    limits=(
        Limit(
            "dtype", lambda call: call.dtype, one_of=(torch.float16, torch.bfloat16),
            reason="inputs of {found} are multiplied as such",
        ),
        AMD,
    ),
    measured=(_faster("float16", _measured_sums),),
)  # fmt: skip
PRECISIONS = (INT8, FLOAT16_SUMS)
