"""The kernels on a GPU: agreement with the reference, determinism, size, graphs, compilers."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from psa_kernels import OrderState, PSAAttention, PSAConfig, psa_attention
from psa_kernels.layout import Layout

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("every_head_clustered")]

RATIOS = {1: (0, 0.1), 2: (0.1, 0.2), 4: (0.2, 0.3), 8: (0.3, 0.5), 0: (0.5, 1)}
GRID = (5, 18, 22)
CONFIGS = {
    "topk": PSAConfig(block_n=128, rearrange_method="Gilbert", mask_ratios=RATIOS),
    "tail, second moment": PSAConfig(
        block_n=64, tail=32, second_moment=True, rearrange_method="STA", mask_ratios=RATIOS
    ),
    "threshold": PSAConfig(block_n=32, block_m=64, mask_mode="thresholdbound", mask_ratios=RATIOS),
    "similarity": PSAConfig(
        attn_impl="old_mask_type", block_n=128, use_sim_mask=True, tail=128, mask_ratios=RATIOS
    ),
    "semantic": PSAConfig(rearrange_method="SemanticAware", tail=64, mask_ratios=RATIOS),
    "like keys together": PSAConfig(
        block_n=128,
        tail=32,
        second_moment=True,
        rearrange_method="Gilbert",
        mask_ratios=RATIOS,
        grouping="similar",
    ),
}
CONFIGS["one level pooled"] = CONFIGS["like keys together"].replace(
    mask_ratios={1: (0, 0.1), 8: (0.1, 0.3), 0: (0.3, 1)}, tail=128
)
# name -> configuration, channels of a head
CALLS = {name: (config, 64) for name, config in CONFIGS.items()}
# which Hopper GPUs have a kernel of their own for
CALLS["long heads"] = CONFIGS["like keys together"], 128
CALLS["long heads, one level pooled, int8"] = CONFIGS["one level pooled"].replace(qk="int8"), 128
CALLS["long heads in int8"] = CONFIGS["like keys together"].replace(qk="int8"), 128
every_call = pytest.mark.parametrize(("config", "dim"), CALLS.values(), ids=CALLS)


def some_calls(*names):
    return pytest.mark.parametrize(("config", "dim"), [CALLS[name] for name in names], ids=names)


def tensors(heads=4, kv_heads=2, length=5 * 18 * 22 + 40, dim=64, dtype=torch.bfloat16, seed=0):
    rng = torch.Generator("cuda").manual_seed(seed)
    return [
        torch.randn(2, length, h, dim, device="cuda", dtype=dtype, generator=rng).transpose(1, 2)
        for h in (heads, kv_heads, kv_heads)
    ]


def call(q, k, v, config, **keywords):
    return psa_attention(q, k, v, config=config, grid=GRID, extra_tokens=(30, 10), **keywords)


def test_random_configurations_agree_with_the_reference(request):
    """Compiling takes the time, some 10 s a configuration on one core."""
    processes = min(8, os.cpu_count() or 1)
    count = request.config.getoption("--random-configurations") or 6 * processes
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("sweep.py"), "0", str(count), str(processes)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.strip().endswith("all good")


def test_lists_of_spoiled_rows_stay_within_bounds():
    from .check import check_spoiled

    check_spoiled("cuda")


def test_lists_of_long_rows_and_of_ties():
    from .check_lists import check_long_rows

    check_long_rows("cuda")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float16_sums_of_any_values(dtype):
    from . import check_sums

    check_sums.check_values("cuda", dtype)
    check_sums.check_huge_logits("cuda", dtype)


def test_groups_of_spoiled_tokens_stay_within_their_blocks():
    from .check import check_spoiled_groups

    check_spoiled_groups("cuda")


@pytest.mark.parametrize("dim", [64, 128, 256])
def test_second_moments_do_not_cancel(dim):
    from .check_spread import check_spread

    check_spread("cuda", dim)


@pytest.mark.parametrize("dim", [64, 128])
def test_channels_as_far_apart_as_strides_can_say(dim):
    from .check_strides import check_far_channels

    check_far_channels("cuda", torch.bfloat16, dim)


@every_call
def test_the_kernels_serve_the_call_and_repeat_it_bit_for_bit(config, dim):
    q, k, v = tensors(dim=dim)
    out, stats = call(q, k, v, config, return_stats=True)
    assert stats.implementation == "triton", stats.reason
    assert stats.reason == ""
    for _ in range(3):
        torch.randn(10_000_000, device="cuda")  # other memory is reused in between
        assert torch.equal(call(q, k, v, config), out)


@every_call
def test_the_result_is_what_a_model_reads_next_without_a_copy(config, dim):
    q, k, v = tensors(dim=dim)
    out = call(q, k, v, config)
    flat = out.transpose(1, 2).flatten(2)
    assert flat.data_ptr() == out.data_ptr()
    assert flat.shape == (2, q.shape[2], 4 * dim)


@every_call
def test_a_call_and_its_tally_never_wait_for_the_gpu(config, dim):
    q, k, v = tensors(dim=dim)
    _, stats = call(q, k, v, config, return_stats=True)  # token orders are made, and copied, once
    wanted = stats.tally.tolist()
    torch.cuda.set_sync_debug_mode("error")
    try:
        _, stats = call(q, k, v, config, return_stats=True)
        tally, mass = stats.tally, stats.head_mass
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert tally.tolist() == wanted
    torch.testing.assert_close(mass.sum(1), torch.ones_like(mass[:, 0]))


def test_a_causal_call_never_waits_for_the_gpu():
    q, k, v = tensors()
    config = CONFIGS["similarity"].replace(use_sim_mask=False)
    psa_attention(q, k, v, config=config, causal=True)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        psa_attention(q, k, v, config=config, causal=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif("torch.cuda.device_count() < 2", reason="needs two GPUs")
@every_call
def test_a_call_on_a_gpu_that_is_not_the_current_one(config, dim):
    """What the host's side does then is in test_around.py as well, which needs no GPU."""
    q, k, v = tensors(dim=dim)
    expected = call(q, k, v, config)
    out = call(*(x.to("cuda:1") for x in (q, k, v)), config)
    assert out.device.index == 1 and torch.cuda.current_device() == 0
    if torch.cuda.get_device_name(0) == torch.cuda.get_device_name(1):
        assert torch.equal(out.to("cuda:0"), expected)


@some_calls(
    "topk", "tail, second moment", "threshold", "similarity", "semantic", "like keys together",
    "long heads", "long heads in int8",
)  # fmt: skip
def test_a_cuda_graph_replays_a_call_on_new_values(config, dim):
    q, k, v = tensors(dim=dim)
    call(q, k, v, config)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = call(q, k, v, config)
    for x, new in zip((q, k, v), tensors(dim=dim, seed=1), strict=True):
        x.copy_(new)
    graph.replay()
    assert torch.equal(out, call(q, k, v, config))


def test_a_captured_call_keeps_and_reads_nothing():
    """A graph would replay the groups and the plan of the step in which it was captured."""
    config = CONFIGS["like keys together"].replace(refresh=100)
    q, k, v = tensors()
    state = OrderState()
    for step in range(2):
        call(q, k, v, config, state=state, step=step)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = call(q, k, v, config, state=state, step=2)
    for x, new in zip((q, k, v), tensors(seed=1), strict=True):
        x.copy_(new)
    graph.replay()
    assert torch.equal(out, call(q, k, v, config))


@pytest.mark.parametrize("groups", [False, True], ids=["whole", "groups of heads"])
def test_kept_groups_and_plans_serve_later_steps(groups, monkeypatch):
    """Unchanged inputs must give unchanged bits, made anew or not."""
    from psa_kernels.triton import memory

    if groups:
        monkeypatch.setattr(memory, "SMALL", 0)
        monkeypatch.setattr(memory, "MOST_SHARE", 0.5)
    config = CONFIGS["like keys together"]
    q, k, v = tensors()
    state, expected = OrderState(), call(q, k, v, config)
    for step in range(6):
        assert torch.equal(call(q, k, v, config, state=state, step=step), expected)


@some_calls("topk", "tail, second moment", "like keys together", "long heads in int8")
def test_torch_compile_takes_a_call_whole(config, dim):
    psa = PSAAttention(config)

    def layer(q, k, v):
        return psa(q * 2, k, v, grid=GRID, extra_tokens=(30, 10)).transpose(1, 2).flatten(2) + 1

    q, k, v = tensors(dim=dim)
    compiled = torch.compile(layer, fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v), layer(q, k, v), rtol=0, atol=0)


@every_call
def test_groups_of_heads_give_the_same_bits(config, dim, monkeypatch):
    from psa_kernels.triton import memory

    q, k, v = tensors(dim=dim)
    together = call(q, k, v, config)
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "MOST_SHARE", 0.5)
    out, stats = call(q, k, v, config, return_stats=True)
    assert len(stats.plan.parts) == 2
    assert torch.equal(out, together)


def test_logits_within_and_beyond_the_bound_agree_with_dense_attention():
    """The first queries are so long that they need a running maximum, the others are not."""
    q, k, v = tensors()
    q[:, :, : q.shape[2] // 2] *= 20
    config = PSAConfig(block_n=128, use_rearrange=False, mask_ratios={1: (0, 1)})
    out = psa_attention(q, k, v, config=config).float()
    k, v = (x.float().repeat_interleave(2, 1) for x in (k, v))
    wanted = torch.nn.functional.scaled_dot_product_attention(q.float(), k, v)
    for found, dense in zip(out.chunk(2, 2), wanted.chunk(2, 2), strict=True):
        assert (found - dense).norm() <= 3 * 2**-8 * dense.norm()


@pytest.mark.parametrize(
    "ratios",
    [
        {1: (0, 0.1), 8: (0.1, 0.3), 0: (0.3, 1)},
        {1: (0, 0.1), 2: (0.1, 0.2), 4: (0.2, 0.4), 8: (0.4, 1)},
    ],
    ids=["level 8", "every level"],
)
def test_extra_memory_stays_below_the_stated_share_of_k_and_v(ratios):
    q, k, v = (
        torch.randn(1, 20_000, 8, 128, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
        for _ in range(3)
    )
    config = PSAConfig(
        block_n=128,
        tail=64,
        second_moment=True,
        mask_ratios=ratios,
    )
    out = psa_attention(q, k, v, config=config)
    del out
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = psa_attention(q, k, v, config=config)
    extra = torch.cuda.max_memory_allocated() - before - out.numel() * out.element_size()
    assert extra <= 1.3 * 2 * k.numel() * k.element_size()


@dataclasses.dataclass
class LastHead:
    """The plan of one head of a call."""

    found: torch.Tensor

    def levels(self):
        return self.found


@pytest.mark.parametrize("fused", [True, False], ids=["strides", "buffers"])
def test_past_two_to_the_31_elements(fused):
    """fused: q, k, v lie in one such tensor. Else each of them, and the buffers, have as many."""
    from .check import rounded_attend

    if torch.cuda.get_device_properties(0).total_memory < 70 * 2**30:
        pytest.skip("needs 70 GiB of GPU memory")
    heads, dim = 40, 128
    length = 145_000 if fused else 430_000
    config = PSAConfig(
        block_n=128,
        tail=128,
        second_moment=True,
        mask_ratios={1: (0, 0.004), 8: (0.004, 0.01), 0: (0.01, 1)},
    )
    rng = torch.Generator("cuda").manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16, generator=rng)

    if fused:
        q, k, v = random(1, length, 3, heads, dim).transpose(1, 3).unbind(2)
        assert 3 * length * heads * dim > 2**31
    else:
        q, k, v = (random(1, length, heads, dim).transpose(1, 2) for _ in range(3))
        assert q.numel() > 2**31
    out, stats = psa_attention(q, k, v, config=config, return_stats=True)
    layout = Layout.of(q, k, v, config)
    from psa_kernels import reference
    from psa_kernels.stages import Orders

    last = slice(heads - 1, heads)
    small = dataclasses.replace(layout, heads=1, kv_heads=1)
    exact = reference.build_pyramid(k[:, last].float(), v[:, last].float(), Orders(), small, config)
    plan = LastHead(stats.levels[:, last])
    wanted = rounded_attend(q[:, last], exact, plan, Orders(), small, config, dim**-0.5)
    found = out[:, last].float()
    assert (found - wanted).norm() <= 3 * 2**-8 * wanted.norm()
