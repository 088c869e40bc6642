"""Which keys are pooled together: chosen once for a preset, by what it saves in the calls."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_pack.nodes.preset_value import PresetValue

from ..sampling import sparse_config
from .conftest import BLOCKS, always_similar

SCALES = (0.5, 1.0, 2.0)


def call(in_order, *rungs, block=0, norm=1.0):
    from psa_pack.nodes.calibration.measure import Call

    return Call(block, norm, rungs, in_order)


def compare(*calls):
    from psa_pack.nodes.calibration.grouping import compare

    return compare(calls, SCALES)


def like(error, order=1.0, own=0.2):
    """A call whose budgets cost `error` with like keys together, and the base `order` without."""
    return call((0.2, order), (0.1, 2 * error), (own, error), (0.4, error / 2))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)),
                min_size=1, max_size=6))  # fmt: skip
def test_it_is_the_sum_over_all_calls_that_decides(table):
    """Errors are relative to each call's output; more than a fiftieth is needed."""
    calls = [
        call((0.2, order * norm), (0.1, 2 * alike * norm), (0.2, alike * norm), (0.4, 0.0),
             norm=norm)
        for order, alike, norm in table
    ]  # fmt: skip
    found = compare(*calls)
    order = math.sqrt(sum(x for x, _, _ in table) / len(table))
    alike = math.sqrt(sum(x for _, x, _ in table) / len(table))
    assert (found.order, found.similar) == (pytest.approx(order), pytest.approx(alike))
    if abs(alike / order - 0.98) > 1e-6:
        assert found.chosen == ("similar" if alike < 0.98 * order else "order")


def test_the_same_density_is_compared():
    """With thresholds, grouping like keys may make the base's own rung denser or sparser."""
    assert compare(like(1.0, own=0.2)).chosen == "order"
    dense = compare(call((0.2, 1.0), (0.1, 1.6), (0.3, 0.8), (0.4, 0.4)))
    assert dense.similar == pytest.approx(math.sqrt(1.2)) and dense.chosen == "order"
    sparse = compare(call((0.2, 1.0), (0.05, 2.0), (0.1, 1.0), (0.3, 0.5)))
    assert sparse.similar == pytest.approx(math.sqrt(0.75)) and sparse.chosen == "similar"
    # beyond the ladder its own rung is all there is
    assert compare(call((0.9, 1.0), (0.1, 1.0), (0.2, 0.5), (0.3, 0.4))).similar == (
        pytest.approx(math.sqrt(0.5))
    )


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_does_not_choose_like_keys(broken):
    assert compare(like(0.5, order=broken)).chosen == "order"
    assert compare(like(broken)).chosen == "order"
    assert compare(like(0.5), like(broken)).chosen == "order"
    # a call whose own output is broken says nothing of either
    whole = compare(like(0.5), call((0.2, broken), (0.1, broken), (0.2, broken), (0.4, broken)))
    assert whole == compare(like(0.5)) and whole.chosen == "similar"
    assert compare(like(0.0, order=0.0)).chosen == "order"


def test_a_base_with_like_keys_keeps_them(calibrate):
    from psa_pack.nodes.calibration.fit import fit

    base = sparse_config(warmup_steps=1, grouping="similar")
    found, _ = calibrate(base, effort=(1, 1))
    assert found.compared is None and not any(
        call.in_order for calls in found.calls.values() for call in calls
    )
    assert fit(found, base).config.grouping == "similar"


@pytest.mark.parametrize("chosen", ["similar", "order"])
def test_the_ladder_and_the_probes_are_of_the_grouping_chosen(calibrate, monkeypatch, chosen):
    """As if the base had had it; this model, untrained, has no like keys worth the name."""
    from psa_pack.nodes.calibration.fit import fit
    from psa_pack.nodes.calibration.summary import as_json, choice, description

    if chosen == "similar":
        always_similar(monkeypatch)
    found, seen = calibrate(effort=(2, 1))
    compared = found.compared
    assert compared.chosen == chosen and 0 < compared.order < 1 and 0 < compared.similar < 1
    monkeypatch.undo()
    own = {step: [call.rungs for call in calls] for step, calls in found.calls.items()}
    given, _ = calibrate(sparse_config(warmup_steps=1, grouping="similar"), effort=(2, 1),
                         folder="as given")  # fmt: skip
    same = {step: [call.rungs for call in calls] for step, calls in given.calls.items()}
    probes = found.probes == given.probes
    assert (own == same, probes) == (chosen == "similar",) * 2
    # the densities are those of the budgets, whatever the grouping
    assert [[d for d, _ in rungs] for step in own for rungs in own[step]] == (
        [[d for d, _ in rungs] for step in same for rungs in same[step]]
    )
    # a second sampling, where it is made, goes on where the bar was
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] == (4 + (2 + 1) * BLOCKS) * (2 if chosen == "order" else 1)

    base = sparse_config(warmup_steps=1)
    fitted = fit(found, base)
    assert fitted.config.grouping == chosen
    assert ("grouping" in fitted.config.to_preset()) == (chosen == "similar")
    told = as_json(found, fitted, PresetValue(base, name="base"), "density")
    assert told["grouping"] == {"compared": True, "chosen": chosen, "order": compared.order,
                                "similar": compared.similar, "margin": 0.02}  # fmt: skip
    assert choice(compared) in description(told)


def test_where_nothing_is_pooled_there_is_nothing_to_choose(calibrate):
    found, _ = calibrate(
        sparse_config(warmup_steps=1, mask_ratios={1: (0, 1)}, tail="none"), effort=(1, 0)
    )
    assert found.compared is None


@pytest.mark.parametrize(
    ("chosen", "order", "similar", "text"),
    [
        ("similar", 0.2, 0.15, "grouping: similar was chosen; with like keys together the "
         "attention's error is 25% lower, 0.15 for 0.2"),
        ("order", 0.2, 0.198, "grouping: order was kept; with like keys together the attention's "
         "error is 1% lower, 0.198 for 0.2, but only more than 2% lower counts"),
        ("order", 0.2, 0.21,
         "error is 5% higher, 0.21 for 0.2, but only more than 2% lower counts"),
        ("order", None, None, "the two groupings could not be compared"),
        ("order", 0.0, 0.0, "the two groupings could not be compared"),
    ],
)  # fmt: skip
def test_the_choice_is_said(chosen, order, similar, text):
    from psa_pack.nodes.calibration.grouping import Compared
    from psa_pack.nodes.calibration.summary import choice

    assert text in choice(Compared(chosen, order, similar))
