"""Which implementation serves a call, by the tables of those that are registered."""

import dataclasses
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import forward_ad

from psa_kernels import NoKernelsError, PSAConfig, attention, measured, psa_attention, reference
from psa_kernels.attention import run_stages
from psa_kernels.capability import Call, Implementation, Limit, Precision, refusal
from psa_kernels.implementations import TRITON, choose, register, table, unregister

from ..pack_import import ROOT
from ..registered import registered

CPU = torch.device("cpu")
ON_CPU = "the tensors are on cpu, the Triton kernels need a CUDA or ROCm GPU"
SMALL = Limit(
    "keys", lambda call: call.layout.k_len, most=100,
    reason="the toy takes {most} keys, not {found}",
)  # fmt: skip


def toy(**fields):
    """An implementation whose output is nothing but twos; `given` are the configs of its calls."""
    given = []

    def attend(q, pyramid, plan, orders, layout, config, scale):
        given.append(config)
        return torch.full_like(q, 2)

    stages = {name: getattr(reference, name) for name in reference.__all__} | {"attend": attend}
    return Implementation("toy", SimpleNamespace(**stages, given=given), **fields)


def served(length, **config):
    q = torch.randn(1, 1, length, 32)
    out, stats = psa_attention(q, q, q, config=PSAConfig(**config), return_stats=True)
    return bool((out == 2).all()), stats.implementation, stats.reason


def test_a_third_implementation_serves_what_it_can_and_is_named_where_it_cannot():
    assert served(100) == (False, "reference", ON_CPU)
    with registered(toy(limits=(SMALL,))):
        assert served(100) == (True, "toy", "")
        refused = "the toy takes 100 keys, not 101"
        assert served(101) == (False, "reference", f"{refused}; {ON_CPU}")
        x = torch.randn(1, 1, 101, 8)
        with pytest.raises(NoKernelsError, match=refused):
            psa_attention(x, x, x, need_kernels=True)
        psa_attention(x[:, :, :100], x[:, :, :100], x[:, :, :100], need_kernels=True)
        register(toy(limits=(replace(SMALL, most=99),)))  # in place of that one
        assert served(100)[2] == f"the toy takes 99 keys, not 100; {ON_CPU}"
    # what is next in the list is asked before the reference
    others = replace(TRITON, package=reference, limits=())
    with registered(others), registered(toy(limits=(SMALL,))):
        assert served(101) == (False, "triton", refused)
    assert served(100) == (False, "reference", ON_CPU)
    with pytest.raises(KeyError, match="toy"):
        unregister("toy")


def test_a_plain_implementation_is_not_what_asks_for_kernels_wants():
    x = torch.randn(1, 1, 50, 8)
    with registered(toy(kernels=False)), pytest.raises(NoKernelsError):
        psa_attention(x, x, x, need_kernels=True)


@pytest.mark.parametrize(
    ("asked", "length", "measured_is", "computed", "reason"),
    [
        ("half", 100, "int8", "half", ""),
        ("int8", 100, "half", "int8", ""),
        ("int8", 101, "half", "half", "qk int8 not used: the toy takes 100 keys, not 101"),
        ("auto", 100, "int8", "int8", ""),
        ("auto", 100, "half", "half", ""),
        ("auto", 101, "int8", "half", ""),
    ],
)
def test_a_precision_is_settled_before_the_stages_see_it(
    asked, length, measured_is, computed, reason
):
    faster = Limit("faster", lambda call: measured_is, one_of=("int8",), reason="it is slower")
    one = toy(precisions=(Precision("qk", "int8", "half", (SMALL,), (faster,)),))
    with registered(one):
        assert served(length, qk=asked) == (True, "toy", reason)
    (config,) = one.package.given
    assert config.qk == computed


def test_the_rows_of_a_precision_see_what_those_before_it_were_settled_to():
    """By a stand-in for a second field: importance, of the values "exact" and "sub_block"."""
    by_qk = Limit("qk", lambda call: call.config.qk, one_of=("int8",), reason="qk is {found}")
    precisions = (
        Precision("qk", "int8", "half", (SMALL,)),
        Precision("importance", "exact", "sub_block", (by_qk,)),
    )
    asked = {"qk": "auto", "importance": "exact"}
    with registered(toy(precisions=precisions)):
        assert served(100, **asked)[2] == ""
        assert served(101, **asked)[2] == "importance exact not used: qk is half"


def test_a_configuration_that_is_settled_already_stays_the_same_object():
    config = PSAConfig(qk="half")
    call = Call.small(CPU, torch.float32, 32, config)
    with registered(toy(precisions=TRITON.precisions)):
        assert choose(CPU, torch.float32, call.layout, config).config is config


def test_rows_are_asked_once_and_again_where_the_answer_may_differ():
    asked = []

    def value(call):
        asked.append(call)
        return 0

    row = Limit("x", value, most=1, reason="no")
    precision = Precision("qk", "int8", "half", (row,))
    with registered(toy(limits=(row,), precisions=(precision,))):
        for _ in range(3):
            served(64, qk="int8")
        assert len(asked) == 2
        served(65, qk="int8")
        assert len(asked) == 4
        measured.forget()
        served(65, qk="int8")
        assert len(asked) == 6
        x = torch.randn(1, 1, 65, 32, requires_grad=True)
        psa_attention(x, x, x)
        assert asked[-1].gradient
        with torch.no_grad():
            psa_attention(x, x, x)
        assert not asked[-1].gradient
    with registered(toy(limits=(replace(row, most=-1),))):
        assert served(64)[1] == "reference"


@given(st.integers(-9, 9), st.none() | st.integers(-9, 9), st.none() | st.integers(-9, 9))
def test_a_limit_refuses_what_is_not_within_it(found, least, most):
    reason = "{found} of {least}, {most}"
    row = Limit("x", lambda call: found, least=least, most=most, reason=reason)
    within = (least is None or found >= least) and (most is None or found <= most)
    assert row.refusal(None) == ("" if within else f"{found} of {least}, {most}")
    row = Limit("x", lambda call: found, one_of=(3, 4, least), reason="{found} is not {one_of}")
    within = found in (3, 4, least)
    assert row.refusal(None) == ("" if within else f"{found} is not 3, 4 or {least}")


def test_a_row_after_one_that_refuses_is_not_asked():
    no = Limit("x", lambda call: 1, most=0, reason="no")
    assert refusal((no, Limit("y", lambda call: 1 / 0, reason="no")), None) == "no"
    assert refusal((), None) == ""


def test_rows_are_frozen_and_say_what_they_allow():
    rows = list(table())
    assert ("triton", "head dim", "at most 256") in rows
    assert ("triton", "dtype", "float16, bfloat16 or float32") in rows
    assert ("triton, qk int8", "head dim", "at least 17") in rows
    assert all(all(row) for row in rows) and len(set(rows)) == len(rows)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TRITON.limits[0].reason = ""


def test_the_page_has_the_tables():
    head = "| who | of a call | allowed |\n|---|---|---|\n"
    made = head + "".join(f"| {' | '.join(row)} |\n" for row in table())
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert made + "\n" in page, f"docs/architecture.md: the table is now\n\n{made}"


def test_the_sign_of_an_imaginary_part_is_read():
    """Of a conjugate it is a bit beside the memory, which kernels do not see."""
    rng = torch.Generator().manual_seed(0)
    q = torch.conj(torch.randn(1, 2, 300, 16, dtype=torch.complex64, generator=rng)).imag
    k, v = torch.randn(2, 1, 2, 300, 16, generator=rng)
    seen = []

    def stages(package, q, k, v, *rest):
        seen.append(q)
        return run_stages(package, q, k, v, *rest)

    assert q.is_neg()
    with mock.patch.object(attention, "run_stages", stages):
        psa_attention(q, k, v)
    assert torch.equal(seen[0], q) and not seen[0].is_neg()


def test_a_forward_derivative_asks_for_the_reference():
    q, k, v = torch.randn(3, 1, 2, 300, 16)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(q, torch.randn_like(q))
        asked = []

        def choosing(*call):
            asked.append(call[-1])
            return choose(*call)

        with mock.patch.object(attention, "choose", choosing):
            out = psa_attention(dual, k, v)
            psa_attention(q, k, v)
        assert forward_ad.unpack_dual(out).tangent is not None
    assert asked == [True, False]
