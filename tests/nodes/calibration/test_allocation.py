"""Which block gets which budget: against every allocation there is, on small cases."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from psa_kernels import PSAConfig
from psa_pack.nodes.calibration.allocate import Point, curve, for_density, for_error, hull
from psa_pack.nodes.calibration.ladder import ladder
from psa_presets import PresetStore

from ...pack_import import ROOT


def blocks_of(table):
    return [[Point(d, e, i) for i, (d, e) in enumerate(points)] for points in table]


def every(blocks):
    """(mean density, error) of every allocation."""
    return [
        (sum(p.density for p in at) / len(at), sum(p.error for p in at))
        for at in itertools.product(*blocks)
    ]


POINTS = st.lists(
    st.tuples(st.integers(1, 50), st.integers(0, 40)), min_size=1, max_size=5,
    unique_by=lambda point: point[0],
)  # fmt: skip
TABLE = st.lists(POINTS, min_size=1, max_size=4).map(
    lambda table: [[(d / 50, float(e)) for d, e in points] for points in table]
)


@settings(max_examples=300, deadline=None)
@given(TABLE)
def test_no_allocation_beats_a_point_of_the_curve(table):
    """Each state of the curve has the least error of all that are no denser than it."""
    blocks = blocks_of(table)
    states, found = curve(blocks), every(blocks)
    for state in states:
        best = min(error for density, error in found if density <= state.density + 1e-9)
        assert state.error == pytest.approx(best)
    densities = [state.density for state in states]
    assert densities == sorted(densities)
    assert states[-1].error == pytest.approx(min(error for _, error in found))


# a long step of one block's hull must not bar the short ones of another
LONG_STEP = [
    [(0.0125, 1.0), (0.025, 0.5), (0.0375, 0.333)],
    [(0.0125, 1.0), (0.075, 0.167), (0.0875, 0.143)],
]


@settings(max_examples=300, deadline=None)
@given(TABLE, st.integers(1, 50).map(lambda x: x / 50))
@example(LONG_STEP, 0.05)
def test_a_density_is_met_within_one_step_of_one_block(table, target):
    blocks = blocks_of(table)
    chosen, found = for_density(blocks, target), every(blocks)
    fitting = [error for density, error in found if density <= target + 1e-9]
    if not fitting:  # nothing is as cheap as that: the cheapest is taken
        assert chosen.density == pytest.approx(min(density for density, _ in found))
        return
    assert chosen.density <= target + 1e-9
    # between the best and what the curve has below the target
    below = [state for state in curve(blocks) if state.density <= target + 1e-9]
    if below:
        assert min(fitting) - 1e-9 <= chosen.error <= below[-1].error + 1e-9
    # never worse than all blocks on one rung
    for alike in zip(*blocks, strict=False):
        if sum(p.density for p in alike) <= target * len(blocks):
            assert chosen.error <= sum(p.error for p in alike) + 1e-9
    # nothing that fits is left undone
    at = [next(p for p in points if p.rung == rung)
          for points, rung in zip(blocks, chosen.rungs, strict=True)]  # fmt: skip
    room = (target - chosen.density) * len(blocks)
    for points, now in zip(blocks, at, strict=True):
        steps = [p.density - now.density for p in hull(points) if p.error < now.error]
        assert not [step for step in steps if 0 < step <= room - 1e-9]


@settings(max_examples=200, deadline=None)
@given(TABLE, st.integers(0, 100))
def test_an_error_is_met_by_the_least_of_the_curve(table, target):
    blocks = blocks_of(table)
    states = curve(blocks)
    chosen = for_error(states, target)
    if states[-1].error > target:
        assert chosen == states[-1]
    else:
        assert chosen.error <= target + 1e-6
        assert all(s.density >= chosen.density - 1e-9 for s in states if s.error <= target)


def predicting(weights, dense=True, kept=(), **how):
    """Two blocks of one step that differ in their norm and in what the probes say."""
    from psa_pack.nodes.calibration.measure import Call
    from psa_pack.nodes.calibration.predict import Measurements, Probe, points

    calls = [Call(0, 4.0, ((0.1, 2.0), (0.3, 1.0))), Call(1, 1.0, ((0.1, 0.5), (0.3, 0.25)))]
    probes = tuple(Probe(3, block, 0, error) for block, error in enumerate(weights))
    found = Measurements((1.0, 3.0), {3: calls, 7: calls}, probes)
    return points(found, dense=dense, kept=kept, **how)


def test_what_an_error_is():
    both = predicting(())
    assert [p.error for p in both[0]] == [0.5, 0.25, 0.0]
    assert [p.error for p in both[1]] == [0.5, 0.25, 0.0]
    assert [p.density for p in both[1]] == [0.1, 0.3, 1.0]
    # a probe says what the rung that was probed does to the output; the others in proportion
    probed = predicting((0.03, 0.2), trust=1.0)
    assert [p.error for p in probed[0]] == pytest.approx([0.03, 0.015, 0.0])
    assert [p.error for p in probed[1]] == pytest.approx([0.2, 0.1, 0.0])
    # budgets are chosen with the root of what it says beyond the block's own error
    halved = predicting((0.03, 0.2))
    assert halved[0][0].error == pytest.approx(0.5 * (0.03 / 0.5) ** 0.5)
    assert len(predicting((), dense=False)[0]) == 2
    assert [p.density for p in predicting((), dense=False, kept=(1,))[1]] == [1.0]


def test_a_step_counts_for_those_it_stands_for_whatever_its_number_of_calls():
    from psa_pack.nodes.calibration.measure import Call
    from psa_pack.nodes.calibration.predict import Measurements, points

    calls = {3: [1.0], 7: [0.5, 0.1]}
    calls = {step: [Call(0, 1.0, ((0.1, x),)) for x in errors] for step, errors in calls.items()}
    found = points(Measurements((1.0,), calls, stands={3: 1.0, 7: 3.0}))
    assert found[0][0].error == pytest.approx((1.0 + 3 * (0.5 + 0.1) / 2) / 4)


@pytest.mark.parametrize("mode", ["topk", "thresholdbound"])
@pytest.mark.parametrize("key_blocks", [1, 6, 64, 591])
def test_a_ladder_rises_around_the_base(mode, key_blocks):
    from psa_pack.nodes.estimate.density import Tokens, density

    store = PresetStore(ROOT / "presets", ROOT / "none")
    presets = store.get_family("Wan2.1_14b").attention_configs.values()
    bases = [p.replace(mask_mode=mode, blocks={3: "dense"}) for p in presets if p.type == "psa"]
    bases += [PSAConfig(mask_mode=mode, mask_ratios={1: (0, 1)}),
              PSAConfig(mask_mode=mode, mask_ratios={2: (0, 0.2), 8: (0.2, 1)})]  # fmt: skip
    for base in bases:
        rungs = ladder(base, key_blocks)
        assert [r.config for r in rungs if r.scale == 1] == [base.replace(blocks={})]
        assert len({r.config for r in rungs}) == len(rungs) <= 40
        if mode == "thresholdbound" and 0 < base.mask_ratios.width(1) < 0.3:
            assert len(rungs) >= 8
        if mode == "topk":
            tokens = Tokens((1, key_blocks, base.block_n), 0)
            found = [density([(1, r.config)], tokens).value for r in rungs]
            assert found == sorted(found)
            if key_blocks > 500 and 0 < base.mask_ratios.width(1) < 0.3:
                assert found[0] < density([(1, base)], tokens).value * 0.75 and found[-1] > 0.4
