"""The record of a run, against a spy on the model's attention calls and against sums by hand."""

import time

import numpy as np
import pytest
import torch

from .sampling import Spy, agree_by_place, override_of, run_of, sparse_config

BLOCKS = 2


def record_of(patched):
    """The last run's, from the log that the model carries."""
    from psa_pack.nodes.recording.run_log import log_of

    return log_of(patched).latest()[-1]


def run(bench, config=None, *, patch=None, **sample):
    spy = Spy()
    patched = bench.patch(config, **(patch or {}))
    bench.sample(spy.on(patched), **sample)
    return record_of(patched), spy


def test_two_samplers_write_one_record_each(bench):
    from psa_pack.nodes.recording.run_log import log_of

    config, same = sparse_config(warmup_steps=4), {"steps": 6, "cfg": 1.0}
    patched, spies = bench.patch(config), (Spy(), Spy())
    latent = bench.sample(spies[0].on(patched), last_step=3, **same)
    bench.sample(spies[1].on(patched), start_step=3, latent=latent, disable_noise=True, **same)
    runs = log_of(patched).latest()
    assert [len(x.report["steps"]) for x in runs] == [3, 3]
    for logged, spy in zip(runs, spies, strict=True):
        agree_by_place(logged, spy)
    # outside of ComfyUI's queue, what was asked for once is not new any more; the last run stays
    assert log_of(patched).latest() == runs[1:]


def test_density_and_levels_of_every_block_step_and_head_are_the_quotas(bench):
    """topk fixes them: six key blocks of 32, one each on levels 1, 2 and 8, three on the tail."""
    logged, _ = run(bench, sparse_config(warmup_steps=1), steps=3, cfg=1.0)
    sparse = [cell for cell in logged.record.cells if cell.sparse]
    assert {(cell.step, cell.block) for cell in sparse} == {(s, b) for s in (1, 2) for b in (0, 1)}
    for cell in sparse:
        # three query blocks of 64 to a head
        assert cell.tally.pairs.tolist() == [[3, 3, 0, 3, 9]] * 2
        assert cell.tally.density == pytest.approx([(32 + 16 + 4 + 3 * 1) / 192] * 2)
        assert cell.tally.calls == 1
        np.testing.assert_allclose(cell.tally.mass.sum(1), 1, rtol=1e-5)
        # S ranks the blocks: what is read finer holds more of it
        mass = cell.tally.mass
        assert (mass[:, 0] >= mass[:, 1]).all() and (mass[:, 1] >= mass[:, 3]).all()
    # the run's own dense calls were timed: it keeps nobody's attention alive to time it later
    assert [times.redo for times in logged.record.shapes.values()] == [None]
    report = logged.report
    assert report["density"] == pytest.approx(55 / 192)
    assert report["per_level"] == pytest.approx(
        {"1": 1 / 6, "2": 1 / 6, "4": 0, "8": 1 / 6, "0": 1 / 2}
    )
    assert sum(report["mass"].values()) == pytest.approx(1)


def test_times_are_those_an_outside_clock_sees(bench, monkeypatch):
    """On a CPU the recorder reads the wall clock. Calls are made slow, the first by most, and what
    is compared is true however busy the machine is: nothing sleeps shorter than it is told.

    `python -m benchmarks.steps` compares GPU events with an outside clock.
    """
    import comfy.model_management

    from psa_engines.core import deciding

    if comfy.model_management.get_torch_device().type != "cpu":
        pytest.skip("a GPU's events do not count that the host sleeps")

    real = deciding.psa_attention
    naps = []

    def slow(*args, **kwargs):
        naps.append(0.1 if naps else 0.3)
        time.sleep(naps[-1])
        return real(*args, **kwargs)

    run(bench, sparse_config(warmup_steps=1), steps=4, cfg=1.0)  # what only a first run does
    monkeypatch.setattr(deciding, "psa_attention", slow)
    began = time.perf_counter()
    logged, spy = run(bench, sparse_config(warmup_steps=1), steps=4, cfg=1.0)
    outside = time.perf_counter() - began
    times = logged.report["times"]
    assert times["timer"] == "wall clock" and times["compile_calls"] == 0
    assert len(naps) == len(spy.sparse) == 3 * BLOCKS
    slept = 1000 * sum(naps)
    assert slept < times["psa_ms"] < 1000 * outside - times["dense_ms"] - times["other_ms"]
    assert times["dense_ms"] > 0 and times["other_ms"] > 0
    seconds = [step["seconds"] for step in logged.report["steps"]]
    for i, step in enumerate(seconds[1:]):
        assert step > sum(naps[i * BLOCKS : (i + 1) * BLOCKS])
    # a dense step has no nap, and no nap is counted twice
    assert 0 < seconds[0] < outside - sum(seconds[1:])
    (shape,) = logged.record.shapes
    assert shape[:4] == (1, 2, 192, 128)
    assert len(logged.record.shapes[shape].psa) == len(spy.sparse)
    assert logged.report["speedup"] < 1  # made slow on purpose


def test_a_recorder_that_fails_costs_figures_and_no_render(bench, monkeypatch, caplog):
    from psa_engines.core.recording import recorder

    expected = bench.sample(bench.patch())

    class Broken(recorder.NoClock):
        def mark(self):
            raise RuntimeError("no events here")

    monkeypatch.setattr(recorder, "clock_of", lambda device: Broken())
    patched = bench.patch()
    assert torch.equal(bench.sample(patched), expected)
    report = record_of(patched).report
    assert report["missing"] == "RuntimeError: no events here" and report["failure"] is None
    assert report["calls"] == {"sparse": 4 * BLOCKS, "dense": {"cross-attention": 4 * BLOCKS}}
    assert report["times"]["psa_ms"] is None
    assert sum("could not record" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_count_of_kernels_that_fails_costs_figures_and_no_render(bench, monkeypatch, nth):
    from psa_engines.core.recording import recorder

    expected = bench.sample(bench.patch(), steps=2, cfg=1.0)
    calls = []

    def kernels():
        calls.append(1)
        if len(calls) == nth:
            raise RuntimeError("dictionary changed size during iteration")
        return 0

    monkeypatch.setattr(recorder, "compiled_kernels", kernels)
    patched = bench.patch()
    assert torch.equal(bench.sample(patched, steps=2, cfg=1.0), expected)
    assert len(calls) >= nth
    report = record_of(patched).report
    assert "changed size" in report["missing"] and report["failure"] is None
    # once each, as what they were
    assert report["calls"] == {"sparse": 2 * BLOCKS, "dense": {"cross-attention": 2 * BLOCKS}}


def test_a_dense_call_that_psa_could_not_serve_has_no_say_in_the_speed(comfy_inproc):
    run = run_of(["warm-up", None])
    q, k, v = (torch.randn(1, 192, 256) for _ in range(3))
    one_head = {"k": k[..., :128], "v": v[..., :128]}
    for step in (0, 1):
        override = override_of(run, step)
        for options in (
            {}, {"mask": torch.ones(192, 192)}, one_head, {"low_precision_attention": False},
            {"novel": 1},
        ):  # fmt: skip
            override(lambda q, k, v, **_: v, q, **{"k": k, "v": v, "heads": 2, **options})
    report, record = run.finish(None)
    assert report["calls"] == {
        "sparse": 1,
        "dense": {"warm-up": 5, "masked attention": 1, "fewer key heads without enable_gqa": 1,
                  "model asks for full precision": 1, "unknown option novel": 1},
    }  # fmt: skip
    ((shape, times),) = record.shapes.items()
    assert shape.tokens == 192 and (len(times.psa), len(times.dense)) == (1, 1)
    # with the block that they are of
    assert {cell.block for cell in record.cells} == {0, 1, 2, 3, 4}


def test_a_clone_writes_into_the_same_log_and_a_second_patch_begins_another(bench):
    from psa_pack.nodes.recording.run_log import MOST_RUNS, log_of

    patched = bench.patch()
    clone = patched.clone()
    assert log_of(clone) is log_of(patched) is not None
    assert log_of(bench.model) is None
    again = bench.patch(model=patched)
    assert log_of(again) is not log_of(patched)
    small = {"shape": (1, 16, 1, 4, 4), "steps": 1, "cfg": 1.0}
    for _ in range(MOST_RUNS + 3):
        bench.sample(clone, **small)
    assert len(log_of(patched).latest()) == MOST_RUNS
    assert log_of(patched).left_out == 3
    assert not log_of(again).latest()
    bench.sample(clone, **small)
    assert len(log_of(patched).latest()) == 1 and log_of(patched).left_out == 0


def test_a_prompt_of_more_runs_than_are_kept_is_told_so(comfy_inproc):
    from psa_pack.nodes.recording.run_log import MOST_RUNS, LoggedRun, RunLog
    from psa_pack.nodes.reporting.report import as_json, reports_of
    from psa_pack.nodes.reporting.text import text_of

    log = RunLog()

    def note(prompt, runs):
        for _ in range(runs):
            log.add(LoggedRun(prompt=prompt, note="not planned"))
        reports = reports_of([log])
        (told,) = as_json(reports)["models"]
        assert len(told["runs"]) == min(runs, MOST_RUNS)
        assert not told["note"] or told["note"] in text_of(reports)
        return told["note"]

    assert note("a", MOST_RUNS) is None
    # those that go are of another prompt
    assert note("b", MOST_RUNS) is None
    assert note("c", 20).startswith("Only the last 16 of 20 runs")
    assert note("d", 1) is None
    assert note(None, 18).startswith("Only the last 16 of 18 runs")
    assert note(None, 2) is None


def test_settings_of_blocks_that_the_model_does_not_have_are_named(bench, caplog):
    from psa_kernels.config import BlockOverrides

    def said(**options):
        caplog.clear()
        bench.sample(bench.patch(**options), steps=2, cfg=1.0)
        return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]

    assert not said(dense_blocks=frozenset({0, 1}))
    ranges = {"0-50%": {"blocks": {"8-9": "dense"}}}
    config = sparse_config(blocks=BlockOverrides({7: "dense", 1: "dense"}), steps=ranges)
    (line,) = said(config=config, dense_blocks=frozenset({0, 2, 3}))
    assert "settings of blocks 2-3, 7-9 had no effect" in line and "only blocks 0-1 had" in line


def test_what_is_kept_of_a_call_holds_no_tensor():
    from psa_pack.nodes.recording.dense_call import DenseCall, TensorSpec

    x = torch.zeros(1, 4, 8)
    options = {
        "sizes": (3, (4, 5)), "shape": x.shape, "name": "a", "held": (x,), "deep": (1, (2, x)),
        "list": [x], "sum": x,
    }  # fmt: skip
    call = DenseCall.of(max, None, (x, x, x), {"heads": 2, "transformer_options": options})
    assert call.args == (TensorSpec.of(x),) * 3
    kept = {"sizes": (3, (4, 5)), "shape": x.shape, "name": "a"}
    assert call.kwargs == {"heads": 2, "transformer_options": kept}


def test_progress_says_step_state_density_and_speed(bench, monkeypatch):
    from psa_engines.core.recording import live

    said = []
    config = sparse_config(warmup_steps=1)
    patched = bench.patch(config, on_progress=said.append)
    monkeypatch.setattr(live, "EVERY", 0.0)
    bench.sample(patched, steps=3, cfg=1.0)
    assert said[0] == {"text": "step 1/3, dense (warm-up)", "step": 1, "steps": 3,
                       "state": "dense", "density": None, "speedup": None}  # fmt: skip
    last = said[-1]
    assert last["step"] == 3 and last["density"] == pytest.approx(55 / 192)
    assert last["text"] == f"step 3/3, sparse, 29% density, {last['speedup']:.1f}x attention"
    assert [x["step"] for x in said] == sorted(x["step"] for x in said)

    said.clear()
    monkeypatch.setattr(live, "EVERY", 1000.0)
    bench.sample(patched, steps=3, cfg=1.0)
    # what is compiled ahead on a GPU is said at once
    assert len([x for x in said if "compiling" not in x["text"]]) == 1

    def broken(message):
        said.append(message)
        raise OSError("the page is gone")

    said.clear()
    monkeypatch.setattr(live, "EVERY", 0.0)
    expected = bench.sample(patched, steps=3, cfg=1.0)
    told = bench.patch(config, on_progress=broken)
    said.clear()
    assert torch.equal(bench.sample(told, steps=3, cfg=1.0), expected)
    assert len(said) == 1


@pytest.mark.gpu
def test_on_a_gpu_recording_waits_for_nothing(comfy_inproc, monkeypatch):
    """Sparse and dense calls, and the line about them, while torch forbids waiting."""
    from psa_engines.core.recording import live

    monkeypatch.setattr(live, "EVERY", 0.0)
    said = []
    run = run_of(["warm-up", None], on_progress=said.append)
    q, k, v = (torch.randn(1, 768, 256, device="cuda", dtype=torch.float16) for _ in range(3))
    scores = torch.nn.functional.scaled_dot_product_attention

    def calls():
        for step in (0, 1):
            override = override_of(run, step, (3, 16, 16))
            run.recorder.model_call(step, q.device)
            for _ in range(3):
                override(lambda q, k, v, **_: scores(q, k, v), q, k, v, heads=2)
            run.recorder.model_call_ended(q.device)

    calls()  # compiles, and copies token orders to the GPU
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        calls()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    report, record = run.finish(None)
    assert report["missing"] is None and report["times"]["timer"] == "GPU events"
    assert report["calls"] == {"sparse": 6, "dense": {"warm-up": 6}}
    assert report["times"]["psa_ms"] > 0 and report["times"]["dense_ms"] > 0
    assert all(seconds > 0 for seconds in record.steps)
    assert said[-1]["density"] == pytest.approx(report["density"])
