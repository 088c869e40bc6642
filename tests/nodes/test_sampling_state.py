"""The centroids of the semantic orders: carried from step to step of a run, and no further."""

import pytest
import torch

from .sampling import Spy, conditioning, in_windows, sparse_config

BLOCKS = 2


@pytest.fixture(autouse=True)
def every_head_clustered(monkeypatch):
    """The model's weights are random: no head of it would take its clusters by itself."""
    from psa_kernels.reference import semantic

    monkeypatch.setattr(semantic, "GATHERED", float("inf"))
    monkeypatch.setattr(semantic, "MOST_VARIANCE", float("inf"))


@pytest.fixture
def carried(monkeypatch, served_calls_only):
    """What attention calls found as centroids, in order: the tensor that was kept, or None."""
    from psa_kernels import OrderState

    found, real = [], OrderState.centroids

    def centroids(self, name, *args):
        kept = real(self, name, *args)
        found.append((id(self), name, kept))
        return kept

    monkeypatch.setattr(OrderState, "centroids", centroids)
    return found


# sides that are clustered: keys alone, or queries and keys; the two conditions of guidance in one
# call, or in a call each
@pytest.mark.parametrize(
    ("order", "sides", "text_tokens", "calls"),
    [("SemanticAware", 2, (16, 17), 2), ("Hybrid", 1, (16, 16), 1)],
)
def test_centroids_carry_within_a_run_and_not_across_runs(
    bench, carried, order, sides, text_tokens, calls
):
    a_step = BLOCKS * calls * sides
    patched = bench.patch(sparse_config(rearrange_method=order, warmup_steps=1))
    results = []
    for _ in range(2):
        carried.clear()
        results.append(bench.sample(patched, steps=4, text_tokens=text_tokens))
        first, *later = (carried[i : i + a_step] for i in range(0, len(carried), a_step))
        assert all(kept is None for _, _, kept in first) and len(later) == 2
        for step in later:
            # every block and condition finds its own, and no other's
            assert [(state, name) for state, name, _ in step] == [
                (state, name) for state, name, _ in first
            ]
            assert all(kept is not None for _, _, kept in step)
        assert len({(state, name) for state, name, _ in first}) == a_step
    assert torch.equal(*results)


def test_each_of_several_prompts_has_its_own(bench, carried):
    """Two parts of the prompt, whose texts differ in length: a call each."""
    both = conditioning(0, 16, 4096) + conditioning(1, 17, 4096)
    patched = bench.patch(sparse_config(rearrange_method="SemanticAware"))
    bench.sample(patched, positive=both, cfg=1.0, steps=1)
    assert len({(state, name) for state, name, _ in carried}) == len(carried) == 2 * 2 * BLOCKS


def test_carried_centroids_are_those_the_step_before_ended_with(bench, carried, monkeypatch):
    from psa_kernels import OrderState

    ended, real = [], OrderState.keep

    def keep(self, name, layout, centroids):
        ended.append((id(self), name, centroids.clone()))
        real(self, name, layout, centroids)

    monkeypatch.setattr(OrderState, "keep", keep)
    bench.sample(bench.patch(sparse_config(rearrange_method="SemanticAware")), steps=3)
    a_step = 2 * BLOCKS
    for (state, name, kept), (owner, side, left) in zip(carried[a_step:], ended, strict=False):
        assert (state, name) == (owner, side) and torch.equal(kept, left)
    assert len(carried) == 3 * a_step


def test_centroids_make_a_difference(bench, monkeypatch):
    """What the bit-identities here are measured against."""
    from psa_kernels import OrderState

    patched = bench.patch(sparse_config(rearrange_method="SemanticAware"))
    carrying = bench.sample(patched)
    monkeypatch.setattr(OrderState, "centroids", lambda *_: None)
    assert not torch.equal(bench.sample(patched), carrying)


def test_a_video_of_another_size_starts_anew(bench):
    patched = bench.patch(sparse_config(rearrange_method="SemanticAware"))
    small = {"shape": (1, 16, 1, 10, 14)}
    expected = bench.sample(patched, **small)
    bench.sample(patched)
    assert torch.equal(bench.sample(patched, **small), expected)


# ComfyUI indexes with a list
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_context_windows_are_videos_of_their_own(bench, carried, comfy_inproc):
    """Windows of a long video share conditions and step; what one learned is not the next one's."""
    comfy_inproc.load_pack()
    patched = bench.patch(sparse_config(rearrange_method="SemanticAware", warmup_steps=1))
    windowed = in_windows(patched)
    spy = Spy()
    bench.sample(spy.on(windowed), shape=(1, 16, 5, 16, 16), steps=3, cfg=1.0)
    # newer versions put an anchor frame before the later windows
    assert {call.queries for call in spy.sparse} <= {3 * 64, 4 * 64}
    windows_a_step = len(spy.sparse) // (2 * BLOCKS)
    assert windows_a_step > 1 and bench.report["calls"]["sparse"] == len(spy.sparse)
    assert carried and all(kept is None for _, _, kept in carried)
