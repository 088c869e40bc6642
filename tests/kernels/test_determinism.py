"""The same inputs give the same bits: call after call, process after process."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from psa_kernels import PSAAttention, PSAConfig, reference
from psa_kernels.layout import Layout
from psa_kernels.stages import Groups

METHODS = [None, "Gilbert", "STA", "SemanticAware", "Hybrid"]
# (order of tokens, what is pooled together, importance)
KINDS = [*((method, "order") for method in METHODS), (None, "similar"), ("Gilbert", "similar")]
RUNS = [(*kind, importance) for kind in KINDS for importance in ("sub_block", "exact")]
GRID, EXTRA = (8, 9, 9), (3, 7)


def run_of_three_steps(method, grouping, importance):
    """A digest of the outputs of three steps of one sampling run."""
    config = PSAConfig(
        rearrange_method=method, importance=importance, mask_mode="thresholdbound",
        block_n=32, tail=16, second_moment=True, grouping=grouping,
    )  # fmt: skip
    psa = PSAAttention(config)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 8 * 9 * 9 + 10, 32, generator=generator) for _ in range(3))
    # of a few kinds, or no head would take its clusters
    k += 3 * k[:, :, torch.randint(6, k.shape[2:3], generator=generator)]
    digest = hashlib.sha256()
    for step in range(3):
        out = psa(q + 0.1 * step, k * (1 + 0.1 * step), v, grid=GRID, extra_tokens=EXTRA)
        digest.update(out.numpy().tobytes())
    return digest.hexdigest()


def test_a_run_repeats_bit_for_bit_here_and_in_another_process():
    here = [run_of_three_steps(*what) for what in RUNS]
    torch.rand(7)  # no global random state is read
    assert [run_of_three_steps(*what) for what in RUNS] == here
    tests = Path(__file__).resolve().parent.parent
    code = (
        f"import sys; sys.path.insert(0, {str(tests)!r}); import pack_import; "
        f"pack_import.install(); sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import torch; torch.set_num_threads({torch.get_num_threads()}); "
        "import test_determinism as t; print(*(t.run_of_three_steps(*x) for x in t.RUNS))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split() == here


@pytest.mark.parametrize("method", METHODS)
def test_grouping_by_order_is_the_line_without_groups(method):
    """What was saved before there was a choice gives the bits it gave: no stage may see groups.

    The path with groups, given neighbours as groups and equal weights, is another one to the same
    numbers.
    """
    config = PSAConfig(
        rearrange_method=method, block_n=32, tail=16, second_moment=True, refresh=100,
        mask_ratios={1: (0, 0.2), 2: (0.2, 0.3), 4: (0.3, 0.4), 8: (0.4, 0.7), 0: (0.7, 1)},
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    q, k, v = (torch.randn(1, 2, 8 * 9 * 9 + 10, 32, generator=generator) for _ in range(3))
    layout = Layout.of(q, k, v, config, grid=GRID, extra_tokens=EXTRA)
    orders = reference.reorder(q, k, layout, config)
    whole = layout.k_video // 32
    neighbours = torch.arange(32, dtype=torch.uint8).repeat(whole).expand(1, 2, -1)
    outs = []
    for groups in (None, Groups(neighbours, torch.ones(1, 2, 32))):
        pyramid = reference.build_pyramid(k, v, orders, layout, config, groups)
        mass = reference.importance(q, pyramid, orders, layout, config, 0.2)
        plan = reference.assign_levels(mass, pyramid, layout, config)
        outs.append(reference.attend(q, pyramid, plan, orders, layout, config, 0.2))
    found = PSAAttention(config)(q, k, v, grid=GRID, extra_tokens=EXTRA, scale=0.2)
    assert torch.equal(found, outs[0]) and torch.equal(found, outs[1])
