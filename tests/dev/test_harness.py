"""The server, client, tiny model and in-process ComfyUI that the other tests stand on."""

import pytest

from psa_pack.tools.comfy_client import PromptRefusedError

from ..nodes.graphs import BLOCKS, STEPS, Graph, spied


@pytest.fixture
def graph(comfy_client, comfy_server, tiny_wan_name):
    return lambda: Graph(comfy_client, comfy_server.base)


def test_server_samples_the_tiny_wan(graph, comfy_server):
    g = graph()
    name = g.sample(g.spy(g.model(), "harness"))
    run = g.run()
    assert run.succeeded
    assert run.history["status"]["status_str"] == "success"
    (sampler,) = (i for i, node in g.nodes.items() if node["class_type"] == "KSampler")
    assert run.node_seconds(sampler) > 0
    assert g.latent(name).shape == (1, 16, 5, 12, 12)

    calls = spied(comfy_server.base, "harness")
    # self- and cross-attention each; cond and uncond are one batch
    assert len(calls) == STEPS * BLOCKS * 2
    self_calls = [call for call in calls if call["self_attention"]]
    assert {tuple(call["q"]) for call in self_calls} == {(2, 180, 256)}
    assert {call["heads"] for call in calls} == {2}
    assert {call["func"] for call in calls} == {"attention_pytorch"}


def test_interrupt_ends_the_run_and_the_next_one_is_whole(graph, comfy_client):
    g = graph()
    g.sample(g.spy(g.model(), "interrupt", delay=0.05), steps=300)

    def stop(run, message):
        if message["type"] == "progress":
            comfy_client.interrupt(run.prompt_id)

    run = g.run(on_message=stop)
    assert run.outcome == "execution_interrupted"
    assert not run.succeeded
    whole = graph()
    whole.sample(whole.model(), seed=8)
    assert whole.run().succeeded


def test_refused_prompt_carries_the_servers_answer(graph):
    g = graph()
    g.sample(g.model(), steps="many")
    with pytest.raises(PromptRefusedError) as refused:
        g.run()
    assert refused.value.status == 400
    (sampler,) = refused.value.body["node_errors"]
    assert g.nodes[sampler]["class_type"] == "KSampler"


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
