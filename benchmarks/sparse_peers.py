"""Sparse and quantised attention of other projects, where it is installed."""

from __future__ import annotations

import importlib
import os
import sys
from functools import lru_cache, partial

import torch

from psa_kernels import PSAConfig

from .block_mass import estimated
from .dense_peers import QUANTISED
from .method import Method, Problem, Unavailable

BOTH = ("caller", "curve")
BLOCK = 128
ANY_SPARSE = 0.6  # a peer's own error is its own business; this only catches garbage
# the settings that the paper's authors ship: their own defaults, and the presets of two models
UPSTREAM = {
    "default settings": {},
    "Wan2.1-14B preset": {
        "block_n": 128,
        "mask_mode": "thresholdbound",
        "mask_ratios": {1: (0, 0.4), 2: (0.4, 0.5), 4: (0.5, 0.6), 8: (0.6, 0.8), 0: (0.8, 1.0)},
    },
    "4-step preset": {
        "block_n": 128,
        "attn_impl": "old_mask_type",
        "mask_ratios": {
            1: (0, 0.05), 2: (0.05, 0.15), 4: (0.15, 0.25), 8: (0.25, 0.5), 0: (0.5, 1.0)
        },
    },
}  # fmt: skip


def find_peers() -> None:
    """Makes what lies in the folders that PEERS names importable."""
    for folder in filter(None, os.environ.get("PEERS", "").split(os.pathsep)):
        # last: a peer's dependencies must not hide the torch in use
        sys.path.append(folder)


def sparse_methods() -> list[Method]:
    methods = []
    # tau 1.3 with 256 tokens on top: as ComfyUI's own node calls it
    for tau, added in ((1.0, 0), (1.3, 256), (1.5, 0), (2.0, 0)):
        name = f"comfy-kitchen sol_attn tau {tau}" + f", token_aug {added}" * (added > 0)
        methods.append(Method(name, "sparse", _sol(tau=tau, token_aug=added), ANY_SPARSE,
                              orders=BOTH, head_dims=(128,)))  # fmt: skip
    methods.append(Method("comfy-kitchen int8", "low precision", _kitchen_int8, QUANTISED))
    methods.append(Method("SageAttention", "low precision", _sage, QUANTISED))
    for top in (0.1, 0.2):
        methods.append(Method(f"h3-sparse-attn top {top:g}", "sparse", _h3(top), ANY_SPARSE,
                              partial(_h3_density, top), BOTH, (128,),
                              note="contiguous copies of the inputs not timed"))  # fmt: skip
    for top in (0.2, 0.5):
        methods.append(Method(f"SpargeAttn top {top:g}", "sparse", _sparge(top), ANY_SPARSE,
                              partial(_sparge_density, top), BOTH))  # fmt: skip
    for name, setting in UPSTREAM.items():
        methods.append(Method(f"upstream PSA, {name}", "sparse", _upstream(setting), ANY_SPARSE,
                              orders=BOTH))  # fmt: skip
    for top in (0.1, 0.2):
        methods.append(Method(f"FlexAttention top {top:g} of 128-blocks", "sparse", _flex(top),
                              ANY_SPARSE, partial(_flex_density, top), BOTH,
                              note="PSA's ranking of blocks, nothing pooled; the choice of blocks "
                              "is not timed"))  # fmt: skip
    return methods


def _module(name: str, package: str):
    if not torch.cuda.is_available():
        raise Unavailable("needs a GPU")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if missing.split(".")[0] == name.split(".")[0]:
            raise Unavailable(f"{package} is not installed") from error
        raise Unavailable(f"{package} needs the module {missing}") from error
    except Exception as error:  # a wheel for another torch or GPU can raise anything
        raise Unavailable(f"{package} does not import: {_short(error)}") from error


def _function(module: str, function: str, package: str):
    found = getattr(_module(module, package), function, None)
    if found is None:
        raise Unavailable(f"this version of {package} has no {function}")
    return found


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]


def _sol(**setting):
    def prepare(problem: Problem):
        attend = kitchen("sol_attn")
        q, k, v = (x.transpose(1, 2) for x in (problem.q, problem.k, problem.v))
        return lambda: attend(q, k, v, **setting).transpose(1, 2)

    return prepare


def _kitchen_int8(problem: Problem):
    attend = kitchen("int8_attention")
    return lambda: attend(problem.q, problem.k, problem.v)


def kitchen(function: str):
    attend = _function("comfy_kitchen", function, "comfy-kitchen")
    # without its compiled kernels it would quietly run something slow
    if not _function("comfy_kitchen", f"{function}_is_available", "comfy-kitchen")():
        raise Unavailable("comfy-kitchen has no kernels for this GPU")
    return attend


def _sage(problem: Problem):
    attend = _function("sageattention", "sageattn", "sageattention")
    # some versions subtract the mean from k in place
    k = problem.k.clone()
    return lambda: attend(problem.q, k, problem.v, tensor_layout="HND", is_causal=False)


def _h3(top: float):
    def prepare(problem: Problem):
        attend = _function("h3_sparse_attn.triton_attn", "sparse_attention", "h3-sparse-attn")
        q, k, v = (x.transpose(1, 2).contiguous() for x in (problem.q, problem.k, problem.v))
        count = _top_blocks(problem, top)
        return lambda: attend(q, k, v, count).transpose(1, 2)

    return prepare


def _h3_density(top: float, problem: Problem) -> float:
    share = _top_blocks(problem, top) / -(-problem.k.shape[2] // BLOCK)
    return share + (1 - share) / BLOCK  # the rest is one mean key a block


def _top_blocks(problem: Problem, top: float) -> int:
    return max(1, round(top * -(-problem.k.shape[2] // BLOCK)))


def _upstream(setting: dict):
    def prepare(problem: Problem):
        name, package = "psa_triton.attention", "upstream's psa_triton"
        make, settings = (_function(name, x, package) for x in ("PSAAttention", "PSAConfig"))
        attend = make(settings(**setting))

        @torch.no_grad()
        def run() -> torch.Tensor:
            return attend(problem.q, problem.k, problem.v)

        return run

    return prepare


def _sparge(top: float):
    def prepare(problem: Problem):
        attend = _sparge_function()
        return lambda: attend(problem.q, problem.k, problem.v, topk=top, is_causal=False)

    return prepare


def _sparge_density(top: float, problem: Problem) -> float:
    q, k, v = problem.q, problem.k, problem.v
    found = _sparge_function()(q, k, v, topk=top, is_causal=False, return_sparsity=True)
    return 1.0 - float(found[1])


def _sparge_function():
    return _function("spas_sage_attn", "spas_sage2_attn_meansim_topk_cuda", "spas_sage_attn")


def _flex(top: float):
    def prepare(problem: Problem):
        if not problem.q.is_cuda:
            raise Unavailable("needs a GPU")
        from torch.nn.attention.flex_attention import BlockMask

        length = problem.k.shape[2]
        kept = _kept(problem, top)
        ranks = torch.argsort(~kept, dim=-1, stable=True).to(torch.int32).contiguous()
        counts = kept.sum(-1, dtype=torch.int32)
        mask = BlockMask.from_kv_blocks(
            torch.zeros_like(counts), torch.zeros_like(ranks), counts, ranks,
            BLOCK_SIZE=BLOCK, seq_lengths=(length, length),
        )  # fmt: skip
        attend = _compiled_flex()
        return lambda: attend(problem.q, problem.k, problem.v, block_mask=mask)

    return prepare


@lru_cache(maxsize=1)
def _compiled_flex():
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def _flex_density(top: float, problem: Problem) -> float:
    return _top_blocks(problem, top) / -(-problem.k.shape[2] // BLOCK)


def _kept(problem: Problem, top: float) -> torch.Tensor:
    """bool `[1, H, blocks, blocks]`: the most important blocks of each row.

    Blocks are cut over the whole sequence, text included.
    """
    config = PSAConfig(block_m=BLOCK, block_n=BLOCK)
    mass, _ = estimated(problem.q, problem.k, config)
    best = mass.topk(_top_blocks(problem, top), dim=-1).indices
    return torch.zeros(mass.shape, dtype=torch.bool, device=mass.device).scatter_(-1, best, True)
