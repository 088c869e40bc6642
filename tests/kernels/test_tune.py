"""The tuner's search, with real calls on a CPU and with made-up times; no GPU, no kernel."""

import inspect
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psa_kernels import measured, reference
from psa_kernels.measured import Machine, entries, place
from psa_kernels.triton import settings, tuning
from psa_kernels.tune import bench, candidates, run, search, times
from psa_kernels.tune.candidates import Variant
from psa_kernels.tune.search import NOT_REACHED, Budget, TuneError, gain_is_noise
from psa_kernels.tune.timing import Clock, Timing, alternate

from ..pack_import import ROOT

CPU = torch.device("cpu")
OF_COMFYUI = "PyTorch attention", "SageAttention"  # names of its dense attention
ROWS = [Variant(tuning.ATTEND["sm_86"][128]), Variant(tuning.ESTIMATE["sm_86"][128])]
SHAPES = [x for row in ROWS for x in candidates.shapes(row, 128, False, False)]


class GivenBench:
    """A bench whose milliseconds, and reasons against a variant, are given."""

    def __init__(self, ms=lambda variant: 1.0, reason=lambda variant: ""):
        self.ms, self.reason = ms, reason
        self.prepared, self.timed = [], []

    def prepare(self, variant):
        self.prepared.append(variant)
        return self.reason(variant)

    def time(self, variants, seconds):
        assert set(variants) <= set(self.prepared), "timed before it was checked"
        self.timed += [x for x in variants if x not in self.timed]
        return {x: Timing(self.ms(x), self.ms(x), self.ms(x), 20) for x in variants}

    time_long = time


def searched(bench, in_use=ROWS, seconds=3600.0, **how):
    how = {"width": 128, "tma": False, "limits": False, "workers": 2} | how
    return search.search(bench, ROWS, in_use, budget=Budget(seconds), **how)


def chosen(found):
    return [found.outcomes[row.kernel].chosen for row in ROWS]


@given(st.data())
def test_the_fastest_right_variant_wins_and_a_second_run_changes_nothing(data):
    """Of shapes; the depths of the winner are its own."""
    slow = st.floats(0.5, 2.0)
    times = {x: data.draw(slow) for x in (*ROWS, *SHAPES)}
    wrong = {x for x in SHAPES if data.draw(st.booleans())}
    bench = GivenBench(lambda x: times.get(x, 3.0), lambda x: "spills" if x in wrong else "")
    found = searched(bench)
    assert not wrong & set(bench.timed) and wrong == set(found.left_out)
    for row in ROWS:
        right = [x for x in times if x.kernel == row.kernel and x not in wrong]
        best = min(right, key=times.__getitem__)
        outcome = found.outcomes[row.kernel]
        if times[row] / times[best] >= 1 + search.NOISE:
            assert times[outcome.chosen] == times[best]  # of two as fast, either
        else:
            assert outcome.chosen == row
        assert math.isclose(outcome.gain, times[row] / times[outcome.chosen])
    again = searched(bench, chosen(found))
    assert chosen(again) == chosen(found)


def test_depths_that_help_each_alone_are_tried_together():
    def ms(x):
        if x.kernel == "importance":
            return 1.0
        s = x.settings
        return 2.0 - 0.1 * (s.full_stages == 3) - 0.2 * (s.list_stages == 3)

    found = searched(GivenBench(ms))
    settings = chosen(found)[0].settings
    assert (settings.full_stages, settings.list_stages) == (3, 3)
    # without the second moment the tail may be no deeper than what was measured with it
    assert settings.tail_stages == ROWS[0].settings.tail_stages


def test_what_is_in_use_goes_only_for_a_gain_beyond_noise():
    now = [SHAPES[0], ROWS[1]]
    other = SHAPES[1]
    for gain, wins in ((1.015, False), (1.03, True)):
        ms = {now[0]: 1.0, other: 1.0 / gain, ROWS[0]: 1.5}
        bench = GivenBench(lambda x, ms=ms: ms.get(x, 2.0))
        outcome = searched(bench, now).outcomes["attention"]
        assert outcome.chosen == (other if wins else now[0])
        assert math.isclose(outcome.gain, 1.5 / ms[outcome.chosen])


def test_what_is_in_use_and_does_not_run_any_more_gives_way_to_the_row():
    found = searched(
        GivenBench(reason=lambda x: "gone" if x == SHAPES[0] else ""), [SHAPES[0], ROWS[1]]
    )
    assert found.outcomes["attention"].before == ROWS[0] and found.left_out[SHAPES[0]] == "gone"


@pytest.mark.parametrize(("count", "noise"), [(4, True), (400, False)])
def test_noise_is_what_so_many_turns_cannot_tell(count, noise):
    """Each ranges over 10%, and one is 4% faster."""
    one, other = Timing(1.04, 0.94, 1.14, count), Timing(1.0, 0.9, 1.1, count)
    assert gain_is_noise(one, other) == noise
    assert gain_is_noise(Timing(1.01, 1.01, 1.01, 400), Timing(1.0, 1.0, 1.0, 400))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_time_is_kept_and_what_it_left_out_is_said(workers, monkeypatch):
    bench, clock, began = GivenBench(), SimpleNamespace(now=0.0), []
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(search, "time", clock)

    def prepare(variant):
        began.append(clock.now)
        clock.now += 0.3
        return GivenBench.prepare(bench, variant)

    bench.prepare = prepare
    budget = Budget(3.0, start=0.0)
    found = search.search(
        bench, ROWS, ROWS, budget=budget, width=128, tma=False, limits=False, workers=workers
    )
    assert max(began) < 3.0
    missed = [x for x, reason in found.left_out.items() if reason == NOT_REACHED]
    assert missed and len(missed) + len(bench.prepared) >= len(SHAPES)
    # the likeliest of both kernels came first
    assert {x.kernel for x in bench.timed if x not in ROWS} == {"attention", "importance"}


def test_a_row_that_does_not_run_is_an_error():
    with pytest.raises(TuneError, match="the table's own settings do not run: no compiler"):
        searched(GivenBench(reason=lambda x: "no compiler" if x == ROWS[1] else ""))


def test_candidates_are_within_what_a_kernel_takes():
    for row in tuning.ATTEND:
        for width in (64, 128, 256):
            for table, dtype in ((tuning.ATTEND, torch.bfloat16), (tuning.ESTIMATE, None)):
                base = Variant(tuning.pick(table, row, dtype or torch.float16, width))
                found = candidates.shapes(base, width, tma=True, limits=True)
                assert 4 <= len(set(found)) == len(found) <= 24 and base not in found
                for x in (*found, *candidates.depths(base)):
                    settings.check(x.kernel, type(x.settings), vars(x.settings))


@pytest.mark.parametrize(("qk", "found"), [("half", {1}), ("int8", {2})])
def test_of_specialised_settings_only_the_depth_is_searched(qk, found):
    row = Variant(tuning.SPECIALISED[qk], qk)
    assert candidates.shapes(row, 128, tma=True, limits=True) == []
    others = candidates.depths(row)
    assert {x.settings.full_stages for x in others} == found
    for x in others:
        settings.check(x.kernel, type(x.settings), vars(x.settings))
        assert replace(x.settings, full_stages=row.settings.full_stages) == row.settings
        assert str(x) == f"specialised warps, depth {x.settings.full_stages}"
    assert candidates.joined(row, others[:1]) == []


class OwnTime(Clock):
    """The processor time of this thread: what other programs take meanwhile is not in it."""

    def start(self, call):
        begin = time.thread_time()
        call()
        took = (time.thread_time() - begin) * 1e3
        return lambda: took


class Products:
    """Real products on this CPU: a variant with large tiles does an eighth of the work."""

    def prepare(self, variant):
        return "" if self.call(variant)().isfinite().all() else "wrong numbers"

    def call(self, variant):
        large = variant.settings == SHAPES[0].settings
        a = torch.ones(96 if large else 768, 192)
        return partial(torch.mm, a, torch.ones(192, 192))

    def time(self, variants, seconds):
        return alternate({x: self.call(x) for x in variants}, OwnTime(CPU), seconds_each=0.01)

    time_long = time


@pytest.fixture
def on_a_gpu(monkeypatch, tmp_path):
    here = Machine("NVIDIA GeForce RTX 4090", "580.1", "2.11.0", "3.6.0", "0123456789ab")
    for module in (measured, entries):
        monkeypatch.setattr(module, "machine_of", lambda device: here)
    monkeypatch.setattr(tuning, "architecture", lambda device: "sm_86")
    monkeypatch.setenv(place.VARIABLE, str(tmp_path / "measured.json"))
    measured.forget()
    yield tmp_path / "measured.json"
    measured.forget()


def no_times(*call, **how):
    return {}, {}


def tuned(bench, seconds=3600.0, measure_times=no_times, of=(128, torch.bfloat16)):
    """A run on the machine of `on_a_gpu`, with a bench and times of our own."""
    return run.tune(
        *of, budget=Budget(seconds), device=CPU, make_bench=lambda *call: bench,
        measure_times=measure_times,
    )  # fmt: skip


def call_of(tokens, dense_ms, factor=1.0):
    psa = [
        {"density": density} | dict.fromkeys(("order_ms", "anew_ms", "kept_ms"), ms * factor)
        for density, ms in ((0.1, 2.0), (0.3, 4.0))
    ]
    return {"tokens": tokens, "heads": 12, "dense_ms": {times.LIBRARY: dense_ms}, "psa": psa}


class Times:
    """Of whole calls at the `lengths`, as given; `factor` of them the next time."""

    factor, lengths, n64 = 1.0, (32760,), None

    def __call__(self, device, head_dim, dtype, *, budget, say, int8):
        self.int8 = int8
        calls = [call_of(tokens, 9.0, self.factor) for tokens in self.lengths]
        found = {"matmul_tflops": 90.0, "calls": calls} | ({"n64": self.n64} if self.n64 else {})
        return found, {"times at 75,600 tokens": NOT_REACHED}


def test_times_are_kept_with_the_settings_and_renewed_where_they_differ(on_a_gpu):
    timed = Times()
    first = tuned(GivenBench(), measure_times=timed)
    (found,), wrong = entries.read_file(on_a_gpu)
    assert not wrong and found["times"]["calls"] == [call_of(32760, 9.0)]
    assert "A whole call of 32,760 tokens, 12 heads: dense 9 ms, PSA 2 ms at density 0.1" in (
        first.text
    )
    assert first.lines[-1] == f"times at 75,600 tokens: {NOT_REACHED}"
    before = on_a_gpu.read_bytes()
    for factor, changes in ((1.05, False), (0.8, True)):
        timed.factor = factor
        assert tuned(GivenBench(), measure_times=timed).changed == changes
        assert (on_a_gpu.read_bytes() != before) == changes
    # where the next run has no time left for them, they stay beside its new settings
    assert tuned(GivenBench(lambda x: 0.5 if x == SHAPES[0] else 1.0)).changed
    (found,), _ = entries.read_file(on_a_gpu)
    assert found["times"]["calls"] == [call_of(32760, 9.0, 0.8)]
    assert found["attend"]["half"] == vars(SHAPES[0].settings)


@pytest.mark.parametrize(
    ("other", "held"),
    [((128, torch.float16), [(128, "bfloat16"), (128, "float16")]),
     ((80, torch.bfloat16), [(80, "bfloat16")])],  # of one row width there is one entry
    ids=str,
)  # fmt: skip
def test_what_serves_another_call_lends_it_settings_and_no_times(on_a_gpu, other, held):
    """Though the same settings are the fastest."""
    fastest = GivenBench(lambda x: 0.5 if x == SHAPES[0] else 1.0)
    timed = Times()
    tuned(fastest, measure_times=timed)
    (first,), _ = entries.read_file(on_a_gpu)
    timed.factor = 0.5
    found = tuned(fastest, measure_times=timed, of=other)
    assert found.changed and "nothing is faster than what was measured before" in found.text
    (*others, own), _ = entries.read_file(on_a_gpu)
    assert [(x["head_dim"], x["dtype"]) for x in (*others, own)] == held
    assert own["times"]["calls"] == [call_of(32760, 9.0, 0.5)]
    assert others in ([], [first])
    on_a_gpu.unlink()
    measured.write(on_a_gpu, first)
    assert tuned(fastest, of=other).changed  # this run has no time left for them
    assert "times" not in entries.read_file(on_a_gpu)[0][-1]
    before = on_a_gpu.read_bytes()
    assert not tuned(fastest, of=other).changed and on_a_gpu.read_bytes() == before


def test_an_entry_has_the_day_on_which_it_was_written(on_a_gpu):
    timed = Times()
    tuned(GivenBench(), measure_times=timed)
    (first,), _ = entries.read_file(on_a_gpu)
    measured.write(on_a_gpu, first | {"date": "2020-01-01"})
    before = on_a_gpu.read_bytes()
    assert not tuned(GivenBench(), measure_times=timed).changed and on_a_gpu.read_bytes() == before
    timed.factor = 0.8
    assert tuned(GivenBench(), measure_times=timed).changed
    (again,), _ = entries.read_file(on_a_gpu)
    assert again["date"] == first["date"]


def test_times_of_a_hosts_attention_stay_as_long_as_those_beside_them(on_a_gpu):
    timed = Times()
    timed.lengths = 8112, 32760
    tuned(GivenBench(), measure_times=timed)
    (entry,), _ = entries.read_file(on_a_gpu)
    for name in OF_COMFYUI:
        assert name != times.LIBRARY
        for call in entry["times"]["calls"]:
            call["dense_ms"][name] = 20.0
    measured.write(on_a_gpu, entry)
    before = on_a_gpu.read_bytes()
    timed.factor = 1.05
    assert not tuned(GivenBench(), measure_times=timed).changed and on_a_gpu.read_bytes() == before
    changed = Times()

    def one_other(*call, **how):
        same, other = (x(*call, **how)[0]["calls"] for x in (timed, changed))
        return {"matmul_tflops": 90.0, "calls": [same[0], other[1]]}, {}

    changed.lengths, changed.factor = timed.lengths, 0.8
    assert tuned(GivenBench(), measure_times=one_other).changed
    (entry,), _ = entries.read_file(on_a_gpu)
    kept, new = entry["times"]["calls"]
    assert kept["dense_ms"].keys() == {times.LIBRARY, *OF_COMFYUI}
    assert new == call_of(32760, 9.0, 0.8)


def test_times_of_a_run_that_was_short_of_time_leave_those_it_did_not_reach(on_a_gpu):
    timed = Times()
    timed.lengths, timed.n64 = (32760, 75600, 8112), 1.1
    tuned(GivenBench(), measure_times=timed)
    timed.lengths, timed.n64, timed.factor = (75600,), None, 0.5
    assert tuned(GivenBench(), measure_times=timed).changed
    (entry,), _ = entries.read_file(on_a_gpu)
    assert entry["times"] == {
        "matmul_tflops": 90.0, "n64": 1.1,
        "calls": [call_of(32760, 9.0), call_of(75600, 9.0, 0.5), call_of(8112, 9.0)],
    }  # fmt: skip
    before = on_a_gpu.read_bytes()
    assert not tuned(GivenBench(), measure_times=timed).changed and on_a_gpu.read_bytes() == before


@pytest.mark.parametrize("reason", ["", "wrong numbers, rel-L2 3.0e-01"])
def test_int8_is_timed_where_its_numbers_are_right(on_a_gpu, reason):
    timed = Times()
    tuned(GivenBench(reason=lambda x: reason * (x.qk == "int8")), measure_times=timed)
    assert timed.int8 == (not reason)


def test_times_that_nobody_measured_are_refused(on_a_gpu):
    tuned(GivenBench(), measure_times=Times())
    text = on_a_gpu.read_text()
    for wrong in (
        ('"matmul_tflops": 90.0', '"matmul_tflops": 0'), ('"density": 0.3', '"x": 1'),
        ('"density": 0.3', '"density": 0.1'), ('"tokens": 32760', '"tokens": "x"'),
    ):  # fmt: skip
        assert wrong[0] in text
        on_a_gpu.write_text(text.replace(*wrong))
        found, reason = entries.read_file(on_a_gpu)
        assert not found and "not what the tuner writes" in reason


@pytest.fixture
def one_thread():
    """Whose processor time is then the time of a product."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_measured_for_real_written_used_and_left_alone(on_a_gpu, one_thread):
    # its time is never over: a busy machine takes longer, and measures the same
    first = tuned(Products(), seconds=3600.0)
    assert first.changed and str(on_a_gpu) in first.text and "Compiling took " in first.text
    assert "The attention's times include the pyramid before it." in first.text
    assert tuning.attend(CPU, torch.bfloat16, 128) == SHAPES[0].settings
    (found,), _ = entries.read_file(on_a_gpu)
    assert found["gain"]["attention"] > 1.2 and found["tried"] > 10
    for _ in range(4):  # of variants that do the same work, one may seem faster once
        before = on_a_gpu.read_bytes()
        second = tuned(Products(), seconds=3600.0)
        if not second.changed:
            break
    assert not second.changed and "stays as it is" in second.text
    assert on_a_gpu.read_bytes() == before


def test_both_precisions_keep_their_own_settings_and_the_faster_one_is_named(on_a_gpu, monkeypatch):
    monkeypatch.setattr(tuning, "limits_registers", lambda device: True)
    shapes = candidates.shapes(ROWS[0], 128, False, True)
    limited = [x for x in shapes if x.settings.registers]
    took = {"half": 1.0, "int8": 0.7}

    def ms(variant):
        return took[variant.qk] * (0.8 if variant.settings == limited[0].settings else 1)

    tuned(GivenBench(ms))
    assert tuning.attend(CPU, torch.bfloat16, 128).registers == limited[0].settings.registers
    assert tuning.attend(CPU, torch.bfloat16, 128, "int8") != tuning.row_attend(
        CPU, torch.bfloat16, 128, "int8"
    )
    assert tuning.measured_qk(CPU, 128, torch.bfloat16) == "int8"
    took["half"] = 0.69  # faster by less than measuring can tell
    assert not tuned(GivenBench(ms)).changed
    took["half"] = 0.6
    tuned(GivenBench(ms))
    assert tuning.measured_qk(CPU, 128, torch.bfloat16) == "half"


def test_where_the_specialised_row_does_not_run_the_portable_one_serves(on_a_gpu, monkeypatch):
    special, portable = tuning.SPECIALISED["half"], tuning.ATTEND["sm_86"][128]
    monkeypatch.setattr(tuning, "_specialises", lambda device: True)
    monkeypatch.setattr(tuning, "architecture", lambda device: "sm_90")
    monkeypatch.setattr(tuning, "portable_attend", lambda *of_call: portable)
    bench = GivenBench(reason=lambda x: "no Gluon" if x.settings == special else "")
    found = tuned(bench)
    named = f"attention, {special}"
    assert f"Left out: {named}, no Gluon." in found.text
    assert f"{named}: no Gluon" in found.lines
    assert [x.settings for x in bench.prepared if x.kernel == "attention"][:2] == [
        special, portable
    ]  # fmt: skip
    assert tuning.attend(CPU, torch.bfloat16, 128) == portable
    tuned(GivenBench(lambda x: 1.0 if x.settings == special else 1.5))  # it runs again
    assert tuning.attend(CPU, torch.bfloat16, 128).specialised


def test_sums_of_each_product_keep_their_own_settings_and_the_faster_one_is_named(
    on_a_gpu, monkeypatch
):
    monkeypatch.setattr(tuning, "halves_float32_sums", lambda device: True)
    took = {
        ("half", "float32"): 1.0, ("half", "float16"): 0.8, ("int8", "float32"): 0.9,
        ("int8", "float16"): 0.89,
    }  # fmt: skip

    def again():
        return tuned(GivenBench(lambda x: took[x.qk, x.sums])).changed

    assert again()
    (entry,), _ = entries.read_file(on_a_gpu)
    assert sorted(entry["attend"]) == ["half", "half, float16 sums", "int8", "int8, float16 sums"]
    assert (entry["qk"], entry["sums"]) == ("int8", {"half": "float16", "int8": "float32"})
    assert "attention on int8, float16 sums" in entry["gain"]

    def sums(qk):
        return tuning.measured_sums(CPU, 128, torch.bfloat16, qk)

    assert (sums("half"), sums("int8")) == ("float16", "float32")
    other = dict(entry["attend"]["half"], full_stages=1)
    text = on_a_gpu.read_text()
    entry["attend"]["half, float16 sums"] = other
    measured.write(on_a_gpu, entry)
    found = tuning.attend(CPU, torch.bfloat16, 128, "half", "float16")
    assert found.full_stages == 1 != tuning.attend(CPU, torch.bfloat16, 128).full_stages
    on_a_gpu.write_text(text.replace('"half, float16 sums"', '"half, sums"'))
    assert "sums.half: found 'float16'" in entries.read_file(on_a_gpu)[1]
    on_a_gpu.write_text(text)
    measured.forget()
    assert not again()
    took["int8", "float16"] = 0.5
    assert again()
    assert (sums("half"), sums("int8")) == ("float16", "float16")


def test_where_float32_sums_have_the_full_rate_no_other_ones_are_tried():
    archs = {"sm_80": False, "sm_86": True, "sm_90": False, "sm_100": False, "sm_120": True}
    for arch, tried in archs.items():
        with mock.patch.object(tuning, "architecture", lambda device, arch=arch: arch):
            assert tuning.halves_float32_sums(CPU) == tried


def test_a_gpu_without_int8_products_is_measured_all_the_same(on_a_gpu):
    found = tuned(GivenBench(reason=lambda x: "no such instruction" if x.qk == "int8" else ""))
    assert found.changed and "no such instruction" in found.lines[0]
    (entry,), _ = entries.read_file(on_a_gpu)
    assert entry["qk"] == "half" and list(entry["attend"]) == ["half", "half, float16 sums"]


def test_what_was_left_out_is_counted_by_kind(on_a_gpu):
    reasons = ["40 registers spill", "OutOfResources: out of resource: shared memory",
               "wrong numbers, rel-L2 3.0e-01"]  # fmt: skip
    wrong = dict(zip(SHAPES, reasons, strict=False))
    found = tuned(GivenBench(reason=lambda x: wrong.get(x, "")))
    assert "1 that spill registers, 1 that need more than the GPU has, 1 with wrong" in found.text
    assert len(found.lines) == 3 and "rel-L2 3.0e-01" in found.lines[2]


@pytest.mark.parametrize(
    ("call", "says"),
    [((0, torch.float16), "head_dim: found 0"), ((300, torch.float16), "head_dim: found 300"),
     ((64, torch.float32), "dtype: found float32, give bfloat16 or float16")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(call, says):
    with pytest.raises(TuneError, match=says):
        run.tune(*call, device=CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_command_says_that_there_is_no_gpu():
    done = subprocess.run([sys.executable, "-m", "psa_kernels.tune"], cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 1 and "no GPU here" in done.stdout and not done.stderr


BROKEN = "Triton's interpreter does not work here:"  # interpreter.py
INTERPRETED = Path(__file__).with_name("tune_interpreted.py")


def start(path, *arguments):
    return subprocess.Popen(
        [sys.executable, INTERPRETED, str(path), *arguments], cwd=ROOT, text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


triton_here = pytest.mark.skipif(
    not measured.machine.versions.installed()[0], reason="Triton is not installed"
)


def finished(process, said):
    """Skips where Triton's interpreter itself fails, which the program tries first."""
    if BROKEN in said:
        pytest.skip(said.strip().splitlines()[-1])
    return process.returncode


@triton_here
def test_real_kernels_in_the_interpreter_are_checked_and_timed(tmp_path):
    """A variant whose numbers are wrong is found by the reference, before any time is taken."""
    process = start(tmp_path / "measured.json", "wrong")
    said, _ = process.communicate(timeout=300)
    assert finished(process, said) == 0, said[-3000:]
    assert "left out, wrong numbers, rel-L2" in said and "all right" in said


def test_whole_calls_are_timed(monkeypatch):
    """Here by the torch reference, three times each."""
    monkeypatch.setattr(times, "alternate", partial(alternate, least=3, most=3))
    found, left_out = times.measure(CPU, 32, torch.float16, budget=Budget(600),
                                    sizes=(((1, 32, 40), 32), ((1, 32, 48), 32)))  # fmt: skip
    assert not left_out and [x["tokens"] for x in found["calls"]] == [1280, 1536]
    assert found["n64"] > 0 and found["matmul_tflops"] > 0
    for one in found["calls"]:
        thin, thick = one["psa"]
        assert 0 < thin["density"] < thick["density"] < 1 and one["dense_ms"][times.LIBRARY] > 0
        assert thick["kept_ms"] < thick["anew_ms"], one  # neither groups nor plan are made
        assert thin["int8_ms"] > 0 and thick["int8_ms"] > 0
    # what the kernels have not in int8 is not timed in it
    found, _ = times.measure(CPU, 16, torch.float16, budget=Budget(600),
                             sizes=(((1, 16, 20), 16),))  # fmt: skip
    assert "int8_ms" not in found["calls"][0]["psa"][0]
    found, left_out = times.measure(CPU, 32, torch.float16, budget=Budget(600), int8=False,
                                    sizes=(((1, 16, 20), 32),))  # fmt: skip
    assert "int8_ms" not in found["calls"][0]["psa"][0] and not left_out


@pytest.mark.parametrize(
    ("fails", "left_out"),
    [("int8", "PSA in int8 at 1,280 tokens"), ("dense", "dense attention at 1,280 tokens"),
     ("n64", "key blocks of 64")],
)  # fmt: skip
def test_what_fails_of_a_length_is_named_and_the_rest_is_timed(monkeypatch, fails, left_out):
    real = times.psa_attention

    def attention(*call, config, **how):
        if (fails == "int8" and config.qk == "int8") or (fails == "n64" and config.block_n == 64):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*call, config=config, **how)

    def dense(*call):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(times, "psa_attention", attention)
    if fails == "dense":
        monkeypatch.setattr(times, "scaled_dot_product_attention", dense)
    monkeypatch.setattr(times, "alternate", partial(alternate, least=1, most=1))
    found, missed = times.measure(CPU, 32, torch.float16, budget=Budget(600),
                                  sizes=(((1, 32, 40), 32),))  # fmt: skip
    assert missed == {left_out: "the GPU has no free memory"}
    (call,) = found["calls"]
    assert (fails == "n64") == ("n64" not in found)
    assert (fails == "int8") == ("int8_ms" not in call["psa"][0])
    assert (fails == "dense") == (not call["dense_ms"])
    entries._check_times(found)
    assert ("dense" in run._of_calls(call)) == (fails != "dense")


@pytest.mark.parametrize("name", ["_matmul", "Clock"])
def test_without_the_rate_of_products_no_call_is_timed(monkeypatch, name):
    def full(*call):
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    monkeypatch.setattr(times, name, full)
    found, missed = times.measure(CPU, 32, torch.float16, budget=Budget(600))
    assert not found and list(missed.values()) == ["the GPU has no free memory"]


class Output:
    """A kernel's, which is read when the GPU has run it."""

    def __init__(self, fault=None):
        self.fault = fault

    def float(self):
        if self.fault:
            raise self.fault
        return RIGHT


RIGHT = torch.tensor([100.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)  # of two heads


def bench_of(small=lambda *call: Output(), large=lambda *call: None, long=None):
    """A bench whose calls do this in place of running kernels."""
    found = object.__new__(bench.CallBench)
    found.device, found.dtype, found.clock, found.spills = CPU, torch.float16, Clock(CPU), {}
    right = dict.fromkeys(("attention", "importance"), RIGHT)
    found.small = mock.Mock(run=lambda *call: call[1].append(None) or small(*call), right=right)
    found.large, found.long = mock.Mock(run=large), mock.Mock(run=long or large)
    return found


def raising(error):
    def run(*call):
        raise error

    return run


FULL = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("Triton Error [CUDA]: out of memory")]  # fmt: skip


@pytest.mark.parametrize("error", FULL, ids=["torch", "Triton"])
def test_a_full_gpu_ends_the_search_and_writes_nothing(on_a_gpu, error):
    """Of no settings: the next time they may be the fastest."""
    assert bench_of().prepare(ROWS[0]) == ""
    for full in (bench_of(raising(error)), bench_of(large=raising(error)),
                 bench_of(lambda *call: Output(error))):  # fmt: skip
        with pytest.raises(TuneError, match="no free memory; close the programs that use it"):
            tuned(full)
    with pytest.raises(TuneError, match="no free memory"):
        bench_of(large=raising(error)).time(ROWS, 0.01)
    assert not on_a_gpu.exists()
    # a GPU too small for the long call serves the large one
    assert set(bench_of(long=raising(error)).time_long(ROWS, 0.01)) == set(ROWS)


def test_a_fault_that_comes_up_when_the_output_is_read_is_the_variants():
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert "an illegal memory access" in bench_of(lambda *call: Output(error)).prepare(ROWS[0])


def compiled_for(grid, heads, monkeypatch):
    """kernel -> what Triton compiles it for: of pointers and numbers, whether 16 divides them.

    No kernel runs: what is in the tensors decides nothing.
    """
    from psa_kernels.triton.estimate_kernel import mass_kernel

    found = {}

    def launch(kernel, *values, **constants):
        free = getattr(kernel, "do_not_specialize", None) or kernel.kwargs["do_not_specialize"]
        names = inspect.signature(kernel.fn).parameters
        found[kernel.fn.__name__] = {
            name: x.data_ptr() % 16 == 0 if isinstance(x, torch.Tensor) else (x == 1, x % 16 == 0)
            for name, x in zip(names, values, strict=False)
            if name not in free and not isinstance(x, float)
        }

    with monkeypatch.context() as patch:
        of_grid = lambda kernel, grid: partial(launch, kernel)  # noqa: E731
        patch.setattr(type(mass_kernel), "__getitem__", of_grid)
        call = bench.Call(grid, heads, 64, torch.float16, CPU)
        for row in (tuning.row_attend, tuning.row_estimate):
            call.run(Variant(row(CPU, torch.float16, 64)))
    return found


def test_each_head_is_held_against_the_reference_by_itself(monkeypatch):
    wrong = RIGHT * torch.tensor([1.0, 1.01]).view(1, 2, 1, 1)
    assert bench_of(lambda *call: RIGHT).prepare(ROWS[0]) == ""
    assert bench_of(lambda *call: wrong).prepare(ROWS[0]) == "wrong numbers, rel-L2 1.0e-02"
    assert "wrong numbers" in bench_of(lambda *call: RIGHT * math.nan).prepare(ROWS[0])
    # a GPU's kernels multiply values of float16 as bfloat16, which rounds more; not the importance
    monkeypatch.setattr(tuning, "values_dtype", lambda *of_call: torch.bfloat16)
    reasons = [bench_of(lambda *call: RIGHT * 1.005).prepare(row) for row in ROWS]
    assert reasons == ["", "wrong numbers, rel-L2 5.0e-03"]


@triton_here
@pytest.mark.parametrize("head_dim", [32, *measured.HEAD_DIMS])
def test_the_checked_call_takes_the_loops_with_a_running_maximum_and_those_without(
    head_dim, monkeypatch
):
    """By the kernel's own limit, in all of its programs."""
    from psa_kernels.triton import common
    from psa_kernels.triton.estimate_kernel import mass_kernel

    monkeypatch.setattr(type(mass_kernel), "__getitem__", lambda *of_grid: lambda *x, **y: None)
    monkeypatch.setattr(bench.Call, "right", None)
    few = dict.fromkeys(("large", "long"), (1, 8, 10))
    found = bench.CallBench(CPU, head_dim, torch.bfloat16, **few)
    call = found.small
    orders = reference.reorder(call.q, call.k, call.layout, call.config)
    q = call.q.float()[:, :, orders.q[0, 0]]
    longest = call.k.float().square().sum(-1).amax(-1)
    bound = (q.square().sum(-1) * longest[..., None]).sqrt() * call.scale * common.LOG2E
    of_programs = torch.stack([x.amax(-1) for x in bound.split(64, -1)], -1)
    assert (of_programs[:, ::2] < common.BOUND.value).all()
    assert (of_programs[:, 1::2] > common.BOUND.value).all()


@triton_here
def test_calls_of_all_sizes_take_the_same_compiled_kernels(monkeypatch):
    """Else each variant is compiled a second time, one after another, when it is to be timed."""
    heads = bench.heads_of(768, 64)
    small = compiled_for((1, 8, 10), bench.HEADS, monkeypatch)
    assert heads == 12 and {"attend_kernel", "mass_kernel", "pool_kernel"} < small.keys()
    assert compiled_for((2, 8, 10), heads, monkeypatch) == small
    # heads that are no multiple of HEADS are another compilation
    assert compiled_for((2, 8, 10), bench.HEADS + 1, monkeypatch) != small


@triton_here
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_it_and_the_old_file_stays(tmp_path):
    path = tmp_path / "measured.json"
    path.write_text('{"format": 1, "measured": []}')
    process = start(path, "command")
    for line in process.stdout:
        if "shapes of tiles: " in line or BROKEN in line:
            break
    finished(process, line)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 130 and "Interrupted; what was measured to its end" in said
    assert "Traceback" not in said
    assert path.read_text() == '{"format": 1, "measured": []}'


@pytest.mark.gpu
def test_the_gpus_own_settings(tmp_path):
    """Slow: what it takes to compile and time a part of the variants, twice."""
    path = tmp_path / "measured.json"
    device = torch.device("cuda", 0)
    first = run.tune(budget=Budget(60.0), file=path, device=device)
    assert first.changed
    (found,), wrong = entries.read_file(path)
    assert not wrong and min(found["gain"].values()) > 0.97 and found["tried"] >= 3
    assert len(found["times"]["calls"]) == len(times.SIZES)
    run.tune(budget=Budget(60.0), file=path, device=device)
    (again,), _ = entries.read_file(path)
    assert {x: again[x] for x in ("attend", "estimate")} == {
        x: found[x] for x in ("attend", "estimate")
    }
