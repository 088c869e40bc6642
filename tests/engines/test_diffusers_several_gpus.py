"""diffusers' context parallelism with PSA: the ranks are processes on the CPU.

diffusers asks torch for its accelerators, of which a CPU is none: that one answer is set here.
Everything else is diffusers' own, from `enable_parallelism` to the exchange between the ranks.
"""

import sys

import pytest
import torch

from psa_engines.core import deciding
from psa_engines.diffusers import apply_psa
from psa_kernels import PSAConfig

diffusers = pytest.importorskip(
    "diffusers", reason="diffusers is not installed: pip install .[diffusers]"
)
if sys.platform != "linux":
    pytest.skip("ranks are forked, with gloo", allow_module_level=True)

import torch._dynamo  # noqa: E402 - diffusers imports it with the first exchange: once, not a rank
from diffusers.hooks import context_parallel  # noqa: E402, F401

from .ranks import run_ranks  # noqa: E402
from .small_diffusers import conditions, denoised, made, scheduler  # noqa: E402

LITTLE = {1: (0.0, 0.3), 4: (0.3, 0.6), 0: (0.6, 1.0)}
HEADS = 4


def settings(**more):
    return PSAConfig(mask_ratios=LITTLE, block_m=64, block_n=64, **more)


# orders are kept over two steps, the first of them after a dense one
KEPT = {"grouping": "similar", "refresh": 2, "warmup_steps": 1}


def shared(model, **how):
    torch.accelerator.device_count = lambda: 1
    torch.accelerator.current_accelerator = lambda: torch.device("cpu")
    how = how or {"ulysses_degree": torch.distributed.get_world_size()}
    model.enable_parallelism(config=diffusers.ContextParallelConfig(**how))
    return model


def seen_in(run):
    """What every sparse call of `run()` was asked and planned, and what the run gave."""
    calls, real = [], deciding.psa_attention

    def spy(q, k, v, **more):
        out, stats = real(q, k, v, **more)
        calls.append({"q": q, "levels": stats.levels, "sums": stats.sums, "out": out})
        return out, stats

    deciding.psa_attention = spy
    try:
        return calls, run()
    finally:
        deciding.psa_attention = real


def whole_and_kept(model, name="wan", config=None):
    steps = scheduler()
    applied = apply_psa(model, config or settings(**KEPT), scheduler=steps)
    calls, out = seen_in(lambda: denoised(name, model, steps, branches=2))
    return {"calls": calls, "out": out, "report": applied.report(), "line": applied.summary()}


def plain(result):
    """What can go from rank to test: a report's figures, no objects."""
    report = {name: result["report"][name] for name in ("calls", "density", "failure", "rank")}
    return {**result, "report": report}


@pytest.fixture(scope="module")
def alone():
    return whole_and_kept(made("wan", num_attention_heads=HEADS))


@pytest.mark.parametrize("of", [2, 4])
def test_ulysses_gives_each_rank_the_plan_of_its_heads(of, alone, tmp_path):
    results = run_ranks(
        of, lambda rank: plain(whole_and_kept(shared(made("wan", num_attention_heads=HEADS)))),
        tmp_path / "ranks",
    )  # fmt: skip
    heads = HEADS // of
    for rank, result in enumerate(results):
        mine = slice(rank * heads, (rank + 1) * heads)
        assert len(result["calls"]) == len(alone["calls"]) == 3 * 2 * 2
        for call, whole in zip(result["calls"], alone["calls"], strict=True):
            assert call["q"].shape[1:3] == (heads, 3 * 12 * 16)
            assert torch.equal(call["levels"], whole["levels"][:, mine])
            assert torch.equal(call["sums"][:, :6], whole["sums"][mine, :6])
            torch.testing.assert_close(call["out"], whole["out"][:, mine], rtol=1e-4, atol=1e-5)
        assert result["report"]["calls"] == {"sparse": 12, "dense": {"warm-up": 4}}
        assert result["report"]["rank"] == (rank, of)
        assert result["line"].endswith(f"(heads of rank {rank}, one of {of})")
        torch.testing.assert_close(result["out"], alone["out"], rtol=1e-4, atol=1e-5)
        assert torch.equal(result["out"], results[0]["out"])
    mean = sum(result["report"]["density"] for result in results) / of
    assert mean == pytest.approx(alone["report"]["density"])
