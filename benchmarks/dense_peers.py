"""Dense attention: torch's backends and FlashAttention-3."""

from __future__ import annotations

import importlib

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from .method import Method, Problem, Unavailable

EXACT = 0.01  # rel-L2 that rounding of bf16 inputs and probabilities stays well below
QUANTISED = 0.1

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def dense_methods() -> list[Method]:
    methods = [Method(f"SDPA {name}", "dense", _sdpa(name), EXACT) for name in BACKENDS]
    methods.append(Method("FlashAttention-3", "dense", _flash_3, EXACT))
    methods.append(
        Method("FlashAttention-3 fp8", "low precision", _flash_3_fp8, QUANTISED,
               note="quantisation not timed")
    )  # fmt: skip
    return methods


def _sdpa(name: str):
    def prepare(problem: Problem):
        q, k, v = problem.q, problem.k, problem.v
        if name == "math" and q.is_cuda:
            # float32 scores, their softmax and a half-precision copy of it
            needed = q.shape[1] * q.shape[2] * k.shape[2] * 10
            free = torch.cuda.mem_get_info()[0]
            if needed > 0.8 * free:
                raise Unavailable(f"its score matrices need {needed / 2**30:.0f} GiB")
        if name in ("cuDNN", "efficient") and not q.is_cuda:
            raise Unavailable("needs a GPU")

        def run():
            with sdpa_kernel([BACKENDS[name]]):
                return torch.nn.functional.scaled_dot_product_attention(q, k, v)

        return run

    return prepare


def flash_3_module():
    """The wheel `fa3-fwd`, or FlashAttention's own Hopper build."""
    if not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 9:
        raise Unavailable("needs a Hopper GPU")
    for name in ("fa3_fwd_interface", "flash_attn_interface"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            raise Unavailable(f"{name} does not import: {error}") from error
    raise Unavailable("fa3-fwd is not installed")


def _flash_3(problem: Problem):
    attend = flash_3_module().flash_attn_func
    q, k, v = (x.transpose(1, 2) for x in (problem.q, problem.k, problem.v))
    return lambda: _first(attend(q, k, v)).transpose(1, 2)


def _flash_3_fp8(problem: Problem):
    attend = flash_3_module().flash_attn_func
    largest = torch.finfo(torch.float8_e4m3fn).max
    tensors, scales = [], []
    for x in (problem.q, problem.k, problem.v):
        scale = x.abs().amax(dim=(2, 3)).float() / largest  # [1, H]
        rounded = (x.float() / scale[..., None, None]).to(torch.float8_e4m3fn)
        tensors.append(rounded.transpose(1, 2).contiguous())
        scales.append(scale)
    names = ("q_descale", "k_descale", "v_descale")
    descale = dict(zip(names, scales, strict=True))
    return lambda: _first(attend(*tensors, **descale)).transpose(1, 2)


def _first(result):
    # some builds also return the log-sum-exp
    return result[0] if isinstance(result, tuple | list) else result
