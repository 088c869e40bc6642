"""PSA Report's figures from runs made up by hand, and from real ones."""

import json
import time

import numpy as np
import pytest
import torch

from .made_runs import made_run
from .sampling import Spy, sparse_config


@pytest.fixture
def told(comfy_inproc):
    """told(run, ...) -> the figures of a log with these runs, one each."""
    from psa_pack.nodes.recording.run_log import RunLog
    from psa_pack.nodes.reporting.report import as_json, reports_of

    def figures(*runs):
        log = RunLog()
        for run in runs:
            log.add(run)
        return as_json(reports_of([log]))["models"][0]["runs"]

    return figures


def report_on(*models):
    """What the node gives for these models: (picture, text, figures)."""
    from psa_pack.nodes.report import PSAReport

    out = PSAReport.execute(models[0], "the latent", *models[1:])
    after, image, text, data = out.result
    assert after == "the latent"
    assert image.dtype == torch.float32 and image.shape[0] == 1 and image.shape[2:] == (1600, 3)
    assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.01
    return image, text, json.loads(data)


def test_saving_by_hand(told):
    # 5 dense steps of 8 + 40 * 0.168 s, 15 sparse ones of 8 + 40 * 0.028 s
    (run,) = told(made_run())
    gain = run["saving"]
    assert gain["attention"] == pytest.approx(6)
    assert gain["saved_s"] == pytest.approx(15 * 40 * 0.140)
    assert gain["run_s"] == pytest.approx(5 * 14.72 + 15 * 9.12)
    assert gain["without_s"] == pytest.approx(20 * 14.72)
    assert gain["run"] == pytest.approx(20 * 14.72 / (5 * 14.72 + 15 * 9.12), rel=1e-4)
    assert (gain["sparse_step_s"], gain["dense_step_s"]) == (9.12, 14.72)
    assert gain["dense_step_from"] == "measured"
    assert gain["step"] == pytest.approx(14.72 / 9.12, rel=1e-4)
    assert gain["share"] == pytest.approx(6.72 / 14.72, rel=1e-4)
    assert gain["limit"] == pytest.approx(14.72 / 8, rel=1e-4)
    assert gain["repaid"] is None
    assert run["parts"] == pytest.approx(
        {"psa": 16.8, "dense": 33.6, "other": 0.4, "compile": 0, "rest": 159.6}
    )
    (shape,) = run["shapes"]
    assert shape["dense_from"] == "this run's dense steps" and shape["dense_calls"] == 200


def test_compiling_is_kept_apart(told):
    (without,), (run,) = told(made_run()), told(made_run(compile_seconds=14.0))
    assert run["times"]["compile_seconds"] == 14 and run["times"]["compile_calls"] == 1
    # its calls have the usual time, its step no say in what a step takes
    for name, value in without["saving"].items():
        if name != "repaid":
            assert run["saving"][name] == pytest.approx(value), name
    assert run["saving"]["repaid"] == pytest.approx(14 / (40 * 0.140))
    assert run["parts"]["compile"] == 14 and run["parts"]["rest"] == pytest.approx(159.6)
    # a run whose only sparse step compiled has no time of a sparse step
    (short,) = told(made_run(steps=6, compile_seconds=14.0))
    assert short["saving"]["sparse_step_s"] is None and short["saving"]["step"] is None
    assert short["saving"]["run"] == pytest.approx(6 * 14.72 / (5 * 14.72 + 9.12), rel=1e-4)


def test_the_first_step_says_nothing_of_the_others(told):
    slow = made_run(steps=6, warmup=1)
    slow.record.steps[0] += 30
    (run,) = told(slow)
    assert run["saving"]["dense_step_from"] == "computed"
    assert run["saving"]["dense_step_s"] == pytest.approx(14.72)
    slow = made_run(steps=6, warmup=2)
    slow.record.steps[0] += 30
    (run,) = told(slow)
    assert (run["saving"]["dense_step_from"], run["saving"]["dense_step_s"]) == ("measured", 14.72)


def test_without_a_dense_time_nothing_is_claimed(told):
    from psa_pack.nodes.reporting import words

    (run,) = told(made_run(warmup=0, own_dense=False))
    assert set(run["saving"].values()) == {None}
    assert run["shapes"][0]["dense_ms"] is None and run["shapes"][0]["dense_reason"]
    assert "dense was not measured: no dense call" in words.timing(run)[0]


def test_slower_than_dense_is_said(told):
    from psa_pack.nodes.reporting import words

    (run,) = told(made_run(psa_ms=200.0))
    assert run["saving"]["saved_s"] < 0 < run["saving"]["run"] < 1
    said = "\n".join(words.timing(run))
    assert "LOST" in said and "slower than dense" in said


def test_maps_are_of_blocks_steps_and_heads(told):
    def density(step, block, head):
        return 0.01 * (step + 1) + 0.1 * block + 0.2 * head

    (run,) = told(made_run(steps=4, warmup=1, blocks=3, heads=2, density=density))
    wanted = [
        [None, *(np.mean([density(s, b, h) for h in (0, 1)]) for s in (1, 2, 3))] for b in range(3)
    ]
    found = run["block_steps"]["density"]
    assert [row[0] for row in found] == [None] * 3
    assert np.array([row[1:] for row in found]) == pytest.approx(
        np.array([row[1:] for row in wanted]), rel=1e-4
    )
    by_head = [[np.mean([density(s, b, h) for s in (1, 2, 3)]) for b in range(3)] for h in (0, 1)]
    assert np.array(run["head_blocks"]["density"]) == pytest.approx(np.array(by_head), rel=1e-4)
    levels = run["block_steps"]["levels"]
    assert levels.keys() == {"1", "0"}
    assert levels["1"][2][3] == pytest.approx(found[2][3]) == pytest.approx(1 - levels["0"][2][3])
    assert [b["density"] for b in run["blocks"]] == pytest.approx(
        [np.mean([density(s, b, h) for s in (1, 2, 3) for h in (0, 1)]) for b in range(3)], rel=1e-4
    )
    # nothing was dropped quietly: without a tail, what is on level 0 is not read
    assert run["retained"] == pytest.approx(1 - run["mass"]["0"])


def test_the_estimate_stands_beside(told, gpu):
    from psa_pack.nodes.reporting import words

    (run,) = told(made_run())
    assert run["estimate"]["attention"]["value"] > 1 and run["estimate"]["offer"] is None
    said = words.expectation(run)
    assert said.startswith("Estimated beforehand: attention ") and " the run " in said
    assert said.endswith("; measured on 2031-01-01 against PyTorch attention")
    (other,) = told(made_run(heads=12))  # a preset of another family's
    assert other["estimate"] is None and words.expectation(other) is None


def test_what_was_not_measured_is_offered_in_a_sentence(told, unmeasured, monkeypatch):
    from psa_pack.nodes.estimate import times
    from psa_pack.nodes.reporting import words

    (run,) = told(made_run())
    assert run["estimate"]["attention"]["value"] is None
    (said,) = (line for line in words.timing(run) if "beforehand" in line)
    assert said == words.expectation(run) and "PSA Self-test" in said and "head_dim 128" in said
    # no times of another machine are told as this one's, and a CPU cannot be measured
    monkeypatch.setattr(times, "machine_of", lambda device: None)
    (run,) = told(made_run())
    assert "no GPU" in run["estimate"]["attention"]["reason"] and words.expectation(run) is None


def test_a_real_run_agrees_with_spy_and_clock(bench, monkeypatch):
    from psa_engines.core import deciding

    real = deciding.psa_attention

    def slow(*args, **kwargs):
        time.sleep(0.05)
        return real(*args, **kwargs)

    monkeypatch.setattr(deciding, "psa_attention", slow)
    spy = Spy()
    patched = bench.patch(sparse_config(warmup_steps=2), dense_blocks=frozenset({1}))
    began = time.perf_counter()
    bench.sample(spy.on(patched), steps=5, cfg=1.0)
    outside = time.perf_counter() - began
    _, text, data = report_on(patched)
    (run,) = data["models"][0]["runs"]
    assert run["calls"]["sparse"] == len(spy.sparse) == 3
    assert sum(run["calls"]["dense"].values()) == len(spy.calls) - 3
    assert [(b["block"], b["sparse"], b["dense"]) for b in run["blocks"]] == [
        (0, 3, {"warm-up": 2}), (1, 0, {"warm-up": 2, "dense block": 3}),
    ]  # fmt: skip
    # a GPU's clock begins when it is through with what came before the call
    assert run["shapes"][0]["psa_ms"] > 40 and run["saving"]["attention"] < 1
    assert 0.15 < run["saving"]["run_s"] < outside
    assert run["saving"]["without_s"] == pytest.approx(
        run["saving"]["run_s"] + run["saving"]["saved_s"], rel=1e-3
    )
    assert "3 of 10 self-attention calls sparse" in text and "slower than dense" in text


def test_dense_calls_are_made_where_the_run_had_none(bench):
    """By the attention that would have served them, an override of another node's included."""
    from psa_pack.nodes.recording.run_log import log_of

    made = []

    def other(func, *args, **kwargs):
        made.append([(x.shape, x.stride(), x.dtype) for x in args[:3]])
        time.sleep(0.01)
        return func(*args, **kwargs)

    model = bench.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = other
    patched = bench.patch(sparse_config(warmup_steps=0), model=model)
    bench.sample(patched, steps=2, cfg=1.0)
    cross = len(made)
    assert cross == 4
    _, _, data = report_on(patched)
    (shape,) = data["models"][0]["runs"][0]["shapes"]
    assert shape["dense_from"] == "measured after the run"
    # on a GPU its first event is recorded a little after the call began
    assert shape["dense_ms"] > 9
    assert shape["dense_calls"] == len(made) - cross - 1 == 5
    dtype = made[0][0][2]  # the run's own
    assert made[-1] == [((1, 192, 256), (49152, 256, 1), dtype)] * 3
    assert data["models"][0]["runs"][0]["saving"]["dense_step_from"] == "computed"
    # a second report has the same to tell, and measures nothing
    (logged,) = log_of(patched).latest()
    assert [times.redo for times in logged.record.shapes.values()] == [None]
    _, _, again = report_on(patched)
    assert again["models"][0]["runs"][0]["shapes"] == [shape]
    assert len(made) == cross + 6


def test_dense_calls_are_made_on_the_gpu_that_the_run_was_on(comfy_inproc, monkeypatch):
    """Of several; not all attention looks where its inputs are. The GPU is a fake one."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from psa_engines.core.recording.clocks import WallClock
    from psa_pack.nodes.recording.dense_call import DenseCall
    from psa_pack.nodes.reporting import dense_time

    gpu, current, seen = torch.device("cuda", 0), [], []

    class Device(torch.cuda.device):  # a type, since torch asks what is an instance of it
        def __enter__(self):
            current.append(torch.device("cuda", self.idx))

        def __exit__(self, *_):
            current.pop()

    def serve(q, heads):
        seen.append((q.device, *current))

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(dense_time, "clock_of", lambda device: WallClock())
    with FakeTensorMode():
        call = DenseCall.of(serve, None, (torch.empty(1, 192, 256, device=gpu),), {"heads": 2})
        dense_time._timed(call, gpu)
    assert set(seen) == {(gpu, gpu)}


def test_the_other_parts_dense_steps_will_do(told):
    """Split sampling, or two experts: the warm-up is in the first run."""
    _, second = told(made_run(dense_ms=150.0), made_run(warmup=0, own_dense=False))
    (shape,) = second["shapes"]
    assert shape["dense_ms"] == 150 and shape["dense_from"] == "the other run's dense steps"
    assert second["saving"]["attention"] == pytest.approx(150 / 28, rel=1e-4)
    assert second["saving"]["dense_step_from"] == "computed"
    assert second["saving"]["dense_step_s"] == pytest.approx(8 + 40 * 0.150)


def test_a_dense_call_that_fails_or_takes_too_long_is_left_out(bench, monkeypatch):
    from psa_pack.nodes.reporting import dense_time

    calls = []

    def other(func, *args, **kwargs):
        if len(calls) == 4:
            raise torch.OutOfMemoryError("no room for it")
        calls.append(1)
        return func(*args, **kwargs)

    model = bench.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = other
    patched = bench.patch(sparse_config(warmup_steps=0), model=model)
    bench.sample(patched, steps=2, cfg=1.0)
    _, text, data = report_on(patched)
    (shape,) = data["models"][0]["runs"][0]["shapes"]
    assert shape["dense_ms"] is None and shape["dense_reason"].endswith("no room for it")
    assert "no room for it" in text
    # only a CPU can take too long: a GPU is asked again
    monkeypatch.setattr(dense_time, "MOST_CPU", 0.0)
    _, text, _ = report_on(patched)
    on_cpu = bench.model.load_device.type == "cpu"
    assert ("s on this CPU" if on_cpu else "no room for it") in text


def test_what_is_said_where_there_is_nothing_to_tell(bench):
    _, text, data = report_on(bench.model)
    assert "There is no PSA on this model" in text and data["models"][0]["runs"] == []
    patched = bench.patch()
    _, text, _ = report_on(patched)
    assert "Nothing has been sampled" in text
    _, text, data = report_on(patched, bench.model)
    assert text.startswith("PSA report, model 1\n") and len(data["models"]) == 2


def test_a_run_without_a_plan_and_one_that_stepped_aside(bench, monkeypatch):
    from psa_engines.core import deciding
    from psa_pack.nodes.patching import around_run

    patched = bench.patch(sparse_config(warmup_steps=1))

    def broken(*args, **kwargs):
        raise RuntimeError("no kernel for this GPU")

    with monkeypatch.context() as patch:
        patch.setattr(around_run, "plan_run", broken)
        bench.sample(patched, steps=2, cfg=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(deciding, "psa_attention", broken)
        bench.sample(patched, steps=2, cfg=1.0)
    _, text, data = report_on(patched)
    unplanned, aside = data["models"][0]["runs"]
    assert "could not plan" in unplanned["note"] and unplanned["note"] in text
    assert "PSA stepped aside: RuntimeError: no kernel for this GPU" in text
    assert aside["calls"]["sparse"] == 0 and aside["density"] is None


def test_nan_from_a_kernel_is_reported_and_does_not_spoil_the_figures(bench, failing):
    failing(1, float("nan"))
    patched = bench.patch(sparse_config(warmup_steps=1))
    bench.sample(patched, steps=3, cfg=1.0)
    _, text, data = report_on(patched)
    assert "NaN or Inf" in text
    (run,) = data["models"][0]["runs"]
    # both blocks of step 2 ran sparse before their output was looked at
    assert run["calls"]["sparse"] == 2 and 0 < run["density"] < 1
    assert run["repeated"] == 1 and "1 model call was made again, dense" in text
    assert [block["block"] for block in run["blocks"]] == [0, 1]


def test_nan_in_q_leaves_the_mass_out(bench, monkeypatch):
    from psa_engines.core import deciding
    from psa_pack.nodes.apply_psa import _finished

    real, calls = deciding.psa_attention, []

    def spoiled(q, k, v, **kwargs):
        calls.append(1)
        hit = len(calls) == 4  # block 1 of step 3
        out, stats = real(torch.full_like(q, float("nan")) if hit else q, k, v, **kwargs)
        if hit:  # the reference calls such mass even, kernels need not
            vars(stats)["sums"] = torch.cat((stats.sums[:, :-1], stats.sums[:, -1:] + 1), 1)
        return out, stats

    monkeypatch.setattr(deciding, "psa_attention", spoiled)
    patched = bench.patch(sparse_config(warmup_steps=1, tail="none"))
    bench.sample(patched, steps=4, cfg=1.0)
    assert "NaN or Inf in the output of attention call 1" in bench.report["failure"]
    # the page reads strict JSON
    told = json.loads(json.dumps(_finished(bench.report), allow_nan=False))["report"]
    assert told["calls"]["sparse"] == 4 and set(told["mass"].values()) == {None}
    _, text, data = report_on(patched)
    (run,) = data["models"][0]["runs"]
    assert "(- of the mass)" in text
    spared, hit = run["blocks"]
    assert set(hit["mass"].values()) == {None}
    assert sum(spared["mass"].values()) == pytest.approx(1, abs=1e-3)
    # of block 0 in steps 2 and 3, and of block 1 in step 2
    assert 0 < run["retained"] < 1


def test_after_an_interrupt_the_report_says_so_and_a_step_that_is_cut_off_has_no_time(
    bench, failing
):
    from comfy.model_management import InterruptProcessingException

    failing(4, InterruptProcessingException)  # the second block of step 3
    patched = bench.patch(sparse_config(warmup_steps=1))
    with pytest.raises(InterruptProcessingException):
        bench.sample(patched, steps=5, cfg=1.0)
    _, text, data = report_on(patched)
    (run,) = data["models"][0]["runs"]
    assert run["ended"] == "interrupted" and "ended early: interrupted" in text
    assert [step["sparse"] for step in run["steps"]] == [0, 2, 1, 0, 0]
    seconds = [step["seconds"] for step in run["steps"]]
    assert seconds[2:] == [None] * 3 and min(seconds[:2]) > 0


def test_a_report_that_fails_hands_the_latent_on(bench, monkeypatch):
    from psa_pack.nodes import report

    def broken(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(report, "reports_of", broken)
        _, text, _ = report_on(bench.patch())
        assert "The report failed: OSError: the disk is full" in text
    with monkeypatch.context() as patch:
        patch.setattr(report.ui, "PreviewImage", broken)
        _, text, _ = report_on(bench.patch())
        assert "Nothing has been sampled" in text
    monkeypatch.setattr(report, "picture_of", broken)
    after, image, text, data = report.PSAReport.execute(bench.patch(), "the latent").result
    assert after == "the latent" and image.shape == (1, 64, 64, 3)
    assert "There is no picture: OSError: the disk is full" in text and json.loads(data)


@pytest.mark.parametrize(
    "run",
    [
        {"steps": 4, "warmup": 1, "blocks": 6, "heads": 2},
        {"steps": 30, "warmup": 8, "blocks": 60, "heads": 24, "compile_seconds": 14.0,
         "density": lambda s, b, h: 0.05 + 0.1 * (b % 7) / 7 + 0.05 * (h % 5) / 5},
        {"steps": 150, "warmup": 150, "blocks": 3, "heads": 2},
        {"steps": 1, "warmup": 0, "blocks": 1, "heads": 1, "own_dense": False},
        {"steps": 0, "warmup": 0},
    ],
    ids=["small", "large", "all dense", "one call", "no step"],
)  # fmt: skip
def test_pictures_of_any_size(comfy_inproc, run):
    from psa_pack.nodes.recording.run_log import RunLog
    from psa_pack.nodes.reporting.picture import picture_of
    from psa_pack.nodes.reporting.report import reports_of
    from psa_pack.nodes.reporting.text import text_of

    log = RunLog()
    log.add(made_run(**run))
    log.add(made_run(**run))
    (report,) = reports_of([log])
    assert len(report.runs) == 2
    image = picture_of([report, report])
    assert image.width == 1600 and 1500 < image.height < 4 * 4000
    # not cut off: below the last card is the background
    assert len(image.crop((0, image.height - 6, 1600, image.height)).getcolors()) == 1
    assert "run 2 of 2" in text_of([report]).lower()
