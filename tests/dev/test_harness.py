"""The server, client, tiny model and in-process ComfyUI that the other tests stand on."""

import json

import pytest

from psa_pack.tools.comfy_client import PromptRefusedError


def tiny_graph(model: str, *, spy: dict | None = None, steps: int = 2, seed: int = 7) -> dict:
    graph = {
        "model": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": model, "weight_dtype": "default"},
        },
        "positive": {
            "class_type": "PSADemoConditioning",
            "inputs": {"prompt_number": 1, "tokens": 16},
        },
        "negative": {
            "class_type": "PSADemoConditioning",
            "inputs": {"prompt_number": 2, "tokens": 16},
        },
        "latent": {
            "class_type": "EmptyHunyuanLatentVideo",
            "inputs": {"width": 128, "height": 128, "length": 9, "batch_size": 1},
        },
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["model", 0],
                "positive": ["positive", 0],
                "negative": ["negative", 0],
                "latent_image": ["latent", 0],
                "seed": seed,
                "steps": steps,
                "cfg": 6.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        },
        "save": {
            "class_type": "SaveLatent",
            "inputs": {"samples": ["sampler", 0], "filename_prefix": "latents/harness"},
        },
    }
    if spy is not None:
        graph["spy"] = {
            "class_type": "PSATestSpy",
            "inputs": {"model": ["model", 0], "gain": 1.0, "delay": 0.0, **spy},
        }
        graph["sampler"]["inputs"]["model"] = ["spy", 0]
    return graph


def test_server_samples_the_tiny_wan(comfy_server, comfy_client, tiny_wan_name):
    run = comfy_client.run(tiny_graph(tiny_wan_name, spy={"label": "harness"}))
    assert run.succeeded
    assert run.history["status"]["status_str"] == "success"
    assert run.node_seconds("sampler") > 0
    (saved,) = run.outputs["save"]["latents"]
    assert (comfy_server.base / "output" / saved["subfolder"] / saved["filename"]).is_file()

    log = comfy_server.base / "output" / "spy_harness.jsonl"
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    # 2 steps x 2 blocks, self- and cross-attention each; cond and uncond are one batch
    assert len(calls) == 8
    self_calls = [call for call in calls if call["self_attention"]]
    assert {tuple(call["q"]) for call in self_calls} == {(2, 192, 256)}
    assert {call["heads"] for call in calls} == {2}
    assert {call["func"] for call in calls} == {"attention_pytorch"}


def test_interrupt_ends_the_run_and_the_next_one_is_whole(comfy_client, tiny_wan_name):
    graph = tiny_graph(tiny_wan_name, spy={"label": "interrupt", "delay": 0.05}, steps=300)

    def stop(run, message):
        if message["type"] == "progress":
            comfy_client.interrupt(run.prompt_id)

    run = comfy_client.run(graph, on_message=stop)
    assert run.outcome == "execution_interrupted"
    assert not run.succeeded
    assert comfy_client.run(tiny_graph(tiny_wan_name, seed=8)).succeeded


def test_refused_prompt_carries_the_servers_answer(comfy_client, tiny_wan_name):
    graph = tiny_graph(tiny_wan_name)
    graph["sampler"]["inputs"]["steps"] = "many"
    with pytest.raises(PromptRefusedError) as refused:
        comfy_client.run(graph)
    assert refused.value.status == 400
    assert "sampler" in refused.value.body["node_errors"]


def test_tiny_wan_is_detected_as_wan21(comfy_inproc):
    model = comfy_inproc.tiny_wan()
    config = model.model.model_config
    assert type(config).__name__ == "WAN21_T2V"
    assert model.model.diffusion_model.dim == 256
    assert model.model.diffusion_model.num_heads == 2


def test_sampling_in_process_repeats_bit_for_bit(comfy_inproc):
    import torch

    model = comfy_inproc.tiny_wan()
    first = comfy_inproc.sample(model, steps=2)
    assert first.shape == (1, 16, 3, 16, 16)
    assert torch.isfinite(first).all()
    assert torch.equal(first, comfy_inproc.sample(model, steps=2))
    assert not torch.equal(first, comfy_inproc.sample(model, steps=2, seed=2))


def test_tiny_wan_is_the_same_file_every_time(tmp_path):
    from psa_pack.tools.random_wan import write_tiny_wan

    first = write_tiny_wan(tmp_path / "a.safetensors").read_bytes()
    assert first == write_tiny_wan(tmp_path / "b.safetensors").read_bytes()
    assert len(first) < 8e6
