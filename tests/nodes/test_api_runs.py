"""Workflows with the pack's nodes, run by a real ComfyUI server over HTTP and websocket."""

import pytest
import torch

from .graphs import BLOCKS, STEPS, reports, spied

CALLS = STEPS * BLOCKS


@pytest.fixture(scope="module")
def plain(comfy_client, comfy_server):
    """The latent of a graph that never had the pack's nodes."""
    from .graphs import Graph

    graph = Graph(comfy_client, comfy_server.base)
    name = graph.sample(graph.model())
    graph.run()
    return graph.latent(name)


@pytest.mark.parametrize("order", ["spy, then PSA", "PSA, then spy"])
def test_event_counts_what_a_spy_counts(graph, comfy_server, plain, order):
    g = graph()
    preset = g.preset(warmup_steps=1)
    if order == "spy, then PSA":
        model = g.psa(g.spy(g.model(), "under"), preset, node_id="apply")
    else:
        model = g.spy(g.psa(g.model(), preset, node_id="apply"), "under")
    name = g.sample(model)
    run = g.run()
    dense = spied(comfy_server.base, "under")
    report = reports(run)["apply"]
    # the spy serves what PSA leaves dense: all cross-attention, and self-attention in step 1
    assert report["calls"] == {
        "sparse": CALLS - BLOCKS, "dense": {"cross-attention": CALLS, "warm-up": BLOCKS},
    }  # fmt: skip
    assert len(dense) == CALLS + BLOCKS
    kept = [call["sigma"] for call in dense if call["self_attention"]]
    assert kept == [report["steps"][0]["sigma"]] * BLOCKS
    assert report["plan"] == ["dense", "sparse", "sparse", "sparse"]
    assert report["preset"] == "edited preset" and report["failure"] is None
    assert 0 < report["density"] < 1
    assert not torch.equal(g.latent(name), plain)


def test_log_has_a_line_before_and_a_line_after_the_run(graph, comfy_server):
    g = graph()
    before = len(comfy_server.log())
    preset = g.add("PSAPresetLoader", {"family": "Wan2.1_14b", "preset": "psa_balanced"})
    g.sample(g.psa(g.model(), preset))
    g.run()
    lines = [line for line in comfy_server.log()[before:].splitlines() if "PSA " in line]
    assert len(lines) == 2 and all("PSA Wan2.1_14b/psa_balanced: " in line for line in lines), lines
    # the shipped warm-up is longer than this run
    assert "no step of this run is sparse" in lines[0]
    assert f"0 attention calls sparse, {2 * CALLS} dense" in lines[1]


def test_without_psa_the_latent_is_the_same_bits(graph, plain):
    g = graph()
    g.sample(g.psa(g.model()), seed=2)  # PSA in the same process just before
    assert reports(g.run())
    g = graph()
    model = g.model()
    ways = {
        "removed": model,
        "off": g.psa(model, enabled=False),
        "dense preset": g.psa(model, g.preset(type="dense"), node_id="dense"),
    }
    names = {way: g.sample(model) for way, model in ways.items()}
    assert list(reports(g.run())) == ["dense"]
    for way, name in names.items():
        assert torch.equal(g.latent(name), plain), way


def test_two_differently_patched_models_in_one_graph(graph, plain):
    settings = {
        "a": {"block_n": "64", "tail": "64", "warmup_steps": 1},
        "b": {"rearrange_method": "SemanticAware", "warmup_steps": 2},
    }
    alone = {}
    for key, widgets in settings.items():
        g = graph()
        name = g.sample(g.psa(g.model(), g.preset(**widgets)))
        g.run()
        alone[key] = g.latent(name)
    assert not torch.equal(alone["a"], alone["b"])

    g = graph()
    model = g.model()
    names = {
        key: g.sample(g.psa(model, g.preset(**widgets), node_id=key))
        for key, widgets in settings.items()
    }
    names["plain"] = g.sample(model)
    run = g.run()
    for key, latent in {**alone, "plain": plain}.items():
        assert torch.equal(g.latent(names[key]), latent), key
    found = reports(run)
    assert {key: report["calls"]["dense"]["warm-up"] for key, report in found.items()} == {
        "a": BLOCKS, "b": 2 * BLOCKS,
    }  # fmt: skip


def test_a_prompt_queued_twice_and_again_with_another_seed(graph):
    g = graph()
    semantic = g.preset(rearrange_method="Hybrid")
    name = g.sample(g.psa(g.model(), semantic, node_id="apply"), seed=31)
    first = g.run()
    second = g.run()
    assert len(reports(first)) == 1 and not reports(second)
    cached = {node for event in second.events("execution_cached") for node in event["nodes"]}
    assert cached == set(g.nodes)
    latents = {31: g.latent(name)}

    # the cached patched model serves further runs, and at last the first one again
    (sampler,) = (node for node in g.nodes.values() if node["class_type"] == "KSampler")
    (saver,) = (node for node in g.nodes.values() if node["class_type"] == "SaveLatent")
    for seed in (32, 31):
        sampler["inputs"]["seed"] = seed
        saver["inputs"]["filename_prefix"] = f"{name}_{seed}"
        run = g.run()
        assert "apply" in run.events("execution_cached")[0]["nodes"]
        assert reports(run)["apply"]["calls"]["sparse"] == CALLS
        latent = g.latent(f"{name}_{seed}")
        assert torch.equal(latent, latents.setdefault(seed, latent))
    assert not torch.equal(latents[31], latents[32])


def test_event_names_the_node_of_its_own_graph(graph):
    """Also where ComfyUI has a patched model in its cache that another graph made alike."""
    for node_id in ("first", "second"):
        g = graph()
        g.sample(g.psa(g.model(), node_id=node_id), seed=51)
        assert list(reports(g.run())) == [node_id]


def test_an_interrupt_leaves_no_state(graph, comfy_server):
    def build(delay, steps=8):
        g = graph()
        model = g.spy(g.model(), "slow", delay=delay)  # a spy changes no number
        preset = g.preset(rearrange_method="SemanticAware", warmup_steps=1)
        return g, g.sample(g.psa(model, preset, node_id="apply"), seed=41, steps=steps)

    def stop(run, message):
        # a busy server leaves some steps' messages out
        if message["type"] == "progress" and message["data"]["value"] >= 3 and not asked:
            asked.append(g.client.interrupt(run.prompt_id))

    asked = []
    # far from its end for a minute: time enough to be met in the middle on a busy machine
    g, _ = build(delay=0.05, steps=600)
    run = g.run(on_message=stop)
    assert run.outcome == "execution_interrupted"
    partial = reports(run)["apply"]
    assert 0 < partial["calls"]["sparse"] < 599 * BLOCKS and partial["failure"] is None

    g, name = build(delay=0.0)
    assert reports(g.run())["apply"]["calls"]["sparse"] == 7 * BLOCKS
    g2, again = build(delay=0.001)
    g2.run()
    assert torch.equal(g.latent(name), g2.latent(again))
    spied(comfy_server.base, "slow")


def test_missing_optional_inputs_take_their_defaults(graph):
    g = graph()
    preset = g.add("PSAPresetEditor", {})
    node = g.add("PSAApply", {"model": g.model(), "preset": preset}, "apply")
    g.sample(node)
    report = reports(g.run())["apply"]
    assert report["plan_text"] == f"{STEPS} steps: 1-{STEPS} sparse"
    # 180 tokens are fewer than the default min_tokens of 4096
    assert report["calls"]["dense"]["fewer than min_tokens"] == CALLS


def test_percent_schedule_and_dense_blocks(graph):
    g = graph()
    options = {"schedule": "percent", "start_percent": 0.5, "end_percent": 1.0}
    g.sample(g.psa(g.model(), node_id="apply", dense_blocks="1, 38-39", **options))
    report = reports(g.run())["apply"]
    assert report["plan"] == ["dense", "dense", "sparse", "sparse"]
    assert report["calls"] == {
        "sparse": 2,
        "dense": {"cross-attention": CALLS, "before start percent": 4, "dense block": 2},
    }
