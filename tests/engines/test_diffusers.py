"""diffusers' transformers and pipelines, with tiny random weights, before, under and after PSA."""

import copy
import gc

import pytest
import torch

from psa_engines.core import deciding
from psa_engines.diffusers import apply_psa, remove_psa
from psa_engines.diffusers.families import preset_family
from psa_engines.diffusers.processor import PSAProcessor, Serving
from psa_engines.diffusers.steps import Steps
from psa_kernels import OrderState, PSAConfig
from psa_presets import InvalidPresetError, NotFoundError

from .small_diffusers import (
    BLOCKS,
    EVERYTHING,
    LITTLE,
    MAKERS,
    STEPS,
    TEXT,
    clip,
    conditions,
    denoised,
    diffusers,
    everything,
    little,
    made,
    scheduler,
    wan,
    wan_pipeline,
)


def calls_of(applied):
    return applied.report()["calls"]


def begun(name, text=TEXT):
    """A model, its scheduler at the first step, the latent and the model's other inputs."""
    model, steps = made(name), scheduler()
    steps.set_timesteps(STEPS)
    return model, steps, *conditions(name, text=text)


# --- every model


@pytest.mark.parametrize("name", MAKERS)
def test_every_block_at_level_1_equals_dense(name):
    model, steps = made(name), scheduler()
    dense = denoised(name, model, steps, branches=2)
    applied = apply_psa(model, everything(warmup_steps=1), scheduler=steps)
    out = denoised(name, model, steps, branches=2)
    report = applied.report()
    assert report["failure"] is None and report["note"] is None
    assert report["plan_text"] == "4 steps: 1 dense (warm-up), 2-4 sparse"
    blocks = BLOCKS[name]
    assert report["calls"] == {"sparse": 3 * 2 * blocks, "dense": {"warm-up": 2 * blocks}}
    assert report["density"] == pytest.approx(1.0)
    assert not torch.equal(out, dense), "PSA served nothing"
    torch.testing.assert_close(out, dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MAKERS)
def test_bit_for_bit_a_sparse_run_comes_again_and_off_or_removed_it_is_dense(name):
    model, steps = made(name), scheduler()
    dense = denoised(name, model, steps)
    before = [type(m.processor) for m in model.modules() if hasattr(m, "processor")]
    applied = apply_psa(model, little(), scheduler=steps)
    out = denoised(name, model, steps)
    first = applied.report()
    assert 0.2 < first["density"] < 0.7
    assert not torch.allclose(out, dense, rtol=1e-2, atol=1e-2)
    assert torch.equal(denoised(name, model, steps), out)
    again = applied.report()
    for told in ("calls", "density", "per_level", "plan_text"):
        assert again[told] == first[told]
    applied = apply_psa(model, everything(type="dense"), scheduler=steps)
    assert torch.equal(denoised(name, model, steps), dense)
    assert calls_of(applied) == {"sparse": 0, "dense": {"dense preset": STEPS * BLOCKS[name]}}
    remove_psa(model)
    assert torch.equal(denoised(name, model, steps), dense)
    assert [type(m.processor) for m in model.modules() if hasattr(m, "processor")] == before
    assert not model._forward_pre_hooks and not model._forward_hooks
    assert "_psa_applied" not in model.__dict__


def test_blocks_of_vace_over_the_control_video_have_their_main_blocks_numbers():
    model, steps = made("vace"), scheduler()
    applied = apply_psa(model, everything(), scheduler=steps, dense_blocks={0})
    denoised("vace", model, steps)
    assert calls_of(applied) == {"sparse": STEPS, "dense": {"dense block": 2 * STEPS}}


# --- steps, conditions, what is kept


def test_ranges_of_steps_have_their_own_settings():
    model, steps = made("wan"), scheduler()
    config = PSAConfig.from_preset(
        {"mask_ratios": LITTLE, "block_size": {"m": 64, "n": 64},
         "steps": {"0-25%": "dense", "75-100%": {"mask_ratios": EVERYTHING}}}
    )  # fmt: skip
    applied = apply_psa(model, config, scheduler=steps)
    denoised("wan", model, steps)
    report = applied.report()
    assert report["plan_text"] == ("4 steps: 1 dense (dense range), 2-3 sparse, 4 sparse (75-100%)")
    found = {entry["range"]: entry for entry in report["ranges"]}
    assert found["0-25%"]["calls"]["dense"] == {"dense range": 2}
    assert found[None]["density"] < 0.7 and found["75-100%"]["density"] == pytest.approx(1.0)


def test_what_is_kept_is_kept_by_layer_and_condition_and_dropped_with_the_last_step(monkeypatch):
    seen, real = {}, deciding.psa_attention

    def spy(*args, state, step, **more):
        seen.setdefault(id(state), (state, []))[1].append(step)
        return real(*args, state=state, step=step, **more)

    monkeypatch.setattr(deciding, "psa_attention", spy)
    model, steps = made("wan"), scheduler()
    config = little(grouping="similar", refresh=3, warmup_steps=1)
    apply_psa(model, config, scheduler=steps)
    out = denoised("wan", model, steps, branches=2, count=6)
    assert [used for _, used in seen.values()] == [[1, 2, 3, 4, 5]] * 4  # 2 blocks, 2 conditions
    seen.clear()
    gc.collect()
    assert not [x for x in gc.get_objects() if type(x) is OrderState]
    assert torch.equal(denoised("wan", model, steps, branches=2, count=6), out)


def test_without_a_scheduler_the_step_is_unknown(messages):
    model, steps = made("wan"), scheduler()
    dense = denoised("wan", model, steps)
    applied = apply_psa(model, everything())
    assert torch.equal(denoised("wan", model, steps), dense)
    assert calls_of(applied) == {"sparse": 0, "dense": {"unknown step": STEPS * 2}}
    assert "scheduler=pipeline.scheduler" in applied.report()["note"]
    assert any("scheduler=pipeline.scheduler" in line for line in messages("WARNING"))


@pytest.mark.parametrize("kind", [
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler",
    "UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "CogVideoXDDIMScheduler",
    "CogVideoXDPMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler",
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_step_of_a_scheduler_is_found(kind, dtype):
    """Timesteps in bfloat16, as HunyuanVideo's pipeline passes them, do not differ in value."""
    own = {"shift": 7.0} if kind.startswith("FlowMatchE") else {}
    steps = getattr(diffusers, kind)(**own)
    steps.set_timesteps(30)
    told, found = Steps(steps.timesteps), []
    x = torch.randn(1, 4, 3, 4, 4)
    previous = None
    for t in steps.timesteps:
        at = told.of_call(steps, t.expand(1).to(dtype))
        found.append(at)
        # a second call in the same step; frames that are given have 0, as in Wan 2.2 5B
        assert told.of_call(steps, torch.stack((0 * t, t)).to(dtype)) == at
        if kind == "CogVideoXDPMScheduler":
            back = None if previous is None else steps.timesteps[0]
            x, previous = steps.step(x, previous, t, back, x, return_dict=False)
        else:
            x = steps.step(torch.zeros_like(x), t, x, return_dict=False)[0]
    assert sorted(set(found)) == list(range(30)) and found == sorted(found)
    assert Steps(steps.timesteps).of_call(None, 5000.0) is None


def test_an_image_to_image_run_that_starts_in_the_middle_has_the_places_of_the_whole():
    model, steps, x, inputs = begun("wan")
    applied = apply_psa(model, everything(warmup_steps=3), scheduler=steps)
    for t in steps.timesteps[2:]:
        model(hidden_states=x, timestep=t.expand(1), **inputs)
    assert calls_of(applied) == {"sparse": 2, "dense": {"warm-up": 2}}
    assert [step["sparse"] for step in applied.report()["steps"]] == [0, 0, 0, 2]


# --- what PSA cannot serve


def test_an_unknown_transformer_stays_dense_with_a_reason(messages):
    model = torch.nn.Linear(3, 3)
    applied = apply_psa(model, "Wan2.1_14b/fast")
    assert "does not know Linear, which stays dense" in applied.report()["note"]
    assert "does not know Linear" in applied.summary() and messages("WARNING")
    remove_psa(model)
    with pytest.raises(TypeError, match="found dict, which has no transformer"):
        apply_psa({}, PSAConfig())


def test_calls_without_a_layout_stay_dense(messages):
    model, steps, x, inputs = begun("ltx")
    sizes = torch.tensor([3, 12, 16])
    coords = torch.stack(torch.meshgrid(*map(torch.arange, sizes), indexing="ij")).flatten(1)[None]
    inputs |= {"num_frames": None, "height": None, "width": None, "video_coords": coords.float()}
    applied = apply_psa(model, everything(), scheduler=steps)
    model(hidden_states=x, timestep=steps.timesteps[:1], **inputs)
    assert calls_of(applied)["dense"] == {"unknown token layout": 2}
    assert any("does not say where its video's tokens are" in m for m in messages("WARNING"))


def test_texts_of_several_lengths_in_a_batch_stay_dense():
    model, steps, x, short = begun("hunyuan", text=4)
    _, long = conditions("hunyuan", text=7)
    both = {name: torch.cat([short[name], long[name]]) for name in short}
    applied = apply_psa(model, everything(), scheduler=steps)
    model(hidden_states=torch.cat([x, x]), timestep=steps.timesteps[:1].expand(2), **both)
    assert calls_of(applied)["dense"] == {"unknown token layout": 3}


def test_padded_text_is_hidden_as_in_the_model_itself():
    model, steps, x, inputs = begun("hunyuan", text=4)
    dense = model(hidden_states=x, timestep=steps.timesteps[:1], **inputs).sample
    _, whole = conditions("hunyuan")
    other = model(hidden_states=x, timestep=steps.timesteps[:1], **whole).sample
    assert not torch.allclose(other, dense, atol=1e-3), "the mask changes nothing here"
    applied = apply_psa(model, everything(), scheduler=steps)
    out = model(hidden_states=x, timestep=steps.timesteps[:1], **inputs).sample
    torch.testing.assert_close(out, dense, rtol=1e-4, atol=1e-4)
    assert calls_of(applied) == {"sparse": 3, "dense": {}}


@pytest.mark.parametrize("of", ["the latent", "the second block's keys"])
def test_gradients_are_the_models_own(of):
    model, steps, x, inputs = begun("wan")
    applied = apply_psa(model, everything(), scheduler=steps)
    asked, blocks = (x, 2) if of == "the latent" else (model.blocks[1].attn1.to_k.weight, 1)
    asked.requires_grad_()
    model(hidden_states=x, timestep=steps.timesteps[:1], **inputs).sample.sum().backward()
    assert asked.grad.isfinite().all()
    dense = {"gradients are asked for": blocks}
    assert calls_of(applied) == {"sparse": 2 - blocks, "dense": dense}


def test_another_attention_backend_stays_dense_and_is_told(messages):
    class Own:
        _attention_backend = None

        def __call__(self, attention, hidden_states, *args, **kwargs):
            return hidden_states

    model, steps = made("wan"), scheduler()
    applied = apply_psa(model, everything(), scheduler=steps)
    model.blocks[0].attn1.set_processor(Own())
    denoised("wan", model, steps)
    assert calls_of(applied) == {
        "sparse": STEPS, "dense": {"attention backend without a hook": STEPS},
    }  # fmt: skip
    (line,) = [m for m in messages("WARNING") if "backend" in m]
    assert 'set_attention_backend("native")' in line
    remove_psa(model)
    assert type(model.blocks[0].attn1.processor) is Own


def test_settings_of_a_processor_go_through_and_fused_projections_work():
    model, steps = made("wan"), scheduler()
    applied = apply_psa(model, everything(), scheduler=steps)
    wrapped = model.blocks[0].attn1.processor
    assert isinstance(wrapped, PSAProcessor)
    model.set_attention_backend("_native_math")
    assert wrapped.inner._attention_backend is wrapped._attention_backend is not None
    model.fuse_qkv_projections()
    denoised("wan", model, steps)
    assert calls_of(applied) == {"sparse": STEPS * 2, "dense": {}}


def test_another_scheduler_of_the_pipeline_counts_and_a_copied_model_is_without_psa():
    pipe = wan_pipeline()
    applied = apply_psa(pipe, everything(warmup_steps=1))
    pipe.scheduler = scheduler(shift=5.0)
    out = denoised("wan", pipe.transformer, pipe.scheduler)
    assert calls_of(applied) == {"sparse": 3 * 2, "dense": {"warm-up": 2}}
    twin = copy.deepcopy(pipe.transformer)
    assert not any(isinstance(p, PSAProcessor) for p in twin.attn_processors.values())
    again = denoised("wan", twin, scheduler(shift=5.0))
    torch.testing.assert_close(again, out, rtol=1e-4, atol=1e-4)
    assert calls_of(applied) == {"sparse": 3 * 2, "dense": {"warm-up": 2}}


def test_blocks_that_a_step_skips_leave_what_the_others_keep_alone(monkeypatch):
    layers, real, attend = {}, deciding.psa_attention, Serving.attend
    now = []

    def noted(self, block, layer, *more):
        now[:] = [layer]
        return attend(self, block, layer, *more)

    def spy(*args, state, **more):
        layers.setdefault(id(state), (state, set()))[1].update(now)
        return real(*args, state=state, **more)

    monkeypatch.setattr(Serving, "attend", noted)
    monkeypatch.setattr(deciding, "psa_attention", spy)
    model, steps, x, inputs = begun("wan")
    applied, whole = apply_psa(model, everything(), scheduler=steps), model.blocks
    with torch.no_grad():
        for i, t in enumerate(steps.timesteps):
            model.blocks = whole if i % 2 == 0 else whole[1:]
            model(hidden_states=x, timestep=t.expand(1), **inputs)
    assert [step["sparse"] for step in applied.report()["steps"]] == [2, 1, 2, 1]
    assert sorted(map(sorted, (found for _, found in layers.values()))) == [[0], [1]]


# --- faults


def test_an_error_inside_psa_loses_no_render_and_is_said_once(spoil, monkeypatch, messages):
    model, steps = made("wan"), scheduler()
    dense = denoised("wan", model, steps)
    applied = apply_psa(model, everything(), scheduler=steps)
    spoil("error")
    assert torch.equal(denoised("wan", model, steps), dense)
    report = applied.report()
    assert report["failure"] == "RuntimeError: no such kernel"
    assert report["calls"] == {"sparse": 0, "dense": {"PSA stepped aside": STEPS * 2}}
    (line,) = messages("ERROR")
    assert "python -m psa_kernels.selftest says whether" in line
    # the next run is a new chance
    monkeypatch.undo()
    denoised("wan", model, steps)
    assert applied.report()["failure"] is None and calls_of(applied)["sparse"] == STEPS * 2


def test_nan_from_psa_is_no_result(spoil):
    model, steps = made("wan"), scheduler()
    dense = denoised("wan", model, steps)
    applied = apply_psa(model, everything(), scheduler=steps)
    spoil("NaN", calls=1)
    assert torch.equal(denoised("wan", model, steps), dense)
    report = applied.report()
    assert "NaN or Inf in the output of attention call 0" in report["failure"]
    assert report["repeated"] == 1
    assert report["calls"] == {"sparse": 2, "dense": {"PSA stepped aside": STEPS * 2}}


def test_a_call_that_cannot_be_read_stays_dense(monkeypatch, messages):
    model, steps = made("wan"), scheduler()
    dense = denoised("wan", model, steps)
    monkeypatch.setattr(Steps, "of_call", lambda *a: 1 / 0)
    applied = apply_psa(model, everything(), scheduler=steps)
    assert torch.equal(denoised("wan", model, steps), dense)
    (line,) = messages("ERROR")
    why = "could not read a call of WanTransformer3DModel, which stayed dense: ZeroDivisionError"
    assert why in line and why in applied.report()["note"] and why in applied.summary()


def test_an_error_of_the_models_own_comes_through():
    model, steps, x, _ = begun("wan")
    apply_psa(model, everything(), scheduler=steps)
    with pytest.raises((TypeError, AttributeError)):
        model(hidden_states=x, timestep=steps.timesteps[:1], encoder_hidden_states=None)
    denoised("wan", model, steps)  # and nothing is left of it


# --- torch.compile, pipelines, presets


def test_a_compiled_transformer_asks_psa_in_every_step():
    model, steps = made("wan"), scheduler()
    dense = denoised("wan", model, steps)
    applied = apply_psa(model, everything(warmup_steps=1), scheduler=steps)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    try:
        out = denoised("wan", compiled, steps)
    finally:
        torch._dynamo.reset()
    assert calls_of(applied) == {"sparse": 3 * 2, "dense": {"warm-up": 2}}
    torch.testing.assert_close(out, dense, rtol=1e-4, atol=1e-4)
    remove_psa(compiled)
    assert not isinstance(model.blocks[0].attn1.processor, PSAProcessor)


def test_both_experts_of_a_real_pipeline(monkeypatch, messages):
    states, real = {}, deciding.psa_attention

    def spy(*args, state, **more):
        states[id(state)] = state
        return real(*args, state=state, **more)

    monkeypatch.setattr(deciding, "psa_attention", spy)
    pipe = wan_pipeline(transformer_2=made("wan", seed=7), boundary_ratio=0.875)
    dense, heard = clip(pipe, count=8), []
    applied = apply_psa(pipe, everything(), on_progress=heard.append)
    torch.testing.assert_close(clip(pipe, count=8), dense, rtol=1e-4, atol=1e-4)
    report = applied.report()
    assert report["failure"] is None and heard[0]["steps"] == 8
    assert [step["sparse"] for step in report["steps"]] == [4] * 8
    assert len(states) == 2 * 2 * 2  # experts, blocks, conditions: each keeps what is its own
    applied = apply_psa(pipe, "Wan2.1_14b/fast")
    clip(pipe, count=8)
    report = applied.report()
    assert report["failure"] is None and report["preset"] == "Wan2.1_14b/fast"
    calls = [step["sparse"] + sum(step["dense"].values()) for step in report["steps"]]
    assert report["calls"]["sparse"] and calls == [4] * 8
    remove_psa(pipe)
    said = [m for m in messages("INFO") if "Wan2.1_14b/fast" in m]
    assert sum("sparse at" in m for m in said) == 1  # the run's summary
    assert torch.equal(clip(pipe, count=8), dense)


def test_a_preset_that_is_not_there_is_told_with_what_there_is():
    with pytest.raises(NotFoundError, match=r"no preset 'balancd'.*balanced"):
        apply_psa(wan(), "Wan2.1_14b/balancd")
    with pytest.raises(TypeError, match="preset: found int"):
        apply_psa(wan(), 3)
    with pytest.raises(TypeError, match="preset: found NoneType; give a name"):
        apply_psa(wan())
    assert apply_psa(wan(), "Wan2.1_14b").report()["preset"] == "Wan2.1_14b/balanced"


@pytest.mark.parametrize("kind, config, family", [
    ("WanTransformer3DModel", {}, "Wan2.1_14b"),
    ("WanTransformer3DModel", {"num_layers": 30, "num_attention_heads": 12}, "Wan2.1_1.3b"),
    ("WanTransformer3DModel", {"num_layers": 30, "num_attention_heads": 24, "in_channels": 48,
                               "out_channels": 48}, "Wan2.2_5B"),
    ("WanVACETransformer3DModel", {}, "Wan2.1_14b"),
    ("CogVideoXTransformer3DModel", {"num_layers": 42, "num_attention_heads": 48}, "CogVideo_5b"),
    ("CogVideoXTransformer3DModel", {"num_layers": 42, "num_attention_heads": 48,
                                     "patch_size_t": 2, "patch_bias": False}, "CogVideo1.5_5b"),
    ("CogVideoXTransformer3DModel", {}, None),
    ("LTXVideoTransformer3DModel", {}, "LTX-Video"),
    ("HunyuanVideoTransformer3DModel", {}, "HunyuanVideo"),
])  # fmt: skip
def test_the_preset_family_of_a_model_of_full_size_is_known(kind, config, family):
    with torch.device("meta"):
        model = getattr(diffusers, kind)(**config)
    assert preset_family([model]) == family
    if family == "Wan2.1_14b":
        assert preset_family([model, model]) == "Wan2.2_A14B"
        assert apply_psa(model, "fast").report()["preset"] == "Wan2.1_14b/fast"
        assert apply_psa(model).report()["preset"] == "Wan2.1_14b/balanced"


def test_a_file_of_presets_goes_before_the_shipped_ones(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "Wan2.1_14b:\n  default_attention: fast\n  attention_configs:\n"
        "    fast:\n      mask_ratios: {1: [0, 1]}\n      warmup_steps: 7\n", encoding="utf-8",
    )  # fmt: skip
    for name in ("Wan2.1_14b/fast", "Wan2.1_14b"):
        applied = apply_psa(wan(), name, presets_file=file)
        assert applied.preset.label == "Wan2.1_14b/fast"
        assert applied.preset.config.warmup_steps == 7
    assert apply_psa(wan(), "LTX-Video/fast", presets_file=file).preset.name == "fast"
    file.write_text(file.read_text(encoding="utf-8").replace("warmup_steps: 7", "warmup_steps: -7"))
    with pytest.raises(InvalidPresetError, match=r"mine.yaml.*warmup_steps"):
        apply_psa(wan(), "Wan2.1_14b/fast", presets_file=file)
    assert apply_psa(wan(), "Wan2.1_14b/balanced", presets_file=file).preset.name == "balanced"
