"""PSA Calibrate in a graph on a real server: its preset is valid, kept, and runs as it says."""

import json

import pytest
import yaml

from psa_kernels import PSAConfig

from ..graphs import SIZE, STEPS, pictures, reports

FAMILY = "Small_Wan"
PLAIN = "steps: {}\ngrouping: order\nsecond_moment: false"  # one budget for all steps


def calibrated(g, base=None, node_id="calibrate", **inputs):
    """The link to the node's preset, on a graph `g`."""
    loader = g.add("PSAPresetLoader", {"family": FAMILY, "preset": "balanced"})
    base = base or g.preset(base=loader, warmup_steps=1, yaml_overrides=PLAIN)
    numbers = [{"prompt_number": i, "tokens": 16} for i in (1, 2)]
    texts = [g.add("PSADemoConditioning", numbers[i]) for i in range(2)]
    g.add(
        "PSACalibrate",
        {
            "model": g.model(), "positive": texts[0], "negative": texts[1], "preset": base,
            "latent_image": g.add("EmptyHunyuanLatentVideo", SIZE), "seed": 1, "steps": STEPS,
            "cfg": 6.0, "sampler_name": "euler", "scheduler": "simple", "measured_steps": 2,
            "probed_steps": 1, **inputs,
        },
        node_id,
    )  # fmt: skip
    g.add("PreviewAny", {"source": [node_id, 1]}, f"{node_id} yaml")
    g.add("PreviewAny", {"source": [node_id, 3]}, f"{node_id} json")
    return [node_id, 0]


def told(run, node_id="calibrate"):
    return json.loads(run.outputs[f"{node_id} json"]["text"][0])


def preset(run, node_id="calibrate"):
    return PSAConfig.from_preset(yaml.safe_load(run.outputs[f"{node_id} yaml"]["text"][0]))


def mean_density(report):
    """The sparse steps' mean density, blocks left dense included."""
    sparse, dense = report["calls"]["sparse"], report["calls"]["dense"].get("dense block", 0)
    return ((report["density"] or 0) * sparse + dense) / (sparse + dense)


def test_the_run_is_as_dense_as_asked(graph, comfy_client):
    g, density = graph(), 0.3
    link = calibrated(g, density=density)
    g.sample(g.psa(g.model(), link, node_id="apply"))
    run = g.run()
    found, config = told(run), preset(run)
    assert PSAConfig.from_preset(config.to_preset()) == config and config.warmup_steps == 1
    assert 0 < found["chosen"]["error"] < 1 and len(found["blocks"]) == 2
    # what is said of the grouping is what the preset has
    assert found["grouping"]["compared"] and found["grouping"]["chosen"] == config.grouping
    assert f"grouping: {config.grouping} was" in config.description
    chosen = found["chosen"]["density"]
    assert chosen <= density + 1e-9
    # the next rung of some block would be more than asked: 6 key blocks of 32 in a row
    dearer = [b["density"] for b in found["blocks"]]
    assert density - chosen < 0.25 and min(dearer) <= chosen <= max(dearer)
    # what runs is what was said; short last blocks make rows of a rung differ a little
    assert mean_density(reports(run)["apply"]) == pytest.approx(chosen, abs=0.01)
    (image,) = pictures(comfy_client, run, "calibrate")
    assert image.size[0] == 1200 and len(image.getcolors(100_000)) > 10


def test_a_shipped_preset_is_calibrated_in_all_its_ranges_of_steps(graph):
    """As a newcomer would, from balanced; 8 key blocks of 128 in a row."""
    g = graph()
    loader = g.add("PSAPresetLoader", {"family": FAMILY, "preset": "balanced"})
    size = {"width": 192, "height": 192, "length": 25, "batch_size": 1}
    latent = g.add("EmptyHunyuanLatentVideo", size)
    how = {"latent_image": latent, "steps": 5, "cfg": 1.0}
    link = calibrated(g, loader, **how, measured_steps=1, probed_steps=0, dense_blocks="0")
    g.sample(g.psa(g.model(), link, node_id="apply"), **how)
    run = g.run()
    found, config = told(run), preset(run)
    assert found["measured_steps"] == [2, 4, 5]  # 15-45%, of two steps, 45-70%, the rest
    assert found["chosen"]["density"] == pytest.approx(found["target"]["value"])
    ran = mean_density(reports(run)["apply"])
    assert ran == pytest.approx(found["chosen"]["density"], abs=0.01)
    for place in (0.2, 0.5, 0.9):
        assert config.for_step(place).for_block(0).type == "dense"
        assert config.for_step(place).for_block(1).type == "psa"
    assert config.for_step(0.1).type == "dense" and config.grouping == "similar"


def test_it_is_kept_under_a_name_and_not_over_another(graph, comfy_client, comfy_server):
    g = graph()
    calibrated(g, save_as="for my videos", density=0.3)
    run = g.run()
    stored = comfy_client.get(f"/psa/presets/{FAMILY}/for%20my%20videos")
    assert PSAConfig.from_preset(stored["config"]) == preset(run)
    assert (
        stored["origin"] == "user"
        and "Calibrated from Small_Wan/balanced" in stored["config"]["description"]
    )
    assert list(run.events("psa.presets_changed"))
    # what it measured lies beside, for the next time
    journals = comfy_server.base / "user" / "default" / "psa" / "calibrations"
    count = len(list(journals.iterdir()))
    assert count

    again = graph()
    calibrated(again, save_as="for my videos", density=0.5)
    failed = again.client.run(again.nodes)
    assert failed.outcome == "execution_error"
    message = failed.error["exception_message"]
    assert "already has a preset for my videos" in message and "replace" in message
    shipped = graph()
    calibrated(shipped, save_as="fast", replace=True)
    assert "shipped" in shipped.client.run(shipped.nodes).error["exception_message"]

    # the same measurements serve another target: nothing is sampled again
    third = graph()
    calibrated(third, save_as="for my videos", density=0.5, replace=True)
    run = third.run()
    assert len(list(journals.iterdir())) == count
    stored = comfy_client.get(f"/psa/presets/{FAMILY}/for%20my%20videos")
    assert PSAConfig.from_preset(stored["config"]) == preset(run)
    assert told(run)["chosen"]["density"] > 0.3


def test_limits(graph):
    g = graph()
    ranges = g.preset(yaml_overrides="grouping: similar\nsteps: {20-40%: {tail: 8}}\n"
                      "blocks: {0: {tail: 16}}")  # fmt: skip
    calibrated(g, ranges, node_id="kept", dense_blocks="1", density=0.7)
    calibrated(g, node_id="none", allow_dense=False, target="error", error=0.0)
    calibrated(g, node_id="some", target="error", error=0.2)
    run = g.run()
    assert told(run, "some")["target"] == {"kind": "error", "value": 0.2, "met": True}
    assert told(run, "some")["chosen"]["density"] < told(run, "none")["chosen"]["density"]
    # a range of steps keeps what is no budget
    assert preset(run, "kept").steps == PSAConfig(steps={"20-40%": {"tail": 8}}).steps
    assert preset(run, "kept").grouping == "similar"
    assert not told(run, "kept")["grouping"]["compared"]
    assert preset(run, "kept").for_block(1).type == "dense"
    assert preset(run, "kept").for_block(0).type == "psa"
    assert all(block["scale"] is not None for block in told(run, "none")["blocks"])


def test_refusals_are_in_plain_words(graph):
    for inputs, base, text in (
        ({"save_as": "mine"}, {}, "the preset belongs to no family"),
        ({}, {"type": "dense"}, "is a dense preset"),
        ({}, {"warmup_steps": 50}, "steps: no step of this run is sparse"),
        ({}, {"yaml_overrides": "steps: {0-100%: dense}"}, "steps: no step of this run is sparse"),
        ({"dense_blocks": "1, 77-78"}, {}, "dense_blocks: found 77-78; this model has"),
    ):
        g = graph()
        calibrated(g, g.preset(**base), **inputs)
        failed = g.client.run(g.nodes)
        assert failed.outcome == "execution_error"
        message = failed.error["exception_message"]
        assert text in message, message
        # which this node has not
        assert "schedule to percent" not in message
    g = graph()
    calibrated(g, dense_blocks="1-")
    assert "dense_blocks: cannot read '1-'" in str(g.refusal())
