"""LoRA (peft) and offloading (accelerate, and diffusers' own) in a real pipeline with PSA on."""

import pytest
import torch

from psa_engines.diffusers import apply_psa, remove_psa

from .small_diffusers import clip, little, made, wan_pipeline

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed")


CPU = torch.device("cpu")
CALLS = {"sparse": 2 * 2, "dense": {"warm-up": 2 * 2}}  # 2 blocks, 2 conditions
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.2")


def run(pipe, **more):
    """Two steps: one dense, one sparse."""
    return clip(pipe, count=2, **more)


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """(file, weights) of a LoRA of rank 4 for every block, in diffusers' names."""
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(5)
    weights = {}
    for name, layer in made("wan").named_modules():
        if name.startswith("blocks.") and name.endswith(ADAPTED):
            rows, columns = layer.weight.shape
            for part, shape in ("A", (4, columns)), ("B", (rows, 4)):
                key = f"transformer.{name}.lora_{part}.weight"
                weights[key] = torch.randn(shape, generator=random) / 4
    file = tmp_path_factory.mktemp("lora") / "style.safetensors"
    save_file(weights, file)
    return file, weights


def merged(weights, scale=1.0):
    """A pipeline whose own weights are what the LoRA makes of them."""
    pipe = wan_pipeline()
    for key, a in weights.items():
        if ".lora_A." in key:
            name = key.removeprefix("transformer.").removesuffix(".lora_A.weight")
            b = weights[key.replace(".lora_A.", ".lora_B.")]
            pipe.transformer.get_submodule(name).weight.data += scale * b @ a
    return pipe


def sparse(pipe, **more):
    applied = apply_psa(pipe, little(warmup_steps=1))
    out = run(pipe, **more)
    assert applied.report()["calls"] == CALLS
    return out


# --- LoRA


@pytest.mark.parametrize("first", ["LoRA", "PSA"])
def test_a_lora_gives_what_the_merged_weights_give(first, lora):
    file, weights = lora
    pipe = wan_pipeline()
    dense, without = run(pipe), sparse(pipe)
    if first == "LoRA":
        remove_psa(pipe)
        pipe.load_lora_weights(file)
        applied = apply_psa(pipe, little(warmup_steps=1))
    else:
        applied = apply_psa(pipe, little(warmup_steps=1))
        pipe.load_lora_weights(file)
    out = run(pipe)
    assert applied.report()["calls"] == CALLS and applied.report()["failure"] is None
    torch.testing.assert_close(out, sparse(merged(weights)), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out, without, atol=0.1), "the LoRA changes nothing here"
    half = run(pipe, attention_kwargs={"scale": 0.5})
    torch.testing.assert_close(half, sparse(merged(weights, 0.5)), rtol=1e-4, atol=1e-4)
    # each comes off alone
    pipe.unload_lora_weights()
    assert torch.equal(run(pipe), without)
    pipe.load_lora_weights(file)
    remove_psa(pipe)
    torch.testing.assert_close(run(pipe), run(merged(weights)), rtol=1e-4, atol=1e-4)
    pipe.unload_lora_weights()
    assert torch.equal(run(pipe), dense)


def test_a_fused_lora_is_served(lora):
    file, weights = lora
    pipe = wan_pipeline()
    applied = apply_psa(pipe, little(warmup_steps=1))
    pipe.load_lora_weights(file)
    pipe.fuse_lora()
    torch.testing.assert_close(run(pipe), sparse(merged(weights)), rtol=1e-4, atol=1e-4)
    assert applied.report()["calls"] == CALLS


# --- offloading


def offload(pipe, kind, device=CPU):
    """As a pipeline does it, and where it refuses a CPU, as it would."""
    if kind == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif kind == "group":
        pipe.enable_group_offload(
            onload_device=device, offload_device=CPU, offload_type="leaf_level"
        )
    elif device == CPU:  # accelerate fails with the pipeline's "cpu:0"
        accelerate.cpu_offload(pipe.transformer, device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


def is_offloaded(pipe, kind):
    if kind == "group":
        return hasattr(pipe.transformer, "_diffusers_hook")
    return hasattr(pipe.transformer, "_hf_hook")


KINDS = ("model", "sequential", "group")


@pytest.mark.parametrize("first", ["offload", "PSA"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_offloaded_pipeline_is_served_and_stays_offloaded(kind, first):
    pipe = wan_pipeline()
    dense, whole = run(pipe), sparse(pipe)
    remove_psa(pipe)
    if first == "offload":
        offload(pipe, kind)
        applied = apply_psa(pipe, little(warmup_steps=1))
    else:
        applied = apply_psa(pipe, little(warmup_steps=1))
        offload(pipe, kind)
    if kind == "sequential":
        assert pipe.transformer.proj_out.weight.device.type == "meta"
    assert torch.equal(run(pipe), whole)
    report = applied.report()
    assert report["calls"] == CALLS and report["missing"] is None
    assert all(step["seconds"] is not None for step in report["steps"])
    assert report["times"]["psa_ms"] > 0
    remove_psa(pipe)
    assert is_offloaded(pipe, kind) and torch.equal(run(pipe), dense)


@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_offloading_that_ends_leaves_psa_on(kind):
    pipe = wan_pipeline()
    whole = sparse(pipe)
    offload(pipe, kind)
    assert torch.equal(run(pipe), whole)
    if kind == "model":
        pipe.remove_all_hooks()
    else:
        accelerate.hooks.remove_hook_from_submodules(pipe.transformer)
    assert not is_offloaded(pipe, kind) and torch.equal(run(pipe), whole)


AFTER = [("group", "cpu", torch.float32)] + [(kind, "cuda", torch.bfloat16) for kind in KINDS]


@pytest.mark.parametrize("kind, device, dtype", [
    pytest.param(*case, id=f"{case[0]}-{case[1]}", marks=[pytest.mark.gpu] * (case[1] == "cuda"))
    for case in AFTER
])  # fmt: skip
def test_a_lora_that_comes_after_offloading(kind, device, dtype, lora):
    """diffusers ends the offloading, loads, and begins it anew."""
    whole = wan_pipeline().to(device, dtype)
    whole.load_lora_weights(lora[0])
    expected = sparse(whole, device=device, dtype=dtype)
    pipe = wan_pipeline().to(dtype)
    offload(pipe, kind, torch.device(device))
    applied = apply_psa(pipe, little(warmup_steps=1))
    pipe.load_lora_weights(lora[0])
    assert is_offloaded(pipe, kind)
    assert not any(x.device.type == "cuda" for x in pipe.transformer.parameters())
    assert torch.equal(run(pipe, device=device, dtype=dtype), expected)
    report = applied.report()
    assert report["calls"] == CALLS and report["missing"] is None
    assert report["implementation"] == ("triton" if device == "cuda" else "reference")
    assert not any(x.device.type == "cuda" for x in pipe.transformer.parameters())


# --- faults


# NaN calls the model again, and so each kind's hooks; an error leaves them alone
@pytest.mark.parametrize("kind, fault", [("model", "error"), *((kind, "NaN") for kind in KINDS)])
def test_a_fault_under_lora_and_offloading_loses_nothing(kind, fault, lora, spoil):
    pipe = wan_pipeline()
    pipe.load_lora_weights(lora[0])
    scaled = {"attention_kwargs": {"scale": 0.7}}
    dense = run(pipe, **scaled)
    offload(pipe, kind)
    applied = apply_psa(pipe, little(warmup_steps=1))
    spoil(fault, calls=1)
    assert torch.equal(run(pipe, **scaled), dense)
    report = applied.report()
    assert ("no such kernel" if fault == "error" else "NaN or Inf") in report["failure"]
    again = int(fault == "NaN")  # its first try served both blocks
    assert report["repeated"] == again and report["calls"]["sparse"] == 2 * again
    assert is_offloaded(pipe, kind)
    # the next run is a new chance
    assert not torch.equal(run(pipe, **scaled), dense)
    assert applied.report()["calls"] == CALLS
