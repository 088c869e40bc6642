"""benchmarks/like-keys.md says what the runs' data say."""

import re
import statistics

import pytest

from psa_pack.benchmarks.quality import like_keys_tables

from ..pack_import import ROOT

PAGE = (ROOT / "benchmarks" / "like-keys.md").read_text(encoding="utf-8")


def test_every_row_of_its_tables_is_the_data_s():
    lines = set(PAGE.splitlines())
    rows = [line for line in like_keys_tables.tables() if line.startswith("|")]
    assert len(rows) > 150
    assert [row for row in rows if row not in lines] == []


def test_no_table_has_a_row_of_its_own():
    made = set(like_keys_tables.tables())
    measured = PAGE.split("## The kernel")[0]
    assert [x for x in measured.splitlines() if x.startswith("|") and x not in made] == []


@pytest.mark.parametrize("run, gain, least", [(5, "5.1", 4.0), (6, "6.8", 4.0)])
def test_the_gain_of_a_falling_budget_is_that_of_its_clips(run, gain, least):
    runs = like_keys_tables.load("quality-like-keys")["runs"]
    rows = {row["label"]: row for row in runs[run]["rows"]}
    today = rows["balanced as it is"]
    plan = rows["10% dense, half to 45%, faithful to 70%, balanced"]
    found = statistics.fmean(plan["psnr"][i] - today["psnr"][i] for i in plan["psnr"])
    assert f"{found:.1f}" == gain and found >= least
    assert plan["overall_density"] <= today["overall_density"]
    assert re.search(rf"\b{re.escape(gain)}\b", PAGE)


def test_the_mean_call_of_a_run_is_the_tables():
    rows = {row["method"]: row["ms"] for row in like_keys_tables.load("like-keys-720p")["rows"]}
    name = "PSA shares of fast"
    anew, kept = rows[f"{name}, like keys"], rows[f"{name}, like keys, kept from before"]
    mean = (5 * anew + 10 * kept) / 15
    assert f"{mean:.1f} ms a call in the mean, where token order takes {rows[name]:.1f}" in PAGE
