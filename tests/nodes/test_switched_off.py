"""An Apply PSA that is switched off lets its model through and refuses nothing."""

import pytest

from .graphs import reports

FAMILY = "Wan2.1_14b"
# each of them is refused of a node that is on (test_api_refusals.py)
TURNED = {"dense_blocks": "1-", "schedule": "percent", "start_percent": 0.6, "end_percent": 0.4}
WRONG = (
    {**TURNED, "min_tokens": -1, "preset": "fast"},
    {"schedule": "steps", "start_percent": 1.5, "min_tokens": "many", "preset": None},
)


def whole(graph, off, **inputs):
    g = graph()
    g.sample(g.psa(g.model(), node_id="apply"))
    g.nodes["apply"]["inputs"].update(inputs)
    g.nodes["apply"]["inputs"]["enabled"] = off(g)
    return g


def by_link(g):
    return g.add("PrimitiveBoolean", {"value": False})


@pytest.mark.parametrize("wrong", WRONG)
def test_it_refuses_no_input(graph, wrong):
    g = whole(graph, lambda g: False, **wrong)
    assert not reports(g.run())


def test_it_needs_no_preset(graph):
    g = whole(graph, lambda g: False)
    del g.nodes["apply"]["inputs"]["preset"]
    assert not reports(g.run())


def test_where_only_the_run_tells_that_it_is_off(graph):
    assert not reports(whole(graph, by_link, **TURNED).run())


def test_one_that_turns_out_to_be_on_says_it_when_it_runs(graph):
    g = whole(graph, lambda g: g.add("PrimitiveBoolean", {"value": True}), dense_blocks="1-")
    run = g.client.run(g.nodes)
    assert run.outcome == "execution_error" and run.error["node_id"] == "apply"
    assert "dense_blocks: cannot read '1-'" in run.error["exception_message"]


@pytest.mark.parametrize("off", [lambda g: False, by_link], ids=["off", "by link"])
def test_a_preset_that_cannot_be_loaded_does_not_keep_it_from_its_model(graph, off):
    """The nodes before it are not even run."""
    g = graph()
    broken = g.add("PSAPresetLoader", {"family": FAMILY, "preset": "gone"}, "loader")
    edited = g.add("PSAPresetEditor", {"base": broken, "block_n": "32", "tail": "64"}, "editor")
    g.sample(g.psa(g.model(), edited, node_id="apply"))
    g.nodes["apply"]["inputs"]["enabled"] = off(g)
    if off is by_link:  # whether it is needed is not known yet, so it is judged
        assert list(g.refusal()) == ["loader"]
        return
    run = g.run()
    assert not reports(run)
    assert not [m for m in run.events("executing") if m["node"] in ("loader", "editor")]
    # another node that is on needs it
    g.sample(g.psa(g.model(), edited, node_id="other"))
    assert list(g.refusal()) == ["loader"]
