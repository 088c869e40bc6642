"""Measuring on real sampler runs of the tiny Wan: what is measured, and that nothing is lost."""

import json
import weakref

import pytest
import torch

from psa_kernels import PSAConfig
from psa_pack.nodes.calibration.errors import CalibrationError
from psa_pack.nodes.calibration.journal import Journal
from psa_pack.nodes.calibration.sampled_steps import measured_steps

from ..composition.compiling import breaks, compiled, forget, graphs
from ..sampling import sparse_config
from .conftest import BLOCKS, STEPS, always_similar

RANGES = {
    "20-40%": {"mask_ratios": {1: (0, 0.6), 0: (0.6, 1)}},
    "40-60%": {"tail": 8},
    "80-100%": "dense",
}


def test_every_range_of_steps_is_measured_with_its_own_budgets(bench, calibrate):
    """Also where no step has the preset's own."""
    from psa_pack.nodes.calibration.ladder import scaled

    base = sparse_config(warmup_steps=1, grouping="similar", steps=RANGES)
    found, _ = calibrate(base, effort=(1, 1))
    assert list(found.calls) == [1, 2, 3]  # 0 is warm-up, 4 dense; each has a range of its own
    for step, own in ((1, (0, 0.6)), (2, (0, 0.2)), (3, (0, 0.2))):
        config = base.for_step(step / STEPS)
        assert config.mask_ratios[1] == own
        alone, _ = calibrate(
            config.replace(warmup_steps=step), folder=f"step {step}", effort=(1, 0)
        )
        ladders = [dict(zip(one.scales, one.calls[step][0].rungs, strict=True))
                   for one in (found, alone)]  # fmt: skip
        shared = set(ladders[0]) & set(ladders[1])
        assert 1.0 in shared and len(shared) >= 3
        for scale in shared:
            assert ladders[0][scale] == pytest.approx(ladders[1][scale]), (step, scale)
        assert ladders[0][1.0][0] < 1 and scaled(config, 1.0) == config.mask_ratios


def test_what_a_measured_step_stands_for():
    ranges = {step: "15-45%" if step < 9 else "45-70%" if step < 14 else None
              for step in range(3, 20)}  # fmt: skip
    assert measured_steps(ranges, 1) == {3: 6, 9: 5, 14: 6}
    assert measured_steps(ranges, 4) == {3: 3, 8: 3, 9: 5, 14: 6}
    assert measured_steps(ranges, 99) == dict.fromkeys(ranges, 1)
    assert measured_steps(dict.fromkeys(range(1, 20)), 4) == dict.fromkeys((1, 7, 13, 19), 19 / 4)


def test_a_sampler_that_adds_noise_is_looked_at_in_the_steps_that_psa_would_see(
    calibrate, monkeypatch
):
    """By its callback, as Apply PSA does: its model calls are above the sigmas of their steps."""
    import functools

    import comfy.k_diffusion.sampling as k_diffusion

    from psa_engines.core.current_step import CurrentStep

    churned = functools.partial(k_diffusion.sample_euler, s_churn=3.0)
    monkeypatch.setattr(k_diffusion, "sample_euler", churned)
    called, told, told_of = [], [], CurrentStep.called_back

    def called_back(self, step):
        told.append(step)
        told_of(self, step)
        called.append(self._now)

    monkeypatch.setattr(CurrentStep, "called_back", called_back)
    calibrate()
    # twice: in token order as well; the last measured step ends it
    assert told == called == [0, 1, 2, 3] * 2


def test_blocks_are_taken_off_in_ranges_too():
    from psa_pack.nodes.calibration.start import without_blocks

    config = PSAConfig(blocks={0: "dense", 3: {"tail": 16}}, steps={
        "0-10%": "dense", "20-50%": {"tail": 8}, "60-70%": {"blocks": {7: "dense"}, "tail": 8},
        "80-90%": {"blocks": {7: "dense"}},
    })  # fmt: skip
    assert without_blocks(config) == PSAConfig(
        steps={"0-10%": "dense", "20-50%": {"tail": 8}, "60-70%": {"tail": 8}}
    )
    plain = config.replace(blocks={}, steps={})
    assert without_blocks(plain) == plain


def test_every_block_is_measured_at_the_steps_and_probed_at_one(calibrate, tmp_path, monkeypatch):
    always_similar(monkeypatch)
    found, seen = calibrate()
    assert list(found.calls) == [1, 3, 4]  # of the sparse steps 1 to 4
    assert found.blocks == [0, 1] and 1.0 in found.scales
    assert {(probe.step, probe.block) for probe in found.probes} == {(3, 0), (3, 1)}
    for calls in found.calls.values():
        assert [call.block for call in calls] == [0, 1]
        for call in calls:
            densities, errors = zip(*call.rungs, strict=True)
            assert len(densities) == len(found.scales) and list(densities) == sorted(densities)
            # a larger budget never means much more error, and the largest next to none
            assert errors[-1] < 0.2 * errors[0] and errors[0] < call.norm
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    done, total = seen[-1]
    assert done == total == 4 + (3 + 1) * BLOCKS
    # a few numbers are kept for each, no tensors
    (file,) = (tmp_path / "one").iterdir()
    assert file.stat().st_size < 20_000


def test_the_errors_are_those_of_the_calls_themselves(bench, calibrate, monkeypatch):
    """Against dense attention over all rows, computed here from the calls' own q, k, v; with like
    keys together, and of the base in token order beside them."""
    from psa_kernels import psa_attention
    from psa_pack.benchmarks.quality.watch import watched

    always_similar(monkeypatch)
    found, _ = calibrate(effort=(1, 0), cfg=1.0)
    (step,) = found.calls
    compared = {"order": [], "similar": []}

    def visit(seen):
        if seen.step != step:
            return
        dense = torch.nn.functional.scaled_dot_product_attention(seen.q, seen.k, seen.v)
        for grouping, calls in compared.items():
            config = sparse_config(warmup_steps=1, grouping=grouping)
            out, stats = psa_attention(seen.q, seen.k, seen.v, config=config, grid=(3, 8, 8),
                                       return_stats=True)  # fmt: skip
            calls.append(((out - dense).square().sum(-1).mean(), dense.square().sum(-1).mean(),
                          stats.density))  # fmt: skip

    bench.sample(watched(bench.model, visit), steps=STEPS, cfg=1.0)
    assert [len(calls) for calls in compared.values()] == [BLOCKS, BLOCKS]
    own = found.scales.index(1.0)
    for call, in_order, alike in zip(found.calls[step], *compared.values(), strict=True):
        # 192 rows: all of them are in the sample; two ways through float32
        for tried, (error, norm, density) in ((call.in_order, in_order), (call.rungs[own], alike)):
            assert tried == (pytest.approx(density), pytest.approx(float(error), rel=1e-3))
            assert call.norm == pytest.approx(float(norm), rel=1e-3)
        assert call.in_order[0] == call.rungs[own][0] and call.in_order[1] != call.rungs[own][1]


def test_a_rungs_output_is_gone_before_the_next_is_made(calibrate, monkeypatch):
    """Each is a gigabyte of a GPU's memory if the video is long."""
    from psa_pack.nodes.calibration import measure

    real, outputs, alive = measure.psa_attention, [], []

    def watched(*args, **kwargs):
        alive.append(sum(output() is not None for output in outputs))
        out, stats = real(*args, **kwargs)
        outputs.append(weakref.ref(out))
        return out, stats

    monkeypatch.setattr(measure, "psa_attention", watched)
    always_similar(monkeypatch)
    found, _ = calibrate(effort=(1, 0), cfg=1.0)
    # a choice of groupings costs one more for each call
    assert len(outputs) == BLOCKS * (len(found.scales) + 1) > BLOCKS and not any(alive)


def test_heads_that_share_keys_are_measured_against_their_own():
    from psa_pack.nodes.calibration.measure import exact_rows

    q, k, v = (torch.randn(2, heads, 24, 8) for heads in (4, 2, 2))
    own = (x.repeat_interleave(2, dim=1) for x in (k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(q, *own, scale=0.4)
    assert torch.allclose(exact_rows(q, k, v, 0.4), expected, atol=1e-5)


def test_a_probe_is_the_output_with_that_block_alone_sparse(bench, calibrate):
    """The model's own output, by a run of Apply PSA whose other block is dense."""
    found, _ = calibrate(effort=(1, 1), cfg=1.0)
    (step,) = found.calls
    outputs = {}

    def keep(name):
        def wrapper(executor, *args, **kwargs):
            out = executor(*args, **kwargs)
            outputs.setdefault(name, []).append(out.clone())
            return out

        return wrapper

    # all steps before the probed one dense, so that it sees the same latent
    bench.sample(_kept(bench.model.clone(), keep("dense")), steps=STEPS, cfg=1.0)
    for block in range(BLOCKS):
        config = sparse_config(warmup_steps=step, blocks={1 - block: "dense"})
        bench.sample(_kept(bench.patch(config), keep(block)), steps=STEPS, cfg=1.0)
        dense, sparse = outputs["dense"][step].float(), outputs[block][step].float()
        error = ((sparse - dense).square().sum() / dense.square().sum()).item()
        probe = next(p for p in found.probes if p.block == block)
        assert probe.error == pytest.approx(error, rel=1e-3)


def _kept(model, wrapper):
    import comfy.patcher_extension

    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "test", wrapper)
    return model


def interrupted(calibrate, tmp_path, stop):
    """The journal of a calibration that is interrupted, as ComfyUI does it, after `stop` parts."""
    import comfy.model_management

    def interrupt(done, total):
        if done >= stop:
            comfy.model_management.interrupt_current_processing(True)

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        calibrate(on_progress=interrupt)
    (file,) = (tmp_path / "one").iterdir()
    return file


@pytest.mark.parametrize(
    ("chosen", "stop"),
    [("similar", 2), ("similar", 10), ("order", 9), ("order", 20)],
)
def test_an_interrupted_one_goes_on(bench, calibrate, tmp_path, monkeypatch, chosen, stop):
    """The second run measures only what is missing."""
    if chosen == "similar":
        always_similar(monkeypatch)
    whole, _ = calibrate(folder="whole")
    assert whole.compared.chosen == chosen
    file = interrupted(calibrate, tmp_path, stop)
    before = file.read_text(encoding="utf-8").splitlines()
    # cut off in the middle of a line, as by a crash
    file.write_text("\n".join([*before, '{"kind": "pro']), encoding="utf-8")
    again, _ = calibrate()
    assert again == whole
    after = file.read_text(encoding="utf-8").splitlines()
    assert after[: len(before)] == before and len(before) < len(after)
    kinds = [(line["kind"], line.get("grouping"), line.get("step"), line.get("block"))
             for line in map(json.loads, after[1:])]  # fmt: skip
    assert len(kinds) == len(set(kinds)), "something was measured twice"
    # and a third one samples nothing
    assert calibrate(on_progress=lambda *_: pytest.fail("sampled again"))[0] == whole


def test_one_that_lacks_only_its_end_goes_on(calibrate, tmp_path, monkeypatch):
    """ComfyUI's progress bar raises an interrupt, also after the last probe."""
    import comfy.model_management

    always_similar(monkeypatch)

    def interrupt(done, total):
        if done == total:
            raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        calibrate(effort=(1, 1), on_progress=interrupt)
    (file,) = (tmp_path / "one").iterdir()
    before = file.read_text(encoding="utf-8")
    calibrate(effort=(1, 1))
    added = file.read_text(encoding="utf-8").removeprefix(before).splitlines()
    assert [json.loads(line)["kind"] for line in added] == ["grouping", "complete"]


def test_what_was_measured_with_other_budgets_is_measured_again(calibrate, tmp_path, monkeypatch):
    """Also the steps that the sampling has gone by when that is seen."""
    always_similar(monkeypatch)
    whole, _ = calibrate(folder="whole")
    file = interrupted(calibrate, tmp_path, stop=10)
    about, ladder, *rest = file.read_text(encoding="utf-8").splitlines()
    scales = json.loads(ladder)["scales"]
    other = json.dumps({"kind": "ladder", "scales": [x * 1.1 for x in scales]})
    file.write_text("\n".join([about, other, *rest, ""]), encoding="utf-8")
    again, _ = calibrate()
    assert again == whole


def test_a_journal_is_left_alone_unless_its_end_is_cut_off(tmp_path):
    def opened():
        journal = Journal(tmp_path, {"model": "x"})
        (file,) = tmp_path.iterdir()  # nothing is left beside it
        return journal, file, (file.stat().st_ino, file.stat().st_mtime_ns)

    journal, file, _ = opened()
    assert json.loads(file.read_text(encoding="utf-8")) == {"model": "x", "version": 3}
    for step in range(3):
        journal.add("step", step=step)
    text, stat = file.read_text(encoding="utf-8"), file.stat()
    journal, _, now = opened()
    assert now == (stat.st_ino, stat.st_mtime_ns)
    assert [line["step"] for line in journal.of("step")] == [0, 1, 2]
    head, last = text[: text.rindex("{")], text[text.rindex("{") :]
    for tail in (last[:5], last[:-1], "\0\0\0", "[1]\n", "3\n" + last):
        file.write_text(head + tail, encoding="utf-8")
        journal, _, _ = opened()
        assert [line["step"] for line in journal.lines] == [0, 1], tail
        journal.add("step", step=2)
        assert file.read_text(encoding="utf-8") == text
    # an empty file, one that is no text, one of something else
    for content in (b"", b"\xff\xfe", b'{"model": "y"}\n' + last.encode()):
        file.write_bytes(content)
        journal, _, _ = opened()
        assert not journal.lines and file.read_text(encoding="utf-8") == text.split("\n")[0] + "\n"


def test_an_earlier_versions_journal_is_named_and_measured_anew(
    calibrate, tmp_path, monkeypatch, caplog
):
    from psa_pack.nodes.calibration import journal

    monkeypatch.setattr(journal, "VERSION", 1)
    calibrate(effort=(1, 0))
    monkeypatch.undo()
    (old,) = (tmp_path / "one").iterdir()
    kept = old.read_bytes()
    with caplog.at_level("INFO", "PSA"):
        found, seen = calibrate(effort=(1, 0))
    (said,) = [line for line in caplog.messages if "earlier version" in line]
    assert str(old) in said and seen and found.compared
    assert old.read_bytes() == kept and len(list((tmp_path / "one").iterdir())) == 2
    caplog.clear()
    with caplog.at_level("INFO", "PSA"):
        calibrate(effort=(1, 0))
        # another calibration has no earlier one
        calibrate(sparse_config(warmup_steps=1, tail="none"), effort=(1, 0))
    assert len(list((tmp_path / "one").iterdir())) == 3
    assert not [line for line in caplog.messages if "earlier version" in line]


def test_the_model_is_left_alone_and_psa_on_it_is_taken_off(bench, calibrate):
    before = bench.sample(steps=2)
    found, _ = calibrate(effort=(1, 1))
    assert torch.equal(bench.sample(steps=2), before)
    patched = bench.patch(sparse_config())
    again, _ = calibrate(model=patched, effort=(1, 1), folder="with PSA on it")
    assert again == found


def test_a_compiled_model_is_measured_as_it_is(bench, calibrate):
    """Steps that are not looked at, too, are asked through the operator of its graph."""
    found, _ = calibrate(effort=(1, 1))
    forget()
    again, _ = calibrate(model=compiled(bench.model), effort=(1, 1), folder="compiled")
    assert again == found
    assert graphs() > 0 and breaks() == 0
    forget()


def test_calls_that_cannot_be_measured_are_named(bench, calibrate, monkeypatch):
    from psa_pack.nodes.patching import around_call

    monkeypatch.setattr(around_call, "token_grid", lambda call: None)
    with pytest.raises(CalibrationError, match=r"unknown token layout \(2 calls\)"):
        calibrate()
