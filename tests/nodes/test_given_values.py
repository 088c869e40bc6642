"""What scripts write for a widget's value means the same in a queued graph and to the routes."""

import json

import pytest
import yaml

from psa_kernels import PSAConfig

from .graphs import reports

FAMILY = "Wan2.1_14b"


@pytest.fixture
def queued(graph):
    """queued(values) -> the configuration that an editor node with these inputs gives."""

    def run(values):
        g = graph()
        editor = g.add("PSAPresetEditor", values, "editor")
        g.add("PreviewAny", {"source": [editor[0], 1]}, "yaml")
        return PSAConfig.from_preset(yaml.safe_load(g.run().outputs["yaml"]["text"][0]))

    return run


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"block_n": 128.0, "tile_n": 32}, {"block_n": "128", "tile_n": "32"}),
        ({"tail": 8, "description": 5}, {"tail": "8", "description": "5"}),
        (dict.fromkeys(("base", "rearrange_method", "warmup_steps", "use_rearrange", "description",
                        "level_1_to")), {}),
        ({"verbose": "yes", "use_rearrange": "false"}, {"verbose": True, "use_rearrange": False}),
        ({"second_moment": 1, "use_rearrange": 0}, {"second_moment": True,
                                                    "use_rearrange": False}),
        ({"warmup_steps": "7", "sim_2x_threshold": "0.25"}, {"warmup_steps": 7,
                                                             "sim_2x_threshold": 0.25}),
        ({"yaml_overrides": None, "warmup_steps": 3}, {"warmup_steps": 3}),
        ({"yaml_overrides": "warmup_steps: 3"}, {"warmup_steps": 3}),
        ({"refresh": "8", "grouping": None}, {"refresh": 8}),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_means_the_same_everywhere(queued, comfy_client, given, meant):
    expected = queued(meant)
    assert (expected != PSAConfig()) == bool(meant)
    assert queued(given) == expected
    widgets = {k: v for k, v in given.items() if k not in ("yaml_overrides", "base")}
    body = {"widgets": widgets, "yaml_overrides": given.get("yaml_overrides"), "base": None}
    answer = comfy_client.post("/psa/validate", body)
    assert answer["ok"], answer["issues"]
    assert PSAConfig.from_preset(answer["config"]) == expected
    # and over a base: left out is the base's
    base = {"family": FAMILY, "preset": "faithful"}
    one, other = (
        comfy_client.post("/psa/validate", {**sent, "base": base})["config"]
        for sent in (body, {"widgets": meant})
    )
    assert one == other


@pytest.mark.parametrize(
    ("given", "words"),
    [({"block_n": 65}, ("block_n", "block_size.n")), ({"tail": True}, ("tail",)),
     ({"warmup_steps": "soon"}, ("warmup_steps",)), ({"level_1_to": 7}, ("level_1_to",
                                                                         "mask_ratios.1"))],
    ids=str,
)  # fmt: skip
def test_a_wrong_value_is_refused_everywhere(graph, comfy_client, given, words):
    g = graph()
    g.sample(g.psa(g.model(), g.add("PSAPresetEditor", given, "editor")))
    message = json.dumps(g.refusal()["editor"])
    assert any(word in message for word in words)
    answer = comfy_client.post("/psa/validate", {"widgets": given})
    assert not answer["ok"] and any(w in answer["issues"][0]["message"] for w in words)


@pytest.mark.parametrize("value", [None, " NONE ", 1])
def test_dense_blocks(graph, comfy_client, value):
    g = graph()
    loader = g.add("PSAPresetLoader", {"family": FAMILY, "preset": "lora_4step"})
    g.sample(g.psa(g.model(), loader, node_id="apply", dense_blocks=value, min_tokens=0))
    dense = reports(g.run())["apply"]["calls"]["dense"]
    assert ("dense block" in dense) == (value == 1)
    body = {"preset": {"family": FAMILY, "preset": "fast"}, "family": FAMILY, "width": 832,
            "height": 480, "frames": 81, "dense_blocks": value}  # fmt: skip
    assert comfy_client.post("/psa/estimate", body)["tokens"]


def test_null_for_an_optional_input_is_its_default(graph):
    g = graph()
    loader = g.add("PSAPresetLoader", {"family": FAMILY, "preset": None})
    names = ("enabled", "schedule", "start_percent", "end_percent", "dense_blocks")
    g.sample(g.psa(g.model(), loader, node_id="apply", **dict.fromkeys(names)))
    report = reports(g.run())["apply"]
    assert report["preset"] == f"{FAMILY}/balanced"


@pytest.mark.parametrize("name", ["preset", "model"])
def test_null_for_a_required_input_is_missing(graph, name):
    g = graph()
    g.sample(g.psa(g.model(), node_id="apply"))
    g.nodes["apply"]["inputs"][name] = None
    assert g.refusal() == {"apply": {name: name}}


def test_null_for_a_family_is_refused(graph):
    g = graph()
    g.sample(g.psa(g.model(), g.add("PSAPresetLoader", {"family": None, "preset": "fast"}, "x")))
    assert "there is no family None" in g.refusal()["x"]["family"]


def test_the_default_in_any_case_has_its_own_name(graph, comfy_client):
    name = "DEFAULT"
    g = graph()
    loader = g.add("PSAPresetLoader", {"family": FAMILY, "preset": name})
    g.sample(g.psa(g.model(), loader, node_id="apply"))
    assert reports(g.run())["apply"]["preset"] == f"{FAMILY}/balanced"
    assert comfy_client.get(f"/psa/presets/{FAMILY}/{name}")["preset"] == "balanced"
    body = {"preset": {"family": FAMILY, "preset": name}}
    assert comfy_client.post("/psa/validate", body)["ok"]


def test_a_calibration_with_null_for_a_name_keeps_nothing(graph, comfy_client):
    from .calibration.test_node import FAMILY as TINY
    from .calibration.test_node import calibrated

    g = graph()
    calibrated(g, save_as=None, dense_blocks=None, density=0.3, measured_steps=1, probed_steps=0)
    g.run()
    families = comfy_client.get("/psa/presets")["families"]
    names = [p["name"] for f in families if f["name"] == TINY for p in f["presets"]]
    assert "balanced" in names and "None" not in names


WINDOW = {"schedule": "percent", "start_percent": 0.0, "end_percent": 0.4}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("start_percent", "soon", "start_percent: found 'soon'; allowed: a number from 0 to 1"),
        ("start_percent", "0.6", "start_percent: found 0.6, which is after end_percent 0.4. Fix: "),
        ("end_percent", "nan", "end_percent: found nan; allowed: a number from 0 to 1"),
        ("min_tokens", "many", "min_tokens: found 'many'; allowed: a number from 0 to 1000000"),
        ("schedule", "steps", "schedule: found 'steps'; allowed: preset, percent"),
        ("enabled", "perhaps", "enabled: found 'perhaps'; allowed: true or false"),
        ("dense_blocks", "x", "dense_blocks: cannot read 'x'"),
    ],
)
def test_what_a_link_brings_is_named_by_the_node(graph, name, value, message):
    """A node of no fixed type hands on anything, and ComfyUI does not look at it."""
    g = graph()
    text = g.add("PrimitiveString", {"value": value})
    link = g.add("PSATestSwitch", {"first": text, "use_second": False})
    g.sample(g.psa(g.model(), node_id="apply", **{**WINDOW, name: link}))
    run = g.client.run(g.nodes)
    assert run.outcome == "execution_error" and run.error["node_id"] == "apply"
    assert run.error["exception_message"].startswith(message)


def test_what_a_link_brings_is_read_as_what_a_script_writes(graph):
    g = graph()
    given = {"start_percent": "0.0", "min_tokens": "0", "schedule": "percent", "enabled": "on",
             "dense_blocks": "1"}  # fmt: skip
    links = {}
    for name, value in given.items():
        text = g.add("PrimitiveString", {"value": value})
        links[name] = g.add("PSATestSwitch", {"first": text, "use_second": False})
    number = g.add("PSATestSwitch", {"first": g.add("PrimitiveInt", {"value": 32})})
    g.nodes[number[0]]["inputs"]["use_second"] = False
    preset = g.preset(tail=number)
    g.sample(g.psa(g.model(), preset, node_id="apply", **links))
    report = reports(g.run())["apply"]
    assert report["calls"]["sparse"] and "dense block" in report["calls"]["dense"]
    # and off is off
    g.nodes[links["enabled"][0]]["inputs"]["first"] = g.add("PrimitiveString", {"value": "off"})
    assert not reports(g.run())
