"""Presets that come by a link: an edited file counts, and what is no preset is refused by name."""

import time

import pytest
import yaml

from ..bad_presets import GOOD
from .graphs import reports

FAMILY = "Wan2.1_14b"


@pytest.fixture
def edit(comfy_server):
    """edit(warmup) writes the user's preset "by link" with so many dense steps."""
    folder = comfy_server.base / "user" / "default" / "psa" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "linked.yaml"

    def write(warmup):
        presets = {"by link": {**GOOD, "warmup_steps": warmup}}
        file.write_text(yaml.safe_dump({FAMILY: {"attention_configs": presets}}), encoding="utf-8")
        time.sleep(0.01)

    yield write
    file.unlink()


def switch(g, first, node_id=None):
    return g.add("PSATestSwitch", {"first": first, "use_second": False}, node_id)


def text(g, value):
    return switch(g, g.add("PrimitiveString", {"value": value}))


def dense_steps(run):
    return reports(run)["apply"]["plan"].count("dense")


@pytest.mark.parametrize("linked", [(), ("preset",), ("family",)])
def test_an_edited_file_is_used_whatever_is_linked(graph, edit, linked):
    g = graph()
    chosen = {"family": FAMILY, "preset": "by link"}
    for name in linked:
        chosen[name] = text(g, chosen[name])
    loader = g.add("PSAPresetLoader", chosen, "loader")
    # also where an editor stands between, which reads no file itself
    g.sample(g.psa(g.model(), g.add("PSAPresetEditor", {"base": loader}), node_id="apply"))
    found = []
    for warmup in (1, 2):
        edit(warmup)
        found.append(dense_steps(g.run()))
    assert found == [1, 2]
    # what nobody edited comes from ComfyUI's cache
    run = g.run()
    assert not reports(run)
    assert not [m for m in run.events("executing") if m["node"] == "loader"]


def test_an_unknown_name_by_a_link_is_refused_when_the_node_runs(graph):
    g = graph()
    loader = g.add("PSAPresetLoader", {"family": FAMILY, "preset": text(g, "fsat")}, "loader")
    g.sample(g.psa(g.model(), loader))
    run = g.client.run(g.nodes)
    assert run.outcome == "execution_error" and run.error["node_id"] == "loader"
    assert "has no preset 'fsat'. Fix: use fast" in run.error["exception_message"]


WORDS = "Fix: link a preset, from PSA Preset Loader or PSA Preset Editor"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("fast", "found the text 'fast'"),
        (5, "found something of type int"),
        ({"a": 1}, "found something of type dict"),
        ("", "found the text ''"),
    ],
)
@pytest.mark.parametrize(("kind", "name"), [("PSAApply", "preset"), ("PSAPresetEditor", "base")])
def test_what_is_no_preset_is_refused_when_it_is_queued(graph, kind, name, value, found):
    g = graph()
    if kind == "PSAApply":
        g.sample(g.psa(g.model(), value or None, node_id="node"))
        g.nodes["node"]["inputs"]["preset"] = value
    else:
        g.sample(g.psa(g.model(), g.add(kind, {name: value}, "node")))
    refusal = g.refusal()
    assert list(refusal) == ["node"]
    (message,) = refusal["node"].values()
    assert message.endswith(f"{name}: {found}. {WORDS}")


@pytest.mark.parametrize(("value", "found"), [("fast", "found the text 'fast'"),
                                              (None, "found nothing")])  # fmt: skip
def test_what_is_no_preset_and_comes_by_a_link_is_refused_by_the_node(graph, value, found):
    g = graph()
    link = g.add("PSATestSwitch", {"use_second": False}) if value is None else text(g, value)
    g.sample(g.psa(g.model(), link, node_id="apply"))
    run = g.client.run(g.nodes)
    assert run.outcome == "execution_error" and run.error["node_id"] == "apply"
    assert run.error["exception_message"].strip() == f"preset: {found}. {WORDS}"


def test_a_calibration_is_not_started_on_what_is_no_preset(graph):
    from .calibration.test_node import calibrated

    g = graph()
    calibrated(g)
    g.nodes["calibrate"]["inputs"]["preset"] = "fast"
    (message,) = g.refusal()["calibrate"].values()
    assert message.endswith(f"preset: found the text 'fast'. {WORDS}")
