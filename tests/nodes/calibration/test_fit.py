"""What is fitted to a target: what it counts, and what is said where it is out of reach."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import PSAConfig
from psa_pack.nodes.calibration.errors import CalibrationError
from psa_pack.nodes.preset_value import PresetValue

OWN = 1  # the rung of the base itself
SCALES = (0.5, 1.0, 2.0)


def base():

    return PSAConfig(mask_ratios={1: (0, 0.1), 2: (0.1, 0.2), 0: (0.2, 1)})


def measured(tables):
    """One step; of each block its (density, error) by rung. All norms are 1, nothing is probed."""
    from psa_pack.nodes.calibration.measure import Call
    from psa_pack.nodes.calibration.predict import Measurements

    calls = [Call(block, 1.0, tuple(table)) for block, table in enumerate(tables)]
    return Measurements(SCALES, {3: calls})


def fitted(tables, **how):
    from psa_pack.nodes.calibration.fit import fit

    return fit(measured(tables), base(), **how)


def told(tables, kind="density", **how):
    from psa_pack.nodes.calibration.summary import as_json

    fit = fitted(tables, **how)
    return as_json(measured(tables), fit, PresetValue(base(), name="base"), kind)


SAME = [(0.1, 0.4), (0.2, 0.2), (0.4, 0.1)]
BLOCKS = st.lists(
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)).map(
        lambda steps: [
            (sum(steps[: i + 1]) / 80, 1 / sum(steps[: i + 1])) for i in range(len(steps))
        ]
    ),
    min_size=2, max_size=6,
)  # fmt: skip


def test_blocks_kept_dense_do_not_starve_the_others():
    """One of 4 blocks is kept: the other three have what the base would give them."""
    found = fitted([SAME] * 4, kept=frozenset({2}))
    assert found.target == pytest.approx((1 + 3 * 0.2) / 4) and found.met
    assert found.blocks[2].density == 1.0
    assert [found.blocks[i].rung for i in (0, 1, 3)] == [OWN] * 3
    assert found.config.blocks == base().replace(blocks={2: "dense"}).blocks
    # a block that the model has not counts for nothing
    assert fitted([SAME] * 4, kept=frozenset({2, 77})) == found


@settings(max_examples=200, deadline=None)
@given(BLOCKS, st.sets(st.integers(0, 5)))
def test_without_a_density_it_is_that_of_the_base_with_these_blocks_dense(tables, kept):
    found = fitted(tables, kept=frozenset(kept))
    with_base = [1.0 if i in kept else table[OWN][0] for i, table in enumerate(tables)]
    assert found.target == pytest.approx(sum(with_base) / len(tables))
    assert found.met and found.chosen.density <= found.target + 1e-9


def test_a_budget_is_scaled_in_every_range_of_steps():
    """Each step counts for as many as it stands for."""
    from psa_pack.nodes.calibration.fit import fit
    from psa_pack.nodes.calibration.measure import Call
    from psa_pack.nodes.calibration.predict import Measurements

    own = base().replace(steps={
        "0-10%": "dense",
        "10-40%": {"mask_ratios": {1: (0, 0.4), 8: (0.4, 1)}, "tail": "none"},
        "40-50%": {"tail": 8},
    })  # fmt: skip
    calls = {
        step: [
            Call(block, 1.0, tuple((d * more, e * worse) for d, e in SAME))
            for block, worse in enumerate((1, 1, 20))
        ]
        for step, more in ((2, 2.0), (9, 1.0))
    }
    found = Measurements(SCALES, calls, stands={2: 3.0, 9: 6.0})
    fitted = fit(found, own)
    mean = (3 * 2 + 6) / 9
    assert fitted.target == pytest.approx(0.2 * mean)
    assert fitted.blocks[2].density == pytest.approx(0.4 * mean)
    assert [fitted.config.for_block(i).mask_ratios[1] for i in range(3)] == (
        [(0, 0.05), (0, 0.05), (0, 0.2)]
    )
    early = fitted.config.for_step(0.2)
    assert [early.for_block(i).mask_ratios[1] for i in range(3)] == [(0, 0.2), (0, 0.2), (0, 0.8)]
    assert [early.for_block(i).mask_ratios[8] for i in range(3)] == [(0.2, 1), (0.2, 1), (0.8, 1)]
    later = fitted.config.for_step(0.45)
    assert [later.for_block(i).mask_ratios[1] for i in range(3)] == [(0, 0.05), (0, 0.05), (0, 0.2)]
    assert later.for_block(0).tail == 8 and fitted.config.for_step(0).type == "dense"
    # a block that is dense is so in every range
    kept = fit(found, own, kept=frozenset({1})).config
    assert {kept.for_step(place).for_block(1).type for place in (0.2, 0.45, 0.9)} == {"dense"}
    assert kept.from_preset(kept.to_preset()) == kept


def test_a_target_that_is_met_is_not_talked_about():
    from psa_pack.nodes.calibration.summary import description, unmet

    for kind, how in (("density", {"density": 0.3}), ("error", {"error": 0.6}), ("density", {})):
        found = told([SAME] * 3, kind, **how)
        assert found["target"]["met"] is True and unmet(found) is None
        assert "missed" not in description(found)


@pytest.mark.parametrize(
    ("kind", "how", "value", "sentence"),
    [
        ("density", {"density": 0.05}, 0.05,
         "density 0.05 was asked for; 0.1 is the least that the preset's levels allow"),
        ("density", {"density": 0.15, "kept": frozenset({0})}, 0.15,
         "density 0.15 was asked for; 0.4 is the least that the preset's levels allow with 1 block "
         "dense"),
        ("error", {"error": 0.2, "dense": False}, 0.2,
         "error 0.2 was asked for; 0.548 is the least while allow_dense is off"),
        ("error", {"error": 0.0, "dense": False}, 0.0,
         "error 0 was asked for; 0.548 is the least while allow_dense is off"),
    ],
)  # fmt: skip
def test_a_target_out_of_reach_is_said_everywhere(kind, how, value, sentence):
    from psa_pack.nodes.calibration.picture import picture_of
    from psa_pack.nodes.calibration.summary import description, unmet

    found = told([SAME] * 3, kind, **how)
    assert found["target"] == {"kind": kind, "value": value, "met": False}
    assert unmet(found) == f"Target missed: {sentence}"
    assert description(found).endswith(f". Target missed: {sentence}.")
    # the picture has a line more than that of the same fit as if it had been asked for
    met = {**found, "target": {**found["target"], "met": True}}
    assert picture_of(found).height > picture_of(met).height


def test_a_block_without_a_finite_error_is_dense_or_named():

    broken = [(density, math.nan) for density, _ in SAME]
    found = fitted([SAME, broken], density=0.6)
    assert found.blocks[1].density == 1.0 and found.config.for_block(1).type == "dense"
    with pytest.raises(CalibrationError, match=r"block 1: .*allow_dense.*dense_blocks"):
        fitted([SAME, broken], density=0.6, dense=False)
    kept = fitted([SAME, broken], density=0.6, dense=False, kept=frozenset({1}))
    assert kept.blocks[1].density == 1.0
