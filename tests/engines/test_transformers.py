"""transformers' models for video understanding, with tiny random weights, under PSA."""

import copy
import importlib.util
import runpy
import sys
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psa_engines.core import deciding
from psa_kernels import CallError, PSAConfig
from psa_presets import NotFoundError

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install .[transformers]"
)

from psa_engines.transformers import apply_psa, remove_psa  # noqa: E402
from psa_engines.transformers.prompt import video_of  # noqa: E402

from .small_transformers import (  # noqa: E402
    CAUSAL,
    GRID,
    LAYERS,
    ONE_RUN,
    TEXT,
    VIDEO,
    answered,
    everything,
    little,
    made,
    prompt,
    same,
)


def logits(model, inputs):
    return model(**inputs).logits


def calls_of(applied):
    report = applied.report()
    assert report["failure"] is None
    return report["calls"]


# --- every model


@pytest.mark.parametrize("name", ONE_RUN)
def test_every_block_at_level_1_equals_dense(name):
    model, inputs = made(name), prompt(name)
    dense = logits(model, inputs)
    applied = apply_psa(model, everything())
    out = logits(model, inputs)
    assert calls_of(applied) == {"sparse": LAYERS, "dense": {}}
    report = applied.report()
    assert report["density"] == pytest.approx(1.0) and report["note"] is None
    assert not torch.equal(out, dense), "PSA served nothing"
    torch.testing.assert_close(out, dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ONE_RUN)
def test_a_sparse_prefill_is_followed_by_dense_decode_steps_over_its_cache(name):
    """It comes again bit for bit, and off or removed the answer is the dense one."""
    model, inputs = made(name), prompt(name)
    dense = answered(model, inputs)
    applied = apply_psa(model, little())
    sparse = answered(model, inputs)
    decoding = {"decode step": 3 * LAYERS}
    assert calls_of(applied) == {"sparse": LAYERS, "dense": decoding}
    assert 0.2 < applied.report()["density"] < 0.9
    assert not torch.allclose(sparse[1], dense[1], rtol=1e-3, atol=1e-3)
    assert same(answered(model, inputs), sparse)
    assert calls_of(applied) == {"sparse": LAYERS, "dense": decoding}
    applied = apply_psa(model, everything(type="dense"))
    assert same(answered(model, inputs), dense)
    assert calls_of(applied) == {"sparse": 0, "dense": {"dense preset": LAYERS, **decoding}}
    remove_psa(model)
    assert same(answered(model, inputs), dense)
    assert model.model.language_model.config._attn_implementation == "sdpa"
    assert not model.model._forward_pre_hooks and not model.model._forward_hooks


def test_the_video_is_sparse_and_the_text_is_exact(monkeypatch):
    seen, real = [], deciding.psa_attention

    def spy(q, k, v, **more):
        out = real(q, k, v, **more)
        seen.append((q, k, v, more, out[0]))
        return out

    monkeypatch.setattr(deciding, "psa_attention", spy)
    model, inputs = made(), prompt()
    apply_psa(model, little())
    logits(model, inputs)
    q, k, v, more, out = seen[0]
    assert more["grid"] == GRID and more["extra_tokens"] == TEXT and more["causal"]
    dense = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=more["scale"], enable_gqa=True
    )
    before, after = TEXT
    torch.testing.assert_close(out[:, :, :before], dense[:, :, :before])
    torch.testing.assert_close(out[:, :, -after:], dense[:, :, -after:])
    assert not torch.allclose(out[:, :, before:-after], dense[:, :, before:-after], atol=1e-3)


def test_no_token_sees_what_comes_after_it():
    model, inputs = made(), prompt()
    apply_psa(model, little())
    out = logits(model, inputs)
    frames = GRID[0]
    for changed in (frames - 1, frames // 2):
        other = dict(inputs)
        rows = other["pixel_values_videos"].clone()
        first = changed * rows.shape[0] // frames
        rows[first:] = rows[first:].flip(1) + 1
        other["pixel_values_videos"] = rows
        # the queries of a block choose their levels together: so far nothing may hang on it
        length = TEXT[0] + changed * GRID[1] * GRID[2] // 128 * 128
        out_of_other = logits(model, other)
        torch.testing.assert_close(out_of_other[:, :length], out[:, :length])
        assert not torch.allclose(out_of_other[:, length:], out[:, length:], atol=1e-3)


def test_prompts_of_one_layout_are_served_in_a_batch():
    model, inputs = made(), prompt(batch=2)
    dense = logits(model, inputs)
    applied = apply_psa(model, everything())
    torch.testing.assert_close(logits(model, inputs), dense, rtol=1e-4, atol=1e-4)
    assert calls_of(applied)["sparse"] == LAYERS
    answered(model, prompt(), num_beams=2)
    assert calls_of(applied)["sparse"] == LAYERS


# --- what stays dense, and why


def padded(inputs):
    """Two prompts, the second with two tokens less, padded on the left."""
    inputs = dict(inputs)
    row = inputs["input_ids"][1]
    inputs["input_ids"][1] = torch.cat([torch.tensor([2, 2]), row[2:]])
    inputs["attention_mask"][1, :2] = 0
    return inputs


def earlier(inputs):
    """Two prompts, the second's video begins one token earlier."""
    ids = inputs["input_ids"]
    ids[1] = torch.cat([ids[1, 1:], ids[1, :1]])
    inputs["mm_token_type_ids"][1] = (ids[1] == VIDEO).int() * 2
    return inputs


DENSE = {
    "several videos in a prompt": lambda: prompt(videos=2),
    "padded batch": lambda: padded(prompt(batch=2)),
    "no video in the prompt": lambda: {"input_ids": torch.tensor([[5, 6, 7, 8]])},
    "no input_ids": lambda: {"inputs_embeds": torch.randn(1, 300, 64)},
    "prompts of several kinds in a batch": lambda: earlier(prompt(batch=2)),
    "video in several runs of tokens": lambda: prompt("qwen3-vl"),
}


@pytest.mark.parametrize("reason", DENSE)
def test_a_prompt_that_cannot_be_served_is_dense_bit_for_bit(reason):
    model = made("qwen3-vl" if reason == "video in several runs of tokens" else "qwen2.5-vl")
    inputs = DENSE[reason]()
    dense = logits(model, inputs)
    applied = apply_psa(model, little())
    assert torch.equal(logits(model, inputs), dense)
    assert calls_of(applied) == {"sparse": 0, "dense": {reason: LAYERS}}


@given(st.lists(st.sampled_from([5, VIDEO]), min_size=1, max_size=12), st.integers(1, 3),
       st.integers(0, 3))  # fmt: skip
def test_where_the_video_is(row, batch, videos):
    """`videos` grids are told in all, each of the video's tokens in a line; 0: none are told."""
    model = SimpleNamespace(config=SimpleNamespace(
        video_token_id=VIDEO, vision_config=SimpleNamespace(
            spatial_merge_size=2, temporal_patch_size=2, patch_size=14
        )
    ))  # fmt: skip
    call = {"input_ids": torch.tensor([row] * batch)}
    tokens = row.count(VIDEO)
    if videos:
        call["video_grid_thw"] = torch.tensor([[tokens, 2, 2]] * videos)
    found = video_of(model, call)
    runs = [list(alike) for kind, alike in groupby(row) if kind == VIDEO]
    if not runs:
        assert found == "no video in the prompt"
    elif videos and videos != batch:
        assert found == "several videos in a prompt"
    elif len(runs) > 1:
        assert found == "video in several runs of tokens"
    else:
        before = row.index(VIDEO)
        assert (found.before, found.after) == (before, len(row) - before - tokens)
        assert found.grid == ((tokens, 1, 1) if videos else (1, 1, tokens))
        assert found.length == len(row) and found.text == len(row) - tokens
        if videos:
            call["video_grid_thw"] += torch.tensor([1, 0, 0])
            assert video_of(model, call) == "part of a video"


def test_the_rest_of_a_chunked_prefill_is_dense():
    model, inputs = made(), prompt()
    ids, cut = inputs["input_ids"], 3
    first, rest = ids[:, :cut], dict(inputs, input_ids=ids[:, cut:])
    rest["mm_token_type_ids"] = inputs["mm_token_type_ids"][:, cut:]
    del rest["attention_mask"]

    def run():
        cache = transformers.DynamicCache()
        model(input_ids=first, past_key_values=cache)
        positions = torch.arange(cut, ids.shape[1]).expand(3, 1, -1)
        return model(**rest, past_key_values=cache, position_ids=positions).logits

    dense = run()
    applied = apply_psa(model, little())
    assert torch.equal(run(), dense)
    reasons = {"no video in the prompt": LAYERS, "chunked prefill": LAYERS}
    assert calls_of(applied) == {"sparse": 0, "dense": reasons}


def test_a_static_cache_stays_dense():
    model, inputs = made(), prompt()
    dense = answered(model, inputs, cache_implementation="static", disable_compile=True)
    applied = apply_psa(model, little())
    out = answered(model, inputs, cache_implementation="static", disable_compile=True)
    assert torch.equal(out[1], dense[1])
    reasons = {"keys that are not the prompt's": LAYERS, "decode step": 3 * LAYERS}
    assert calls_of(applied) == {"sparse": 0, "dense": reasons}


def test_a_sliding_window_stays_dense():
    model = made(use_sliding_window=True, sliding_window=64, max_window_layers=1)
    inputs = prompt()
    dense = logits(model, inputs)
    applied = apply_psa(model, everything())
    torch.testing.assert_close(logits(model, inputs), dense, rtol=1e-4, atol=1e-4)
    assert calls_of(applied) == {"sparse": 1, "dense": {"sliding window": 1}}


def test_gradients_stay_dense():
    model, inputs = made(), prompt()
    model.requires_grad_(True)

    def gradient():
        model.zero_grad()
        logits(model, inputs).float().square().mean().backward()
        return model.model.language_model.layers[0].self_attn.k_proj.weight.grad

    dense = gradient().clone()
    applied = apply_psa(model, little())
    assert torch.equal(gradient(), dense)
    assert calls_of(applied) == {"sparse": 0, "dense": {"gradients are asked for": LAYERS}}


def test_dense_blocks_and_min_tokens():
    model, inputs = made(), prompt()
    applied = apply_psa(model, little(), dense_blocks={1})
    logits(model, inputs)
    assert calls_of(applied) == {"sparse": 1, "dense": {"dense block": 1}}
    applied = apply_psa(model, little(), min_tokens=769)
    logits(model, inputs)
    assert calls_of(applied)["dense"] == {"fewer than min_tokens": LAYERS}


def test_a_prefill_has_no_steps():
    model, inputs = made(), prompt()
    applied = apply_psa(model, little(warmup_steps=5, steps={"0-50%": "dense"}))
    logits(model, inputs)
    assert calls_of(applied) == {"sparse": LAYERS, "dense": {}}


# --- faults


def test_an_error_inside_psa_costs_nothing(spoil, monkeypatch, messages):
    model, inputs = made(), prompt()
    dense = answered(model, inputs)
    applied = apply_psa(model, little())
    spoil("error")
    assert torch.equal(answered(model, inputs)[1], dense[1])
    report = applied.report()
    assert report["failure"] == "RuntimeError: no such kernel"
    assert report["calls"]["dense"]["PSA stepped aside"] == LAYERS
    assert len([m for m in messages("ERROR") if "steps aside" in m]) == 1
    # the next prompt is another run
    monkeypatch.undo()
    answered(model, inputs)
    assert calls_of(applied)["sparse"] == LAYERS


def test_a_prefill_that_gave_nan_is_made_again_dense_with_a_clean_cache(spoil):
    model, inputs = made(), prompt()
    dense = answered(model, inputs)
    applied = apply_psa(model, little())
    spoil("NaN")
    assert same(answered(model, inputs), dense)
    report = applied.report()
    assert report["repeated"] == 1 and "NaN or Inf" in report["failure"]


# --- LoRA and offloading


@torch.no_grad()
@pytest.mark.parametrize("first", ["LoRA", "PSA"])
def test_a_lora_gives_what_the_merged_weights_give(first):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    inputs, settings = prompt(), {"r": 4, "init_lora_weights": False}
    plain = made()
    applied = apply_psa(plain, little())
    without = logits(plain, inputs)
    model = plain if first == "PSA" else made()
    torch.manual_seed(3)
    config = peft.LoraConfig(target_modules=["q_proj", "k_proj", "v_proj"], **settings)
    adapted = peft.get_peft_model(model, config).eval()
    if first == "LoRA":
        applied = apply_psa(adapted, little())
    out = logits(adapted, inputs)
    assert calls_of(applied) == {"sparse": LAYERS, "dense": {}}
    assert not torch.allclose(out, without, atol=1e-2), "the LoRA changes nothing here"
    with adapted.disable_adapter():
        assert torch.equal(logits(adapted, inputs), without)
    remove_psa(adapted)
    assert model.model.language_model.config._attn_implementation == "sdpa"
    merged = adapted.merge_and_unload()
    applied = apply_psa(merged, little())
    torch.testing.assert_close(logits(merged, inputs), out, rtol=1e-4, atol=1e-4)
    assert calls_of(applied) == {"sparse": LAYERS, "dense": {}}


@pytest.mark.parametrize("first", ["offload", "PSA"])
def test_an_offloaded_model_is_served_and_stays_offloaded(first, spoil):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    model, inputs = made(), prompt()
    dense = answered(model, inputs)[1]
    apply_psa(model, little())
    whole = answered(model, inputs)[1]
    remove_psa(model)
    if first == "offload":
        accelerate.cpu_offload(model, torch.device("cpu"))
        applied = apply_psa(model, little())
    else:
        applied = apply_psa(model, little())
        accelerate.cpu_offload(model, torch.device("cpu"))
    assert model.lm_head.weight.device.type == "meta"
    assert torch.equal(answered(model, inputs)[1], whole)
    assert calls_of(applied)["sparse"] == LAYERS
    report = applied.report()
    assert report["missing"] is None and report["steps"][0]["seconds"] > 0
    spoil("NaN")
    assert torch.equal(answered(model, inputs)[1], dense)
    assert applied.report()["repeated"] == 1
    remove_psa(model)
    assert hasattr(model, "_hf_hook") and torch.equal(answered(model, inputs)[1], dense)


# --- putting on and taking off


def test_a_copy_and_the_vision_tower_are_without_psa():
    model, inputs = made(), prompt()
    dense = logits(model, inputs)
    applied = apply_psa(model, little())
    assert model.model.visual.config._attn_implementation == "sdpa"
    other = copy.deepcopy(model)
    assert torch.equal(logits(other, inputs), dense)
    assert applied.report() == {"preset": "own settings", "note": "no run has begun"}
    logits(model, inputs)
    assert calls_of(applied)["sparse"] == LAYERS


def test_another_attention_set_later_is_told(messages):
    model, inputs = made(), prompt()
    dense = logits(model, inputs)
    applied = apply_psa(model, little())
    model.set_attn_implementation("sdpa")
    assert torch.equal(logits(model, inputs), dense) and torch.equal(logits(model, inputs), dense)
    assert "was set to sdpa after apply_psa" in applied.report()["note"]
    assert len(messages("WARNING")) == 1
    applied = apply_psa(model, little())
    logits(model, inputs)
    assert calls_of(applied)["sparse"] == LAYERS and applied.note is None


def test_the_absence_of_transformers_is_a_sentence(monkeypatch):
    package = importlib.util.find_spec("psa_engines.transformers")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"not installed\. Fix: pip install transformers"):
        runpy.run_path(package.origin)


def test_an_unknown_model_stays_dense_and_says_so(messages):
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    applied = apply_psa(model, little())
    assert "does not know LlamaForCausalLM" in applied.report()["note"]
    assert any("Qwen2_5_VLModel" in m for m in messages("WARNING"))
    with pytest.raises(TypeError, match="model: found str"):
        apply_psa("model", little())


@pytest.mark.parametrize("preset, message", [
    ("Wan2.1_14b/fast", "attn_impl='old_mask_type'"),
    (PSAConfig(rearrange_method="Gilbert", use_rearrange=True, **CAUSAL),
     "causal: does not work with a rearrangement"),
])  # fmt: skip
def test_what_cannot_be_causal_is_refused(preset, message):
    model = made()
    with pytest.raises(CallError, match=message):
        apply_psa(model, preset)
    assert model.model.language_model.config._attn_implementation == "sdpa"


def test_presets_of_the_model_and_its_default():
    """A file of presets: test_inference_scripts.py."""
    model, inputs = made(), prompt()
    dense = logits(model, inputs)
    found = {}
    for name in (None, "faithful", "Qwen2.5-VL/baseline"):
        applied = apply_psa(model, name)
        found[applied.preset.name] = (logits(model, inputs) - dense).norm() / dense.norm()
    assert list(found) == ["balanced", "faithful", "baseline"]
    assert found["baseline"] == 0 < found["faithful"] < found["balanced"]
    with pytest.raises(NotFoundError, match="balanced"):
        apply_psa(model, "Qwen2.5-VL/balancd")


def test_progress_and_summary(messages):
    heard = []
    model = made()
    applied = apply_psa(model, little(), on_progress=heard.append)
    logits(model, prompt())
    assert heard and heard[0]["text"].startswith("step 1/1, sparse")
    assert applied.summary().startswith("own settings: 2 attention calls sparse at ")
    record = applied.record()
    assert [(cell.step, cell.block, cell.sparse) for cell in record.cells] == [(0, 0, 1), (0, 1, 1)]
    remove_psa(model)
    assert any("own settings: 2 attention calls sparse" in m for m in messages("INFO"))


def test_saved_models_do_not_ask_for_psa(tmp_path):
    model = made()
    apply_psa(model, little())
    model.config.save_pretrained(tmp_path)
    assert '"psa"' not in Path(tmp_path, "config.json").read_text(encoding="utf-8")
