"""The benchmark of whole steps, with a small model on the CPU."""

import argparse
import importlib
import json
import time

import pytest
import torch

STEPS = 3


@pytest.fixture
def bench(comfy_inproc):
    from psa_pack.benchmarks.steps import wan
    from psa_pack.benchmarks.steps.measure import Bench

    model = wan.load(wan.SMALL, torch.device("cpu"))
    return Bench(comfy_inproc, model, wan.SMALL.layers, wan.SMALL_VIDEO, STEPS)


@pytest.fixture
def naps(monkeypatch):
    """Seconds that the calls of PSA, two a step, are made to sleep: in each step longer.

    Comparisons with them hold on a busy machine too: nothing sleeps shorter than it should.
    """
    from psa_engines.core import deciding

    real, slept = deciding.psa_attention, []

    def slow(*args, **kwargs):
        slept.append(0.05 * (1 + len(slept) // 2))
        time.sleep(slept[-1])
        return real(*args, **kwargs)

    monkeypatch.setattr(deciding, "psa_attention", slow)
    return slept


def ways():
    from psa_pack.benchmarks.steps import ways as found

    return found


def sparse(**changes):
    from psa_pack.psa_kernels import PSAConfig

    return PSAConfig(block_m=64, block_n=32, rearrange_method="Gilbert", tail=8, **changes)


def test_dense_and_psa_get_times(bench, naps):
    dense = bench.measure(ways().dense_ways()[0])
    assert dense.left_out is None and dense.error == 0.0
    assert len(dense.steps) == STEPS - 1 and min(dense.steps) <= dense.seconds <= max(dense.steps)
    row = bench.measure(ways().psa("test", sparse()))
    assert row.left_out is None
    assert 0 < row.error < 0.1
    # no warm-up, whatever the preset has
    assert row.report["calls"]["sparse"] == 2 * STEPS
    # of the two steps after the first; the GPU run shows how near these figures are to each other
    slept = sum(naps[2:]) / 2
    assert slept < row.attention < row.seconds
    # PSA's own steps begin later than those of the clock outside, and the last one ends before it
    assert slept < row.own["step"] < row.seconds


def test_garbage_gets_no_time(bench):
    bench.measure(ways().dense_ways()[0])
    garbage = ways()._overriding("garbage", lambda q, k, v: torch.randn_like(v) * 9)
    row = bench.measure(garbage)
    assert row.seconds is None and "off" in row.left_out


def test_a_way_that_fails_leaves_the_others_their_times(bench):
    def older(q, k, v):
        raise TypeError("sol_attn_plan(): incompatible function arguments")

    failing = ways()._overriding("of another version", older)
    with pytest.raises(TypeError):  # without dense attention there is nothing to compare with
        bench.measure(failing)
    bench.measure(ways().dense_ways()[0])
    row = bench.measure(failing)
    assert row.seconds is None and row.left_out.startswith("TypeError: sol_attn_plan()")
    assert bench.measure(ways().psa("test", sparse())).seconds > 0


def test_calls_that_stayed_dense_get_no_time(bench):
    from psa_pack.benchmarks.steps.ways import Way

    bench.measure(ways().dense_ways()[0])
    idle = Way("idle", lambda model: model.clone(), served=[0])
    assert "0 of 6" in bench.measure(idle).left_out
    dense = ways().psa("dense", sparse(type="dense"))
    row = bench.measure(dense)
    assert row.seconds is None and "0 of 6 calls sparse" in row.left_out


def test_a_rehearsal_by_the_command(comfy_inproc, comfyui_path, tmp_path, capsys):
    from psa_pack.benchmarks.steps.__main__ import main

    line = ["--small", "--settings", "shares of fast", "--out", str(tmp_path)]
    line += ["--only", "own", "fast (10-40%)", "shares of fast, like keys", "tau 1"]
    assert main([*line, "--comfyui", str(comfyui_path)]) == 0
    (run,) = json.loads((tmp_path / "steps.json").read_text("utf-8"))["runs"]
    own, psa, like_keys, peer, again = run["rows"]
    assert own["way"] == again["way"] and own["error"] == again["error"] == 0
    assert psa["way"] == "PSA, fast (10-40%)"
    assert psa["seconds"] > 0 and 0 < psa["report"]["density"] < 1
    assert like_keys["way"] == "PSA, shares of fast, like keys" and like_keys["seconds"] > 0
    assert peer["left_out"].startswith("Unavailable: ") or torch.cuda.is_available()
    assert "its report: step" in capsys.readouterr().out


def test_whole_renders_by_the_command(comfy_inproc, comfyui_path, tmp_path, capsys):
    from psa_pack.benchmarks.steps.renders import main

    line = ["--small", "--presets", "balanced", "fast", "--out", str(tmp_path)]
    assert main([*line, "--comfyui", str(comfyui_path)]) == 0
    (run,) = json.loads((tmp_path / "renders.json").read_text("utf-8"))["runs"]
    dense, *rows = run["rows"]
    assert dense["seconds"] == pytest.approx(20 * sorted(dense["steps"])[1])
    for row, sparse in zip(rows, (17, 18), strict=True):
        assert len(row["steps"]) == 20 and row["seconds"] == pytest.approx(sum(row["steps"]))
        # the preset's own dense steps are run, and count
        assert row["sparse"] == sparse and 1 - sparse / 20 < row["density"] < 1
    assert rows[0]["density"] > rows[1]["density"]
    assert f"{rows[1]['density']:8.3f}  fast" in capsys.readouterr().out


def test_a_render_without_sparse_steps_gets_no_time(bench):
    from psa_pack.benchmarks.steps import renders, wan
    from psa_pack.benchmarks.steps.models import Subject

    subject = Subject(bench.comfy, bench.model, wan.SMALL, None, "small", "small", bench.video)
    for preset, calls in ((sparse(warmup_steps=9), 0), (sparse(blocks={0: "dense"}), 3)):
        found = renders.render(subject, "x", preset, 3)
        assert found.seconds is None and found.left_out.startswith(f"{calls} calls sparse")


@pytest.mark.parametrize("command", ["__main__", "renders"])
def test_one_model_after_another(comfy_inproc, comfyui_path, tmp_path, monkeypatch, command):
    module = importlib.import_module(f"psa_pack.benchmarks.steps.{command}")
    parse = module.parse
    two = {"models": ["small", "small"], "steps": 2}
    monkeypatch.setattr(module, "parse", lambda argv: argparse.Namespace(**vars(parse(argv)) | two))
    line = ["--small", "--presets", "fast", "--out", str(tmp_path)]
    module.main([*line, "--comfyui", str(comfyui_path)])
    (found,) = tmp_path.iterdir()
    runs = json.loads(found.read_text("utf-8"))["runs"]
    assert [run["model"] for run in runs] == ["small", "small"]
    # those of dense attention
    assert all(run["rows"][0]["seconds"] > 0 for run in runs)


def test_a_run_is_reported_beside_a_clock_outside(comfy_inproc, bench, naps, tmp_path):
    from psa_pack.benchmarks.steps import psa_report
    from psa_pack.nodes.preset_value import PresetValue

    preset = PresetValue(sparse(warmup_steps=1), name="test")
    seconds, found = psa_report.run(bench.comfy, bench.model, bench.video, preset, STEPS)
    psa_report.write(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.png", "report.txt", "report.json"}
    (run,) = json.loads((tmp_path / "report.json").read_text("utf-8"))["models"][0]["runs"]
    assert run["calls"]["sparse"] == 2 * (STEPS - 1)
    own = [step["seconds"] for step in run["steps"]]
    assert len(own) == len(seconds) == STEPS and len(naps) == 2 * (STEPS - 1)
    # the first is warm-up; PSA's own steps begin later, and the last one ends before its callback
    for i in (1, 2):
        slept = sum(naps[2 * (i - 1) : 2 * i])
        assert own[i] > slept and seconds[i] > slept
    assert own[2] < seconds[2] and own[1] + own[2] < seconds[1] + seconds[2]
