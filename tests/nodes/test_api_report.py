"""PSA Report in a real server: behind one sampler, two, two models, and none."""

import json

from .graphs import BLOCKS, STEPS, pictures, reports, spied

CALLS = STEPS * BLOCKS


def add_report(g, model, after, **inputs):
    """The node with everything that can be linked to it; `read` gives its figures and text."""
    node = g.add("PSAReport", {"model": model, "after": after, **inputs}, "report")
    g.add("SaveImage", {"images": [node[0], 1], "filename_prefix": "psa_report"}, "image")
    g.add("PreviewAny", {"source": [node[0], 2]}, "text")
    g.add("PreviewAny", {"source": [node[0], 3]}, "json")
    return node


def read(run):
    return json.loads(run.outputs["json"]["text"][0]), run.outputs["text"]["text"][0]


def sampler_of(g, name):
    """The link to the sampler behind a saved latent."""
    return g.nodes[g.saved[name][0]]["inputs"]["samples"]


def test_report_after_a_sampler(graph, comfy_client, comfy_server):
    g = graph()
    model = g.psa(g.spy(g.model(), "report"), g.preset(warmup_steps=1), node_id="apply")
    name = g.sample(model, seed=77)
    node = add_report(g, model, sampler_of(g, name))
    # what was sampled goes on through the report
    g.nodes[g.saved[name][0]]["inputs"]["samples"] = node
    run = g.run()
    data, text = read(run)
    (told,) = data["models"][0]["runs"]
    assert told["calls"] == reports(run)["apply"]["calls"] == {
        "sparse": CALLS - BLOCKS, "dense": {"cross-attention": CALLS, "warm-up": BLOCKS},
    }  # fmt: skip
    # the spy lies under PSA and sees what it leaves: nothing was measured behind its back
    assert len(spied(comfy_server.base, "report")) == CALLS + BLOCKS
    assert [(b["block"], b["sparse"]) for b in told["blocks"]] == [(0, STEPS - 1), (1, STEPS - 1)]
    assert told["times"]["timer"] in ("wall clock", "GPU events")
    assert all(step["seconds"] > 0 for step in told["steps"])
    assert "6 of 8 self-attention calls sparse" in text
    (shown,) = pictures(comfy_client, run, "report")
    (saved,) = pictures(comfy_client, run, "image")
    assert shown.width == 1600 and shown.tobytes() == saved.tobytes()
    assert g.latent(name).isfinite().all()


def test_split_sampling_is_one_report_of_two_runs(graph):
    g = graph()
    model = g.psa(g.model(), g.preset(warmup_steps=1))
    name = g.sample(model)
    first = g.nodes[sampler_of(g, name)[0]]
    first["class_type"] = "KSamplerAdvanced"
    inputs = first["inputs"]
    inputs |= {"noise_seed": inputs.pop("seed"), "add_noise": "enable", "start_at_step": 0,
               "end_at_step": 2, "return_with_leftover_noise": "enable"}  # fmt: skip
    inputs.pop("denoise")
    second = g.add("KSamplerAdvanced", {
        **inputs, "add_noise": "disable", "latent_image": sampler_of(g, name),
        "start_at_step": 2, "end_at_step": 10, "return_with_leftover_noise": "disable",
    })  # fmt: skip
    add_report(g, model, second)
    data, text = read(g.run())
    runs = data["models"][0]["runs"]
    assert [run["plan"] for run in runs] == [["dense", "sparse"], ["sparse", "sparse"]]
    assert [run["calls"]["sparse"] for run in runs] == [BLOCKS, 2 * BLOCKS]
    assert "Run 1 of 2" in text and "Run 2 of 2" in text
    # a prompt of its own: the part that ran again is the whole report
    g.nodes[second[0]]["inputs"]["noise_seed"] = 5
    data, _ = read(g.run())
    assert [run["plan"] for run in data["models"][0]["runs"]] == [["sparse", "sparse"]]


def test_a_report_put_behind_a_finished_graph_tells_of_the_run_there_was(graph):
    g = graph()
    model = g.psa(g.model(), g.preset(warmup_steps=2), node_id="apply")
    name = g.sample(model, seed=123)
    ran = reports(g.run())["apply"]
    add_report(g, model, sampler_of(g, name))
    run = g.run()
    assert not reports(run)  # the sampler's result came from the cache
    data, _ = read(run)
    assert [x["calls"] for x in data["models"][0]["runs"]] == [ran["calls"]]


def test_switched_off_and_two_models(graph):
    g = graph()
    on = g.psa(g.model(), g.preset(warmup_steps=1))
    off = g.psa(g.model(), enabled=False)
    # one after the other: the report waits for the sampler it is linked to and all before that
    first = g.sample(on)
    last = g.sample(off, latent_image=sampler_of(g, first))
    add_report(g, off, sampler_of(g, last), model_2=on)
    data, text = read(g.run())
    first, second = data["models"]
    assert "no PSA on this model" in first["note"] and not first["runs"]
    assert second["note"] is None
    assert text.startswith("PSA report, model 1")
