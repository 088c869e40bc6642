"""The core under a host of a few lines."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from psa_engines.core.attention_call import AttentionCall
from psa_engines.core.deciding import Asked, AttentionCalls
from psa_engines.core.host import Host
from psa_engines.core.preset_value import PresetValue
from psa_engines.core.run import Run
from psa_engines.core.schedule import plan_whole
from psa_engines.core.token_grid import TokenGrid
from psa_kernels import PSAConfig
from psa_kernels.config import StepRanges

GRID = TokenGrid((3, 8, 8), (1, 2, 2), before=5, after=7)
EVERYTHING = {1: (0.0, 1.0)}


class Call(Asked):
    def __init__(self, causal=False, error=None):
        generator = torch.Generator().manual_seed(0)
        self.q, self.k, self.v = torch.randn((3, 1, 2, GRID.length, 32), generator=generator)
        self.causal, self.error, self.device = causal, error, self.q.device

    def read(self):
        if self.error:
            raise self.error
        return AttentionCall(self.q, self.k, self.v, causal=self.causal)

    def dense(self):
        return F.scaled_dot_product_attention(self.q, self.k, self.v, is_causal=self.causal)


def run_of(config, steps=(1.0,), **more):
    return Run(PresetValue(config), plan_whole(steps, config.warmup_steps, config.steps), **more)


def test_a_causal_prefill_of_one_step_is_served():
    config = PSAConfig(
        mask_ratios=EVERYTHING, attn_impl="old_mask_type", block_n=128, use_rearrange=False,
        warmup_steps=0,
    )  # fmt: skip
    run, call = run_of(config), Call(causal=True)
    out = AttentionCalls(run, GRID, 0, "prompt").attend(call)
    torch.testing.assert_close(out, call.dense(), rtol=1e-4, atol=1e-4)
    report, _ = run.finish(None)
    assert report["calls"] == {"sparse": 1, "dense": {}} and report["failure"] is None


def test_the_plan_of_a_whole_schedule():
    plan = plan_whole([9.0, 5.0, 2.0, 1.0], 1, StepRanges())
    assert plan.describe() == "4 steps: 1 dense (warm-up), 2-4 sparse"
    assert [step.place for step in plan.steps] == [0.0, 0.25, 0.5, 0.75]
    assert plan_whole([], 1, StepRanges()).describe() == "0 steps"


class Stop(Exception):  # noqa: N818
    pass


def test_a_host_says_what_stops_a_run_and_how_memory_comes_back():
    emptied = []
    host = Host((Stop,), lambda: emptied.append(1), "the host's test")
    run = run_of(PSAConfig(warmup_steps=0), host=host)
    calls = AttentionCalls(run, GRID, 0, "key")
    with pytest.raises(Stop):
        calls.attend(Call(error=Stop()))
    assert run.failure is None and not emptied
    call = Call(error=OSError("no"))
    assert torch.equal(calls.attend(call), call.dense())
    assert run.failure == "OSError: no" and emptied == [1]


def test_what_conditions_carry_is_forgotten_alone():
    run, cpu = run_of(PSAConfig()), torch.device("cpu")
    first, second = run.order_state(("a", 0), cpu), run.order_state(("b", 0), cpu)
    run.forget("a")
    assert run.order_state(("b", 0), cpu) is second
    assert run.order_state(("a", 0), cpu) is not first
