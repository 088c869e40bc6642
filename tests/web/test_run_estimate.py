"""The estimate of steps and runs, in the editor and on Apply PSA: what the server says, no more."""

import pytest

from .editor import Editor
from .gpu import on_gpu
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

FAMILY = "Wan2.1_14b"
FAST = {"preset": {"family": FAMILY, "preset": "fast"}, "family": FAMILY}
HD = {"width": 1280, "height": 720, "frames": 81}


def times(speedup):
    return f"≈ {float(format(speedup, '.2g')):g}\u00d7"


def whole(value):
    return f"{float(format(value * 100, '.2g')):g}%"


def seconds(step):
    sparse, dense = (f"{float(format(step[x]['value'], '.2g')):g}" for x in ("sparse_s", "dense_s"))
    return say("estimate.seconds", sparse=sparse, dense=dense)


def apply_psa(comfy, **widgets):
    loader = comfy.add("PSAPresetLoader", (60, 130), family=FAMILY, preset="fast")
    apply = comfy.add("PSAApply", (460, 130), links={"preset": (loader, 0)}, **widgets)
    comfy.add("EmptyHunyuanLatentVideo", (60, 400), width=1280, height=720, length=81)
    comfy.add("KSampler", (860, 130), links={"model": (apply, 0)}, steps=20)
    return apply, comfy.panel(apply).get_by_role("group", name=say("plan.title"))


def asked(comfy, **more):
    plan = comfy.ask("POST", "plan", {**FAST, "steps": 20})
    counts = {"steps": len(plan["steps"]), "sparse": plan["sparse_steps"], "ranges": plan["ranges"]}
    body = {**FAST, **HD, "plan": counts, **more}
    return comfy.ask("POST", "estimate", body)


@pytest.mark.both
def test_apply_psa_says_what_the_whole_run_gains(comfy, pytestconfig):
    on_gpu(comfy)
    apply, panel = apply_psa(comfy)
    answer = asked(comfy)
    assert answer["run"]["speedup"] > 1.3
    expect(panel).to_contain_text(say("run.faster", times=times(answer["run"]["speedup"]), **HD))
    share = whole(answer["step"]["time_share"]["value"])
    expect(panel).to_contain_text(say("estimate.share", share=share))
    even = f"{answer['break_even']['tokens']:,.0f}"
    expect(panel).to_contain_text(say("estimate.breakEven", tokens=even, here="75,600"))
    expect(panel).to_contain_text(seconds(answer["step"]))
    source = panel.get_by_title("timed on this NVIDIA")  # what the figures are from
    expect(source.first).to_be_visible()
    # its inputs count
    comfy.set_widget(apply, "dense_blocks", "0-19")
    fewer = asked(comfy, dense_blocks="0-19")["run"]["speedup"]
    assert times(fewer) != times(answer["run"]["speedup"])
    expect(panel).to_contain_text(say("run.faster", times=times(fewer), **HD))
    comfy.set_widget(apply, "min_tokens", 80_000)
    expect(panel).to_contain_text("min_tokens")
    comfy.set_widget(apply, "min_tokens", 4096)
    expect(panel).to_contain_text(say("run.faster", times=times(fewer), **HD))
    folder = pytestconfig.getoption("--screenshots")
    if folder:
        comfy.screenshot(f"{folder}/everywhere/run-estimate-{comfy.renderer}.png")
    comfy.set_widget(apply, "enabled", False)
    expect(panel.get_by_text(say("estimate.share", share=share))).to_be_hidden()


def test_a_gpu_that_was_not_measured_is_offered_it(comfy):
    on_gpu(comfy, measured=False)
    _, panel = apply_psa(comfy)
    answer = asked(comfy)
    counted = whole(answer["step"]["flops_share"]["value"])
    expect(panel).to_contain_text(say("run.unknown"))
    expect(panel).to_contain_text(say("estimate.shareCounted", share=counted))
    expect(panel).to_contain_text(say("estimate.offer", offer="128"))
    share = f"{answer['run']['density'] * 100:.3g}%"
    expect(panel).to_contain_text(say("run.density", density=share))
    expect(panel.get_by_title("nothing was measured on this GPU").first).to_be_visible()


def test_the_editor_offers_it_and_has_no_time_before(comfy):
    on_gpu(comfy, measured=False)
    editor = Editor(comfy)
    part = editor.estimate()
    editor.choose_family("CogVideo_5b")  # whose heads are of 64
    expect(part.locator("[data-tile=step]")).to_contain_text(say("estimate.lessWork"))
    tile = part.locator("[data-tile=attention]")
    expect(tile).to_contain_text(say("estimate.unknown"))
    assert "nothing was measured" in tile.get_attribute("title")
    expect(part).to_contain_text(say("estimate.offer", offer="64"))
    on_gpu(comfy)
    editor.choose_family(FAMILY)  # the next answer
    expect(tile).to_contain_text(say("estimate.faster"))
    expect(part).not_to_contain_text("PSA Self-test")


@pytest.mark.both
def test_the_editor_says_what_a_step_gains(comfy, pytestconfig):
    on_gpu(comfy)
    editor = Editor(comfy, size=(460, 100))
    part = editor.estimate()
    tile = part.locator("[data-tile=step]")
    expect(tile).to_contain_text(say("estimate.faster"))  # it has settled
    editor.choose_family(FAMILY)
    for name, value in HD.items():
        box = part.get_by_label(say(f"estimate.{name}"))
        box.fill(str(value))
        box.press("Enter")
    body = {"widgets": editor.plain_values(), "family": FAMILY, **HD}
    answer = comfy.ask("POST", "estimate", body)
    expect(tile).to_contain_text(times(answer["step"]["speedup"]))
    expect(tile).to_contain_text(say("estimate.faster"))
    attention = part.locator("[data-tile=attention]")
    expect(attention).to_contain_text(times(answer["attention"]["speedup"]))
    share = whole(answer["step"]["time_share"]["value"])
    expect(part).to_contain_text(say("estimate.share", share=share))
    expect(part).to_contain_text(seconds(answer["step"]))
    folder = pytestconfig.getoption("--screenshots")
    if folder:
        comfy.screenshot(f"{folder}/everywhere/step-estimate-{comfy.renderer}.png")


def test_an_answer_leaves_a_box_alone_in_which_someone_types(comfy):
    editor = Editor(comfy)
    box = editor.estimate().get_by_label(say("estimate.width"))
    box.fill("64")
    comfy.set_widget(editor.node, "warmup_steps", 3)  # the face is drawn anew
    expect(editor.scope.get_by_role("button", name="Warm-up steps 3")).to_be_visible()
    expect(box).to_have_value("64")
    box.press("0")
    box.press("Enter")
    expect(box).to_have_value("640")
    expect(editor.estimate().get_by_role("button", name=say("estimate.useUsual"))).to_be_visible()
