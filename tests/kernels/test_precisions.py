"""What `qk` and `value_sums` come to: by the kernels' tables, and in the reference."""

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention
from psa_kernels.capability import Call
from psa_kernels.triton.support import FLOAT16_SUMS, INT8

TABLES = {"int8": INT8, "float16": FLOAT16_SUMS}
OLD = {"use_sim_mask": True, "attn_impl": "old_mask_type", "block_n": 128}


def settled(table, asked=None, device="cuda", dtype=torch.bfloat16, dim=64, **settings):
    """(the precision of a call that asks for the table's own, why it is another one)"""
    table = TABLES[table]
    config = PSAConfig(**{table.field: asked or table.value}, **settings)
    return table.settled(Call.small(torch.device(device), dtype, dim, config))


@pytest.mark.parametrize("call", [
    {}, {"device": "cpu"}, {"dim": 17}, {"dim": 256}, {"dtype": torch.float16},
    {"grouping": "similar"}, OLD,
], ids=str)  # fmt: skip
@pytest.mark.parametrize("table", TABLES)
def test_what_both_tables_serve(table, call):
    assert settled(table, **call) == (table, "")


def test_what_one_of_them_does_not_serve_is_named():
    short = "heads of 16 channels are shorter than an int8 product's 32"
    assert settled("int8", dim=16) == ("half", short)
    assert settled("float16", dim=16, qk="int8") == ("float16", "")
    wide = "inputs of float32 are multiplied as such"
    assert settled("float16", dtype=torch.float32) == ("float32", wide)
    assert settled("int8", dtype=torch.float32) == ("int8", "")
    # there is no reason to give where it was not asked for
    assert settled("int8", "half", dim=16) == ("half", "")
    assert settled("float16", "float32", dtype=torch.float32) == ("float32", "")


@pytest.mark.parametrize("table", TABLES)
def test_amd_gpus_are_named(table, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert settled(table) == (TABLES[table].plain, "on AMD GPUs it has not been tried")
    assert settled(table, device="cpu") == (table, "")


def test_auto_takes_what_was_measured_to_be_faster(monkeypatch):
    tuning = pytest.importorskip("psa_kernels.triton.tuning")
    faster_sums = {"half": "float16", "int8": "float32"}
    monkeypatch.setattr(tuning, "measured_sums", lambda *of: faster_sums[of[-1]])
    for qk, sums in faster_sums.items():
        monkeypatch.setattr(tuning, "measured_qk", lambda *_, qk=qk: qk)
        assert settled("int8", "auto")[0] == qk
        assert settled("int8") == ("int8", "")
        assert settled("float16", "auto", qk=qk)[0] == sums
        assert settled("float16", qk=qk) == ("float16", "")
    assert settled("int8", "auto", dim=16)[0] == "half"
    assert settled("float16", "auto", dtype=torch.float32)[0] == "float32"


@pytest.mark.parametrize("same", [
    [{"qk": "half"}, {"qk": "auto"}],
    [{"value_sums": x} for x in ("float32", "float16", "auto")],
], ids=["qk", "value_sums"])  # fmt: skip
def test_in_the_reference_these_are_one_to_the_bit(same):
    """Nothing was measured here, and it has no sums of its own."""
    q, k, v = torch.randn(3, 1, 1, 300, 32)
    first, *others = (psa_attention(q, k, v, config=PSAConfig(**x)) for x in same)
    assert all(torch.equal(first, x) for x in others)
