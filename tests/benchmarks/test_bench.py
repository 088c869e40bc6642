"""The harness on the CPU: tiny cases, the torch reference, and methods that are wrong."""

import importlib
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from psa_kernels import PSAConfig, reference
from psa_kernels.tune import timing
from psa_pack.benchmarks import __main__ as bench
from psa_pack.benchmarks import (
    checks,
    inputs,
    measure,
    plots,
    psa_methods,
    report,
    sparse_peers,
)
from psa_pack.benchmarks.method import Method, Problem, Unavailable

from ..pack_import import ROOT


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def drawn(monkeypatch, request):
    """Pictures are drawn in one test: it takes longer than what they show."""
    if request.node.name != "test_pictures":
        monkeypatch.setattr(plots, "draw", lambda path: [])


def run(tmp_path, *arguments):
    code = bench.main([*arguments, "--out", str(tmp_path)])
    file = tmp_path / ("sweep.json" if "--sweep" in arguments else "shapes.json")
    return code, json.loads(file.read_text(encoding="utf-8"))


def test_quick_run(tmp_path, capsys):
    code, results = run(tmp_path, "--quick")
    text = capsys.readouterr().out
    assert code == 0
    assert results["environment"]["gpu"] is None
    assert {"date", "torch", "python", "commit", "arguments"} <= set(results["environment"])
    ours = [row for row in results["rows"] if row["kind"] == "psa"]
    assert len(ours) == len(psa_methods.QUICK)
    for row in ours:
        assert row["ms"] > 0 and row["low"] <= row["ms"] <= row["high"]
        assert 0 < row["density"] < 1 and 0 < row["error"] < 0.6 and row["ratio"] > 0
    dense = [row for row in results["rows"] if row["kind"] == "dense" and row["ms"]]
    assert max(row["ratio"] for row in dense) == 1
    absent = {row["method"]: row["left_out"] for row in results["rows"] if row["left_out"]}
    assert "needs a GPU" in absent["SageAttention"] and "Hopper" in absent["FlashAttention-3"]
    assert {table["method"] for table in results["stages"]} == {row["method"] for row in ours}
    assert "its times mean nothing" in text and "ms of each stage" in text


def test_runs_as_a_command(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "none", "--out", tmp_path]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SDPA math" in done.stdout


def test_sweep(tmp_path):
    code, results = run(tmp_path, "--sweep")
    assert code == 0
    assert {row["shape"] for row in results["rows"]} == {"160 tokens", "320 tokens"}
    assert any(row["kind"] == "psa" and row["ms"] for row in results["rows"])


def test_time_limit_leaves_out_and_says_so(tmp_path, capsys):
    code, results = run(tmp_path, "--quick", "--time-limit", "1e-9")
    assert code == 0 and results["rows"] == []
    assert "left out, the time limit is reached" in capsys.readouterr().out


# --- a result that fails a check has no time ---


def scaled(*arguments):
    return reference.attend(*arguments) * 1.02


def poisoned(*arguments):
    out = reference.attend(*arguments)
    out[0, -1, -1, -1] = torch.nan
    return out


class Fickle:
    """Adds a little more with every call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        return reference.attend(*arguments) + 1e-2 * self.calls


def raising(*arguments):
    raise RuntimeError("no such tile")


def flattened(*arguments):
    shares = reference.importance(*arguments)
    return (shares + shares.mean(-1, keepdim=True)) / 2  # ranks blocks as before


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ({"attend": scaled}, "disagrees with the reference"),
        ({"attend": poisoned}, "NaN or infinity"),
        ({"attend": Fickle()}, "other bits"),
        ({"attend": raising}, "FAILED: RuntimeError: no such tile"),
        ({"importance": flattened}, "disagrees with the reference"),
    ],
    ids=["wrong by 2%", "NaN", "not repeatable", "raises", "wrong importance"],
)
def test_failed_check_has_no_time(monkeypatch, tmp_path, capsys, stages, reason):
    names = ("reorder", "build_pyramid", "importance", "assign_levels", "attend", "head_groups")
    package = SimpleNamespace(**{name: getattr(reference, name) for name in names})
    vars(package).update(stages)
    for module in (psa_methods, checks):
        monkeypatch.setattr(module, "package_for", lambda *arguments: package)
    code, results = run(tmp_path, "--quick", "--only", "PSA 5% full, tail 64")
    assert code == 1
    (row,) = [row for row in results["rows"] if row["kind"] == "psa"]
    assert row["ms"] is None and row["ratio"] is None and "FAILED" in row["left_out"]
    assert reason in row["left_out"]
    assert results["stages"] == []
    table = [line for line in capsys.readouterr().out.splitlines() if line.endswith(row["method"])]
    assert table == []


def test_garbage_of_a_peer_is_not_timed_and_not_our_failure(monkeypatch, tmp_path):
    def prepare(problem):
        return lambda: torch.zeros_like(problem.q)

    peers = [Method("zeros", "sparse", prepare, 0.6, orders=("caller", "curve"))]
    monkeypatch.setattr(bench, "sparse_methods", lambda: peers)
    code, results = run(tmp_path, "--quick", "--only", "zeros")
    assert code == 0
    (row,) = [row for row in results["rows"] if row["method"] == "zeros"]
    assert row["ms"] is None and "CHECK FAILED: rel-L2 1" in row["left_out"]


# --- parts ---


def made_problem(grid=(4, 8, 10), text=16):
    q, k, v = inputs.make((2, 64, grid, text), device="cpu")
    return Problem(q, k, v, grid, text)


def test_curve_order_holds_the_same_rows():
    problem = made_problem()
    curve = problem.along_curve
    assert torch.equal(curve.q, problem.q[:, :, problem.curve])
    assert torch.equal(problem.curve.sort().values, torch.arange(336))
    truth = checks.Truth.of(problem)
    for case in (problem, curve):
        dense = torch.nn.functional.scaled_dot_product_attention(case.q, case.k, case.v)
        error, worst = truth.errors(dense, case)
        assert error < 0.005 and worst < 0.005


def test_an_error_counts_every_head():
    q, k, v = inputs.make((20, 32, (2, 6, 8), 0), device="cpu")
    problem = Problem(q, k, v, (2, 6, 8), 0)
    truth = checks.Truth.of(problem)
    for head in range(20):
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        out[:, head] *= 2
        error, worst = truth.errors(out, problem)
        assert error > 0.05 and worst == pytest.approx(1, abs=0.01)


def test_gain_gives_the_profile_its_peakedness():
    problem = made_problem(grid=(6, 16, 16), text=0)
    shares = []
    for profile in ("peaked", "medium", "flat"):
        gain = inputs.gain_for(problem.q, problem.k, profile)
        shares.append(inputs.share_for_mass(problem.q, problem.k, gain))
        assert abs(shares[-1] - inputs.PROFILES[profile]) < 0.1
    assert shares == sorted(shares)


class ByName(timing.Clock):
    """Calls take as many milliseconds as their name says, on any machine."""

    def __init__(self, calls):
        super().__init__(torch.device("cpu"))
        self.takes = {call: float(name) for name, call in calls.items()}

    def start(self, call):
        super().start(call)()
        return lambda: self.takes[call]


def test_a_call_takes_as_long_as_it_sleeps():
    # nothing sleeps shorter than it should
    assert timing.Clock(torch.device("cpu")).start(lambda: time.sleep(0.02))() >= 20


class Queued(timing.Clock):
    """A GPU's: a call is launched in 2 ms, and then takes 1 ms there as soon as it is free."""

    def __init__(self):
        self.cuda, self.host, self.free = True, 0.0, 0.0

    def keep_busy(self, seconds):
        self.free = max(self.free, self.host) + seconds

    def start(self, call):
        begin = max(self.free, self.host)
        self.host += 2e-3
        end = self.free = max(self.free, self.host) + 1e-3

        def milliseconds():
            self.host = max(self.host, end)
            return (end - begin) * 1e3

        return milliseconds


def test_the_first_call_of_a_round_is_not_charged_for_its_launch(monkeypatch):
    clock = Queued()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.host)
    alone = clock.start(None)()
    assert alone == pytest.approx(3)
    timings = timing.alternate(dict.fromkeys("abc"), clock, seconds_each=0.1)
    assert [found.ms for found in timings.values()] == pytest.approx([1, 1, 1])


def test_calls_take_turns():
    made = []
    calls = {name: (lambda name=name: made.append(name)) for name in "12"}
    timings = timing.alternate(calls, ByName(calls), seconds_each=1.0, least=3, most=4)
    assert made == list("12" * 5)  # one more, to see how long they take
    assert all(found.count == 4 for found in timings.values())


def test_slow_calls_get_fewer_turns_spread_over_the_run():
    made = []
    calls = {name: (lambda name=name: made.append(name)) for name in ("50", "0.1")}
    timings = timing.alternate(calls, ByName(calls), seconds_each=0.1, least=2, most=20)
    assert timings["0.1"].count == 20
    assert timings["50"].count == 2 and timings["50"].ms == 50
    # one more, to see how long they take; of twenty rounds the tenth and the last have both
    assert [i for i, name in enumerate(made[2:]) if name == "50"] == [9, 20]


def test_timing_summary():
    found = timing.Timing.of([float(x) for x in range(1, 21)])
    assert (found.ms, found.low, found.high, found.count) == (10.5, 3.0, 18.0, 20)


def test_shares_join_up():
    assert psa_methods.shares(0.05, eight=0.15) == {
        1: (0, 0.05), 2: (0.05, 0.05), 4: (0.05, 0.05), 8: (0.05, 0.2), 0: (0.2, 1)
    }  # fmt: skip
    assert all(isinstance(config, PSAConfig) for config in psa_methods.CONFIGS.values())


def test_absent_peers_have_a_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # newer ComfyUI brings this one along
    monkeypatch.setitem(sys.modules, "comfy_kitchen", None)
    problem = made_problem()
    for method in sparse_peers.sparse_methods():
        if method.name.startswith("FlexAttention"):
            continue
        with pytest.raises(Unavailable, match=r"not installed|needs|import"):
            method.prepare(problem)


def test_a_peer_that_does_not_import_has_a_reason(monkeypatch, tmp_path):
    (tmp_path / "sageattention.py").write_text("raise OSError('libcudart.so.12: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(Unavailable, match=r"does not import: OSError: libcudart\.so\.12"):
        sparse_peers._sage(made_problem())


def test_peers_are_found_in_a_folder_and_measured(monkeypatch, tmp_path, capsys):
    """A module in a folder named by PEERS is called like the real one."""
    peers = tmp_path / "peers"
    peers.mkdir()
    (peers / "sageattention.py").write_text(
        "import torch\n\n\n"
        "def sageattn(q, k, v, tensor_layout, is_causal):\n"
        "    assert tensor_layout == 'HND' and not is_causal\n"
        "    return torch.nn.functional.scaled_dot_product_attention(q, k, v)\n"
    )
    monkeypatch.setenv("PEERS", str(peers))
    monkeypatch.setattr(bench.sys, "path", list(bench.sys.path))
    # taken out again in the end: a ComfyUI imported later would take it for installed
    monkeypatch.setitem(sys.modules, "sageattention", None)
    del sys.modules["sageattention"]
    monkeypatch.setattr(
        sparse_peers, "_module", lambda name, package: importlib.import_module(name)
    )
    _, results = run(tmp_path, "--quick", "--only", "sage")
    (row,) = [row for row in results["rows"] if row["method"] == "SageAttention"]
    assert row["ms"] > 0 and row["error"] < 0.01


def test_flex_keeps_the_most_important_blocks():
    problem = made_problem(grid=(8, 16, 16), text=0)
    kept = sparse_peers._kept(problem, 0.25)
    assert kept.shape == (1, 2, 16, 16)
    assert (kept.sum(-1) == 4).all()
    assert sparse_peers._flex_density(0.25, problem) == 0.25


def test_tables_show_what_is_missing_as_a_dash():
    row = measure.Row("x", "psa", "s", "medium", "caller", error=0.01)
    line = report.table([row]).splitlines()[-1]
    assert line.split() == ["-", "-", "-", "-", "0.0100", "-", "-", "x"]


def test_pictures(tmp_path):
    run(tmp_path, "--quick", "--only", "PSA 5%")
    pictures = sorted(tmp_path.glob("*.png"))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert pictures == []
    else:
        assert [path.name for path in pictures] == ["error-smoke-medium.png"]
        assert pictures[0].stat().st_size > 10_000
