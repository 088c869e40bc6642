"""What surrounds the kernels' launches, on a GPU that need not be there and is not the current one.

Fake tensors say they are on it and hold no numbers: to ask one for its number, as what waits for a
GPU does, is an error. Kernels are not launched; what they would be given is looked at.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from psa_kernels import OrderState, PSAConfig, measured, psa_attention
from psa_kernels.implementations import TRITON
from psa_kernels.measured import entries
from psa_kernels.reference.orders import order_on, static_order
from psa_kernels.triton.descriptors import has_tma
from psa_kernels.triton.gpus import described
from psa_kernels.triton.tuning import architecture

from ...registered import registered
from ..poison import unpoisoned
from .test_gpu import CONFIGS, GRID

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="Triton is not installed, or interprets",
)

GPU, OTHER = torch.device("cuda", 0), torch.device("cuda", 1)


class Crossings(TorchDispatchMode):
    """Operations between a GPU and the host."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        if len({x.device for x in tensors}) > 1:
            self.found.append(str(func))
        return out


def forget():
    """What is kept of a device: token orders, which are fake ones here, and what it is."""
    from psa_kernels.triton import attention, pyramid

    measured.forget()
    for kept in (
        static_order, order_on, described, has_tma, architecture, attention._launch_of,
        pyramid._launch_of,
    ):  # fmt: skip
        kept.cache_clear()


@pytest.fixture
def launches(monkeypatch):
    """(kernel, the current GPU, those of its arguments) of each launch."""
    from triton.runtime.jit import JITFunction

    current, found = [OTHER], []

    class Device(torch.cuda.device):  # a type, since torch asks what is an instance of it
        def __enter__(self):
            current.append(torch.device("cuda", self.idx))

        def __exit__(self, *_):
            current.pop()

    def run(kernel, *args, **_):
        found.append((
            kernel.fn.__name__, current[-1],
            {x.device for x in args if isinstance(x, torch.Tensor)},
        ))  # fmt: skip

    def capturing():
        # of the current GPU's stream
        found.append(("capturing", current[-1], {GPU}))
        return False

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", capturing)
    monkeypatch.setattr(JITFunction, "run", run)
    # also where there is a GPU: it may be of another kind, and the only one
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(entries, "machine_of", lambda device: None)  # nothing was measured on it
    forget()
    yield found
    forget()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_call_stays_on_its_gpu_and_waits_for_nothing(launches, config):
    state = OrderState()
    with FakeTensorMode():
        q, k, v = (
            torch.empty(2, 5 * 18 * 22 + 40, heads, 64, device=GPU, dtype=torch.float16)
            .transpose(1, 2) for heads in (4, 2, 2)
        )  # fmt: skip
        for first in (True, False):
            with Crossings() as crossings:
                out, stats = psa_attention(
                    q, k, v, config=config, grid=GRID, extra_tokens=(30, 10), return_stats=True,
                    state=state,
                )  # fmt: skip
                results = out, stats.tally, stats.head_mass
            assert {x.device for x in results} == {GPU} and out.shape == q.shape
            # a model reads the heads of a token together: it needs no copy
            assert out.transpose(1, 2).is_contiguous()
            # a token order is copied there once
            assert first or not crossings.found
    assert stats.implementation == "triton"
    names = {name for name, *_ in launches}
    assert names >= {"pool_kernel", "levels_kernel", "attend_kernel"}
    assert config.grouping == "order" or names >= {"power_kernel", "bisect_kernel", "capturing"}
    assert {(current, *devices) for _, current, devices in launches} == {(GPU, GPU)}


@pytest.mark.parametrize(("qk", "most_frames", "most_operations"), [
    ("half", 62, 10), ("int8", 69, 16),
])  # fmt: skip
def test_where_plans_are_kept_a_call_asks_little_of_python(
    monkeypatch, qk, most_frames, most_operations
):
    """On the CPU, whose tensors cost no frames; launches do nothing."""
    from triton.runtime.jit import JITFunction

    monkeypatch.setattr(JITFunction, "__getitem__", lambda kernel, grid: lambda *_, **__: None)
    config = PSAConfig(
        block_n=128, tail=64, second_moment=True, rearrange_method="Gilbert", grouping="similar",
        refresh=9, mask_ratios={1: (0, 0.1), 8: (0.1, 0.4), 0: (0.4, 1)}, qk=qk,
    )  # fmt: skip
    q, k, v = (torch.randn(1, 2, 2048, 64) for _ in range(3))
    state, frames, operations = OrderState(), [], []

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is not torch.ops.aten.detach.default:
                operations.append(func)
            return func(*args, **(kwargs or {}))

    def call():
        return psa_attention(
            q, k, v, config=config, grid=(4, 16, 32), state=state, return_stats=True
        )  # fmt: skip

    with registered(replace(TRITON, limits=())), unpoisoned():
        for _ in range(3):
            call()
        gc.disable()  # what other tests left behind may be ended by frames of its own
        sys.setprofile(lambda frame, event, _: event == "call" and frames.append(frame.f_code))
        try:
            _, stats = call()
        finally:
            sys.setprofile(None)
            gc.enable()
        with Operations():
            call()
    assert stats.implementation == "triton" and not stats.reason
    assert len(frames) <= most_frames, [frame.co_name for frame in frames]
    assert len(operations) <= most_operations, operations
