"""diffusers' context parallelism with PSA: the ranks are processes on the CPU.

diffusers asks torch for its accelerators, of which a CPU is none: that one answer is set here.
Everything else is diffusers' own, from `enable_parallelism` to the exchange between the ranks.
"""

import sys

import pytest
import torch

from psa_engines.core import deciding
from psa_engines.diffusers import apply_psa

diffusers = pytest.importorskip(
    "diffusers", reason="diffusers is not installed: pip install .[diffusers]"
)
if sys.platform != "linux" or torch.accelerator.is_available():
    reason = "the ranks are forks on the CPU; diffusers takes a GPU where there is one"
    pytest.skip(reason, allow_module_level=True)

import torch._dynamo  # noqa: E402 - diffusers imports it with the first exchange: once, not a rank
from diffusers.models._modeling_parallel import (  # noqa: E402
    ContextParallelInput,
    ContextParallelOutput,
)

from .ranks import run_ranks  # noqa: E402
from .small_diffusers import conditions, denoised, little, made, scheduler  # noqa: E402

HEADS, RANKS = 8, 4


# orders are kept over two steps, the first of them after a dense one
KEPT = {"grouping": "similar", "refresh": 2, "warmup_steps": 1}


def shared(model, plan=None, **how):
    torch.accelerator.device_count = lambda: 1
    torch.accelerator.current_accelerator = lambda: torch.device("cpu")
    model.set_attention_backend("native")  # another test's choice holds for the process
    how = how or {"ulysses_degree": torch.distributed.get_world_size()}
    model.enable_parallelism(config=diffusers.ContextParallelConfig(**how), cp_plan=plan)
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


def whole_and_kept(model):
    steps = scheduler()
    applied = apply_psa(model, little(**KEPT), scheduler=steps)
    calls, out = seen_in(lambda: denoised("wan", model, steps, branches=2))
    report = {name: applied.report().get(name) for name in ("calls", "density", "rank")}
    return {"calls": calls, "out": out, "report": report, "line": applied.summary()}


def test_ulysses_gives_each_rank_the_plan_of_its_heads(tmp_path):
    alone = whole_and_kept(made("wan", num_attention_heads=HEADS))
    results = run_ranks(
        RANKS, lambda rank: whole_and_kept(shared(made("wan", num_attention_heads=HEADS))),
        tmp_path / "ranks",
    )  # fmt: skip
    heads = HEADS // RANKS
    for rank, result in enumerate(results):
        mine = slice(rank * heads, (rank + 1) * heads)
        assert len(result["calls"]) == len(alone["calls"]) == 3 * 2 * 2
        for call, whole in zip(result["calls"], alone["calls"], strict=True):
            assert call["q"].shape[1:3] == (heads, 3 * 12 * 16)
            assert torch.equal(call["levels"], whole["levels"][:, mine])
            assert torch.equal(call["sums"][:, :6], whole["sums"][mine, :6])
            torch.testing.assert_close(call["out"], whole["out"][:, mine], rtol=1e-4, atol=1e-5)
        assert result["report"]["calls"] == {"sparse": 12, "dense": {"warm-up": 4}}
        assert result["report"]["rank"] == (rank, RANKS)
        assert result["line"].endswith(f"(heads of rank {rank}, one of {RANKS})")
        torch.testing.assert_close(result["out"], alone["out"], rtol=1e-4, atol=1e-5)
        assert torch.equal(result["out"], results[0]["out"])
    mean = sum(result["report"]["density"] for result in results) / RANKS
    assert mean == pytest.approx(alone["report"]["density"])


def once(model, x, steps, inputs):
    return model(hidden_states=x, timestep=steps.timesteps[:1], return_dict=False, **inputs)[0]


def odd(rank, size=(10, 14)):
    """Two ranks, 3 heads, 3 x 5 x 7 tokens: neither can be halved."""
    model, steps = made("wan", num_attention_heads=3), scheduler()
    if torch.distributed.is_initialized():
        shared(model, ulysses_degree=2, ulysses_anything=True)
    applied = apply_psa(model, little(), scheduler=steps)
    steps.set_timesteps(1)
    x, inputs = conditions("wan")
    x = x[..., : size[0], : size[1]]
    last = {}
    model.proj_out.register_forward_pre_hook(lambda module, args: last.update(last=args[0]))

    @torch.no_grad()
    def call():
        try:
            return once(model, x, steps, inputs)
        except RuntimeError as error:
            # after the last block: gloo, other than NCCL, gathers no parts of different sizes
            assert "invalid tensor size" in str(error)

    calls, out = seen_in(call)
    told = applied.report()["calls"]
    heads = [each["q"].shape[1] for each in calls]
    return {"heads": heads, "calls": told, "gathered": out is not None, **last}


def odd_heads(rank):
    return odd(rank, (10, 16))


def run_with(attention, model, applied, steps):
    real, deciding.psa_attention = deciding.psa_attention, attention
    out = denoised("wan", model, steps)
    deciding.psa_attention = real
    report = applied.report()
    return {name: report[name] for name in ("calls", "failure", "repeated")} | {"out": out}


def spoiling(rank):
    """Rank 1 gives NaN in the last block's call of the second step: no other call has a part in
    it, and rank 0 sees nothing of it itself."""
    real, asked = deciding.psa_attention, []

    def spoil(q, k, v, **more):
        out, stats = real(q, k, v, **more)
        asked.append(more["step"])
        return (out * float("nan") if rank == 1 and asked == [0, 0, 1, 1] else out), stats

    model, steps = shared(made("wan")), scheduler()
    return run_with(spoil, model, apply_psa(model, little(), scheduler=steps), steps)


def failing(rank):
    """PSA, put on before the model is shared out, fails on rank 1 in the second step."""
    real = deciding.psa_attention

    def fail(q, k, v, **more):
        return 1 / 0 if rank == 1 and more["step"] == 1 else real(q, k, v, **more)

    model, steps = made("wan"), scheduler()
    applied = apply_psa(model, little(), scheduler=steps)
    return run_with(fail, shared(model), applied, steps)


def learning(rank):
    model, steps = shared(made("wan").requires_grad_(True)), scheduler()
    applied = apply_psa(model, little(), scheduler=steps)
    steps.set_timesteps(1)
    x, inputs = conditions("wan")
    out = once(model, x, steps, inputs)
    return {"calls": applied.report()["calls"], "gradient": out.requires_grad}


def with_text(rank):
    """HunyuanVideo has its text in the sequence, and diffusers no plan for it; this is a user's."""
    model, steps = made("hunyuan"), scheduler()
    split, gather = ContextParallelInput, ContextParallelOutput
    shared(model, plan={
        "x_embedder": {0: split(1, expected_dims=3, split_output=True)},
        "context_embedder": {0: split(1, expected_dims=3, split_output=True)},
        "rope": {i: split(0, expected_dims=2, split_output=True) for i in range(2)},
        "proj_out": gather(1, expected_dims=3),
    })  # fmt: skip
    applied = apply_psa(model, little(), scheduler=steps)
    steps.set_timesteps(1)
    x, inputs = conditions("hunyuan")
    inputs["encoder_hidden_states"] = inputs["encoder_hidden_states"][:, :8]
    inputs["encoder_attention_mask"] = inputs["encoder_attention_mask"][:, :8]
    with torch.no_grad():
        once(model, x, steps, inputs)
    return {"calls": applied.report()["calls"]}


def refused(rank):
    """What is said, and when: before PSA is put on, or else by the first call."""

    def said(call):
        try:
            call()
        except ValueError as error:
            return str(error)
        return None

    three, ring = made("wan", num_attention_heads=3), shared(made("wan"), ring_degree=2)
    one = made("wan", num_attention_heads=1)
    shared(one, ulysses_degree=2, ulysses_anything=True)
    steps = scheduler()
    later = apply_psa(three, little(), scheduler=steps)
    shared(three)
    return {
        "ring": said(lambda: apply_psa(ring, little(), scheduler=steps)),
        "put on": "_psa_applied" in ring.__dict__,
        "heads": said(lambda: apply_psa(three, little(), scheduler=steps)),
        "one head": said(lambda: apply_psa(one, little(), scheduler=steps)),
        "first call": said(lambda: denoised("wan", three, steps)),
        "ran": later.report()["note"],
    }


CASES = (odd, odd_heads, spoiling, failing, learning, with_text, refused)
CASES = {case.__name__: case for case in CASES}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Every case of two ranks, {name: [what each gave]}."""
    folder = tmp_path_factory.mktemp("two") / "ranks"
    results = run_ranks(2, lambda rank: {n: case(rank) for n, case in CASES.items()}, folder)
    return {name: [result[name] for result in results] for name in CASES}


@pytest.mark.parametrize("name, size, gathered", [
    ("odd", (10, 14), False), ("odd_heads", (10, 16), True),
])  # fmt: skip
def test_heads_and_tokens_that_cannot_be_halved(name, size, gathered, two):
    alone, ranks = odd(0, size), two[name]
    assert [rank["heads"] for rank in ranks] == [[2, 2], [1, 1]]
    assert all(rank["gathered"] == gathered for rank in ranks)
    assert all(rank["calls"] == {"sparse": 2, "dense": {}} for rank in ranks)
    last = torch.cat([rank["last"] for rank in ranks], dim=1)
    torch.testing.assert_close(last, alone["last"], rtol=1e-4, atol=1e-5)


def test_a_rank_that_gives_nan_makes_all_call_the_model_again(two):
    model, steps = made("wan"), scheduler()
    apply_psa(model, little(steps={"25-100%": "dense"}), scheduler=steps)
    right = denoised("wan", model, steps)
    for rank in two["spoiling"]:
        assert rank["repeated"] == 1
        torch.testing.assert_close(rank["out"], right, rtol=1e-4, atol=1e-5)
    here, there = (rank["failure"] for rank in two["spoiling"])
    assert "another GPU: NaN or Inf" in here and "attention call 1" in there


def test_a_rank_that_fails_takes_the_others_along(two):
    for rank in two["failing"]:
        assert rank["repeated"] == 0 and torch.equal(rank["out"], two["failing"][0]["out"])
    here, there = two["failing"]
    assert "another GPU: see its log" in here["failure"] and "ZeroDivision" in there["failure"]
    # the step that it failed in went on here: heads are each rank's own
    assert here["calls"] == {"sparse": 4, "dense": {"PSA stepped aside": 4}}
    assert there["calls"] == {"sparse": 2, "dense": {"PSA stepped aside": 6}}


def test_gradients_are_the_models_own(two):
    for rank in two["learning"]:
        assert rank["calls"] == {"sparse": 0, "dense": {"gradients are asked for": 2}}
        assert rank["gradient"]


def test_text_that_is_shared_out_with_the_video_stays_dense(two):
    for rank in two["with_text"]:
        assert rank["calls"] == {"sparse": 0, "dense": {"unknown token layout": 3}}


def test_ring_attention_and_degrees_that_leave_heads_over_are_refused(two):
    for rank in two["refused"]:
        assert rank["ring"].startswith("ring_degree: found 2; ring attention")
        assert "Fix: ContextParallelConfig(ulysses_degree=" in rank["ring"] and not rank["put on"]
        wanted = "ulysses_degree: found 2, which does not divide the 3 attention heads of Wan"
        assert wanted in rank["heads"] and "Fix: one of 3, or ulysses_anything" in rank["heads"]
        assert "divide the 1 attention heads" in rank["one head"]
        assert not rank["one head"].endswith("ulysses_anything=True")
        assert rank["first call"] == rank["heads"] and rank["ran"] == "no run has begun"
