"""The benchmark of what compiling saves, with a small model on the CPU and backend "eager"."""

import dataclasses
import json

import pytest


def compiled():
    from psa_pack.benchmarks.steps import compiled as found

    return found


@pytest.fixture
def forgetful():
    import torch._dynamo

    before = torch._dynamo.config.recompile_limit
    yield
    torch._dynamo.config.recompile_limit = before
    torch._dynamo.reset()


def test_four_ways_get_times_and_the_saving_is_theirs(
    comfy_inproc, forgetful, comfyui_path, tmp_path, capsys
):
    options = ["--shapes", "trial", "--backend", "eager", "--most", "1"]
    args = compiled().parse([*options, "--comfyui", str(comfyui_path), "--out", str(tmp_path)])
    assert compiled().run(args, comfy_inproc, options) == 0
    (found,) = json.loads((tmp_path / "compiled.json").read_text("utf-8"))["runs"]
    dense, dense_compiled, psa, psa_compiled = rows = found["rows"]
    assert [row["uncompiled"] for row in rows] == [None, "dense", None, "PSA, balanced (45-70%)"]
    assert [len(row["steps"]) for row in rows] == [2] * 4
    assert dense["error"] == dense_compiled["error"] == psa_compiled["apart"] == 0
    assert psa["error"] == psa_compiled["error"] > 0
    assert dense_compiled["graphs"] == psa_compiled["graphs"] > 0 == psa["graphs"]
    by_hand = [
        plain["milliseconds"] - row["milliseconds"]
        for plain, row in ((dense, dense_compiled), (psa, psa_compiled))
    ]
    assert [found["saved"]["dense"], found["saved"]["psa"]] == pytest.approx(by_hand)
    told = capsys.readouterr().out
    assert f"compiling saves {by_hand[0]:.1f} ms of a dense step" in told


def row(**changes):
    calls = {"failure": None, "calls": {"sparse": 12}}
    good = {"error": 0.01, "apart": 0.01, "graphs": 1, "first": 1.0, "reports": [calls]}
    return compiled().Row(
        **{"way": "PSA, x, compiled", "uncompiled": "PSA, x", "patched": None, **good, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, None),
        ({"error": float("nan")}, "nan off"),
        ({"error": 0.2}, "0.200 off"),
        ({"apart": 0.06}, "0.060 off the one without compiling"),
        ({"way": "dense, compiled", "error": 0.03}, "0.030 off"),
        ({"reports": []}, "no report"),
        ({"reports": [{"failure": "RuntimeError: x", "calls": {"sparse": 5}}]}, "5 of 12 calls"),
        ({"graphs": 0}, "nothing was compiled"),
    ],
)
def test_what_is_wrong_gets_no_time(changes, what):
    why = compiled().fault(row(**changes), 12)
    assert (why is None) if what is None else (what in why)
    timed = dataclasses.replace(row(), steps=[0.002, 0.004], left_out=why)
    assert timed.milliseconds == (None if what else pytest.approx(3))


def run_of(graphs=(1, 1), **changes):
    rows = [
        {"way": way, "uncompiled": plain, "milliseconds": ms, "left_out": None, "breaks": 0}
        for way, plain, ms in (
            ("dense", None, 100.0), ("dense, compiled", "dense", 80.0),
            ("PSA", None, 60.0), ("PSA, compiled", "PSA", 41.0),
        )
    ]  # fmt: skip
    rows[1]["graphs"], rows[3]["graphs"] = graphs
    rows[3].update(changes)
    return {"rows": rows}


def test_what_compiling_saves():
    assert compiled().saved(run_of()) == {"dense": 20.0, "psa": 19.0, "share": 0.95}
    unknown = compiled().saved(run_of(milliseconds=None))
    assert unknown == {"dense": 20.0, "psa": None, "share": None}


def test_psa_that_costs_a_graph_is_no_success():
    assert compiled().is_good(run_of())
    assert not compiled().is_good(run_of(graphs=(1, 2)))
    assert not compiled().is_good(run_of(breaks=1))
    assert not compiled().is_good(run_of(left_out="nothing was compiled"))
