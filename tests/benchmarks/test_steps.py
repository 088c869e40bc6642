"""The benchmark of whole steps, with a small model on the CPU."""

import pytest
import torch

STEPS = 3


@pytest.fixture
def bench(comfy_inproc):
    from psa_pack.benchmarks.steps import wan
    from psa_pack.benchmarks.steps.measure import Bench

    size = wan.Size(dim=256, heads=2, layers=2, ffn=512)
    model = wan.load(size, torch.device("cpu"))
    return Bench(comfy_inproc, model, size.layers, (3, 16, 16), STEPS)


def ways():
    from psa_pack.benchmarks.steps import ways as found

    return found


def sparse(**changes):
    from psa_pack.psa_kernels import PSAConfig

    return PSAConfig(block_m=64, block_n=32, rearrange_method="Gilbert", tail=8, **changes)


def test_dense_and_psa_get_times(bench):
    dense = bench.measure(ways().dense_ways()[0])
    assert dense.left_out is None and dense.error == 0.0
    assert len(dense.steps) == STEPS - 1 and min(dense.steps) <= dense.seconds <= max(dense.steps)
    row = bench.measure(ways().psa("test", sparse()))
    assert row.left_out is None
    assert 0 < row.error < 0.1
    # no dense step first, whatever the preset says
    assert row.report["calls"]["sparse"] == 2 * STEPS
    # a busy CPU's clock; the GPU run shows how near they are
    assert 0 < row.attention < row.seconds
    assert row.own["step"] == pytest.approx(row.seconds, rel=0.5)


def test_garbage_gets_no_time(bench):
    bench.measure(ways().dense_ways()[0])
    garbage = ways()._overriding("garbage", lambda q, k, v: torch.randn_like(v) * 9)
    row = bench.measure(garbage)
    assert row.seconds is None and "off" in row.left_out


def test_calls_that_stayed_dense_get_no_time(bench):
    from psa_pack.benchmarks.steps.ways import Way

    bench.measure(ways().dense_ways()[0])
    idle = Way("idle", lambda model: model.clone(), served=[0])
    assert "0 of 6" in bench.measure(idle).left_out
    dense = ways().psa("dense", sparse(type="dense"))
    row = bench.measure(dense)
    assert row.seconds is None and "0 of 6 calls sparse" in row.left_out


def test_what_is_missing_is_said(bench):
    bench.measure(ways().dense_ways()[0])
    row = bench.measure(ways().sparse_peers()[0])
    if torch.cuda.is_available():
        pytest.skip("a GPU may have it")
    assert row.left_out.startswith("Unavailable: ")


def test_a_run_is_told_beside_a_clock_outside(comfy_inproc, bench, tmp_path):
    import argparse
    import json

    from psa_pack.benchmarks.steps import told
    from psa_pack.nodes.preset_value import PresetValue

    preset = PresetValue(sparse(warmup_steps=1), name="test")
    args = argparse.Namespace(steps=STEPS)
    seconds, found = told.run(bench.comfy, bench.model, bench.video, preset, args)
    told.write(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.png", "report.txt", "report.json"}
    (run,) = json.loads((tmp_path / "report.json").read_text("utf-8"))["models"][0]["runs"]
    assert run["calls"]["sparse"] == 2 * (STEPS - 1)
    # a busy CPU's clock, and a first mark before the model is loaded
    for step, outside in list(zip(run["steps"], seconds, strict=True))[1:]:
        assert step["seconds"] == pytest.approx(outside, rel=0.5)


def test_what_recording_costs_is_measured(comfy_inproc):
    import argparse

    from psa_pack.benchmarks import recording

    args = argparse.Namespace(tokens=256, heads=2, preset="fast", calls=2, rounds=2)
    found = recording.measure(args)
    assert {len(times) for way in found.values() for times in way.values()} == {2}
    for way in found.values():
        assert all(0 < host <= call for host, call in zip(way["host"], way["call"], strict=True))
