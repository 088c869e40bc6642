"""What the server refuses when a graph is queued, and in which words; and what it offers."""

import copy
import os

import pytest
import yaml

from psa_pack.tools.comfy_client import PromptRefusedError

from ..bad_presets import GOOD, bad_presets
from .graphs import reports

FAMILY = "Wan2.1_14b"


def with_preset(graph, family=FAMILY, preset="default", steps=4, **psa):
    g = graph()
    loader = g.add("PSAPresetLoader", {"family": family, "preset": preset}, "loader")
    g.sample(g.psa(g.model(), loader, node_id="apply", **psa), steps=steps)
    return g


def with_yaml(graph, text):
    g = graph()
    editor = g.add("PSAPresetEditor", {"yaml_overrides": text}, "editor")
    g.sample(g.psa(g.model(), editor))
    return g


@pytest.fixture
def user_presets(comfy_server):
    """The folder of a user's own presets; emptied afterwards."""
    folder = comfy_server.base / "user" / "default" / "psa" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    for file in folder.glob("*.yaml"):
        file.unlink()


def writable(presets):
    """Those that YAML text as we read it can hold: no number of 400 digits, no key but a name."""
    from psa_presets.yaml_text import TextError, parse

    found = []
    for bad in presets:
        text = yaml.safe_dump(bad.preset, sort_keys=False)
        try:
            parse(text)
        except TextError:
            continue
        found.append((bad, text))
    return found


def assert_names_every_breach(message, bad, where=""):
    for breach in bad.breaches:
        path = f"{where}{breach.path}:"
        lines = [line for line in message.splitlines() if path in line]
        assert lines, f"{path} is not in {message}"
        if breach.shown:
            texts = [text[:60] for text in breach.shown]
            assert any(text in line for line in lines for text in texts), (breach, lines)


def test_bad_yaml_overrides_are_refused_field_by_field(graph):
    found = writable(bad_presets(60))
    assert len(found) >= 50
    for bad, text in found:
        refusal = with_yaml(graph, text).refusal()
        assert list(refusal) == ["editor"], bad.name
        message = refusal["editor"]["yaml_overrides"]
        assert_names_every_breach(message, bad)
        assert "yaml_overrides, line " in message


def test_bad_presets_in_a_users_file_are_refused_field_by_field(graph, user_presets):
    found = writable(bad_presets(60))
    for start in range(0, len(found), 20):
        batch = found[start : start + 20]
        presets = {f"bad-{i}": bad.preset for i, (bad, _) in enumerate(batch)}
        text = yaml.safe_dump({FAMILY: {"attention_configs": presets}}, sort_keys=False)
        (user_presets / "mine.yaml").write_text(text, encoding="utf-8")
        # a young file is read again each time, lest an edit within the clock's tick is missed
        os.utime(user_presets / "mine.yaml", (start, start))
        for i, (bad, _) in enumerate(batch):
            refusal = with_preset(graph, preset=f"bad-{i}").refusal()
            assert list(refusal) == ["loader"], bad.name
            message = refusal["loader"]["preset"]
            assert_names_every_breach(message, bad, f"{FAMILY}.attention_configs.bad-{i}.")
            assert "mine.yaml, line " in message
            assert f"bad-{i + 1}" not in message
    # the broken file keeps nothing else from working
    assert reports(with_preset(graph, preset="fast").run())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tail: 32\nblock_size: {m: 128", "yaml_overrides, line 2"),
        ("- a\n- list", "a mapping (`key: value`) is expected"),
        ("warmup_steps: 9999", "warmup_steps: found 9999; allowed: a whole number from 0 to 1000"),
        ("warmup_step: 3", "did you mean warmup_steps?"),
        ("x" * 300_000, "at most 262144 are read"),
    ],
)
def test_text_that_is_no_preset(graph, text, message):
    refusal = with_yaml(graph, text).refusal()
    assert list(refusal) == ["editor"]
    assert message in refusal["editor"]["yaml_overrides"]


CLASH = "PSA Preset Editor: tail: found 64; it can be at most block_size.n = "


@pytest.mark.parametrize(
    "clash",
    [
        {"block_n": "32", "yaml_overrides": "tail: 64"},  # widgets against YAML
        {"block_n": "32", "tail": "64", "yaml_overrides": ""},  # widget against widget
        {"block_n": "32", "tail": "64"},
        {"tail": "64", "yaml_overrides": "block_size: {n: 32}", "base": ("fast",)},
        {"block_n": "32", "tail": "64", "base": ("faithful",)},
        {"yaml_overrides": "block_size: {n: 32}", "base": ("lora_4step", {"tail": "64"})},
    ],
)
def test_a_clash_that_only_the_whole_node_shows_is_refused(graph, clash):
    """Also where the base is a loader, or another editor on top of one."""
    g = graph()
    clash = dict(clash)
    if "base" in clash:
        preset, *edit = clash["base"]
        clash["base"] = g.add("PSAPresetLoader", {"family": FAMILY, "preset": preset}, "loader")
        if edit:
            clash["base"] = g.add("PSAPresetEditor", {**edit[0], "base": clash["base"]}, "middle")
    g.sample(g.psa(g.model(), g.add("PSAPresetEditor", clash, "editor")))
    refusal = g.refusal()
    assert list(refusal) == ["editor"]
    (message,) = refusal["editor"].values()
    assert message.startswith(f"yaml_overrides - {CLASH}32"), message
    assert "Fix: " in message


def test_an_editor_under_a_broken_one_is_silent(graph):
    g = graph()
    middle = g.add("PSAPresetEditor", {"block_n": "32", "tail": "64"}, "middle")
    editor = g.add("PSAPresetEditor", {"base": middle, "yaml_overrides": ""}, "editor")
    g.sample(g.psa(g.model(), editor))
    assert list(g.refusal()) == ["middle"]


def test_what_the_graph_does_not_tell_is_checked_by_the_node(graph):
    """A widget that is linked has its value when the graph runs; the message is the validator's."""
    g = graph()
    text = g.add("PrimitiveStringMultiline", {"value": "tail: 64"})
    editor = g.add("PSAPresetEditor", {"block_n": "32", "yaml_overrides": text}, "editor")
    g.sample(g.psa(g.model(), editor))
    run = g.client.run(g.nodes)
    assert run.outcome == "execution_error"
    assert run.error["node_id"] == "editor"
    message = run.error["exception_message"]
    assert message.startswith(f"{CLASH}32"), message
    assert "Fix: " in message and "Traceback" not in message


@pytest.mark.parametrize(
    ("options", "node", "message"),
    [
        ({"family": "Wan2.1_14B"}, "loader", "Wan2.1_14b"),
        ({"preset": "fsat"}, "loader", "use fast"),
        ({"preset": "../../etc/passwd"}, "loader", "has no preset"),
        ({"preset": ""}, "loader", "has no preset"),
        ({"dense_blocks": "0, first"}, "apply", "dense_blocks: cannot read 'first'"),
        ({"min_tokens": -1}, "apply", "min_tokens"),
        ({"start_percent": 1.5}, "apply", "start_percent"),
    ],
)
def test_wrong_inputs_are_named(graph, options, node, message):
    refusal = with_preset(graph, **options).refusal()
    assert list(refusal) == [node]
    assert message in " ".join(refusal[node].values())
    # once for the input; the loader's two inputs are judged together
    assert len(refusal[node]) == (2 if node == "loader" else 1)


def test_an_unknown_schedule_is_refused(graph):
    """When it is queued, or by the node: older versions do not check lists of choices."""
    g = with_preset(graph, schedule="steps")
    try:
        run = g.client.run(g.nodes)
    except PromptRefusedError as error:
        message = str(error.body["node_errors"]["apply"])
    else:
        assert run.outcome == "execution_error" and run.error["node_id"] == "apply"
        message = run.error["exception_message"]
    assert all(word in message for word in ("schedule", "steps", "preset", "percent")), message


@pytest.mark.parametrize("more", [{}, {"dense_blocks": ""}], ids=["short", "whole"])
def test_a_window_that_ends_before_it_starts_is_refused(graph, more):
    window = {"schedule": "percent", "start_percent": 0.6, "end_percent": 0.4, **more}
    refusal = with_preset(graph, **window).refusal()
    assert list(refusal) == ["apply"]
    (message,) = refusal["apply"].values()
    assert "found 0.6, which is after end_percent 0.4. Fix: give a start at or before" in message
    # without effect, it is not looked at
    assert with_preset(graph, **{**window, "schedule": "preset"}).run().succeeded


def options_of(client, name):
    info = client.get("/object_info/PSAPresetLoader")["PSAPresetLoader"]
    kind, settings = info["input"]["required"][name]
    return kind if isinstance(kind, list) else settings["options"]


def test_a_new_loader_shows_the_family_that_most_use(comfy_client):
    info = comfy_client.get("/object_info/PSAPresetLoader")["PSAPresetLoader"]
    assert info["input"]["required"]["family"][1]["default"] == FAMILY
    assert FAMILY in options_of(comfy_client, "family")


def test_a_users_file_appears_without_a_restart(graph, comfy_client, user_presets):
    assert "night" not in options_of(comfy_client, "preset")
    text = yaml.safe_dump(
        {
            FAMILY: {"attention_configs": {"night": GOOD}},
            "My model": {
                "default_attention": "only",
                "video_scale": {"width_divisor": 8, "height_divisor": 8, "depth_divisor": 1},
                "text_length": 0,
                "attention_configs": {"only": copy.deepcopy(GOOD)},
            },
        }
    )
    (user_presets / "mine.yaml").write_text(text, encoding="utf-8")
    assert "night" in options_of(comfy_client, "preset")
    assert "My model" in options_of(comfy_client, "family")
    assert reports(with_preset(graph, preset="night").run())["apply"]["preset"].endswith("/night")
    run = with_preset(graph, family="My model", preset="default").run()
    assert reports(run)["apply"]["preset"] == "My model/only"
