"""Apply PSA shows which steps will be dense; the run then does that."""

import re

import pytest

from .editor import Editor
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

MUTED, BYPASSED = 2, 4  # modes of a node
SMALL = {"block_m": "64", "block_n": "32", "tail": "32"}


def plan_of(comfy, node):
    return comfy.panel(node).get_by_role("group", name=say("plan.title"))


def cells(plan):
    """What every step is said to be."""
    titles = plan.get_by_role("img").locator("[title]")
    return ["dense" if "dense" in t.get_attribute("title") else "sparse" for t in titles.all()]


def is_estimate(steps):
    """Of a request: it asks what a run of so many steps gains."""

    def asks(request):
        return request.url.endswith("/psa/estimate") and (
            request.post_data_json.get("plan", {}).get("steps") == steps
        )

    return asks


def video_of(request):
    return tuple(request.post_data_json[name] for name in ("width", "height", "frames"))


@pytest.mark.both
def test_the_plan_follows_editor_and_sampler_and_the_run_follows_the_plan(comfy):
    editor = Editor(comfy, **SMALL, warmup_steps=1)
    editor.choose_family("Wan2.1_1.3b")
    links = {"model": comfy.model(), "preset": (editor.node, 0)}
    apply = comfy.add("PSAApply", (800, 130), links=links, min_tokens=0)
    sampler = comfy.sampler((apply, 0), steps=5)
    plan = plan_of(comfy, apply)
    expect(plan).to_contain_text("5 steps: 1 dense (warm-up), 2-5 sparse")
    assert cells(plan) == ["dense", *["sparse"] * 4]
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill("3")
    expect(plan).to_contain_text("5 steps: 1-3 dense (warm-up), 4-5 sparse")
    comfy.set_widget(sampler, "steps", 6)
    expect(plan).to_contain_text("6 steps: 1-3 dense (warm-up), 4-6 sparse")
    assert comfy.run()["plan"] == cells(plan)


@pytest.mark.both
# each kind goes into a subgraph of its own
@pytest.mark.parametrize(
    "inside",
    [("PSAApply", "PSAPresetLoader"), ("KSampler",), ("EmptyHunyuanLatentVideo",)],
    ids="-".join,
)
def test_the_plan_sees_through_the_borders_of_a_subgraph(comfy, inside):
    loader = comfy.add("PSAPresetLoader", (100, 130), family="Wan2.1_1.3b", preset="fast")
    apply = comfy.add("PSAApply", (600, 130), links={"model": comfy.model(), "preset": (loader, 0)})
    comfy.sampler((apply, 0), steps=7)
    expect(plan_of(comfy, apply)).to_contain_text("7 steps: ")
    with comfy.page.expect_request(is_estimate(9)) as asked:
        comfy.page.evaluate(
            """(kinds) => {
                window.psaFind = (kind) =>
                    [app.graph, ...app.graph.subgraphs.values()].flatMap((graph) => graph.nodes)
                        .find((n) => n.comfyClass === kind)
                for (const kind of kinds) app.graph.convertToSubgraph(new Set([psaFind(kind)]))
                psaFind('KSampler').widgets.find((w) => w.name === 'steps').value = 9
                // a link that is made anew, as a user would
                app.api.dispatchCustomEvent('graphChanged', app.graph.serialize())
            }""",
            inside,
        )
    assert video_of(asked.value) == (96, 96, 17)
    comfy.page.wait_for_function(
        """() => {
            const {text, estimate} = psaFind('PSAApply').psaApply
            return text.textContent.startsWith('9 steps: ') && !estimate.element.hidden
        }"""
    )


@pytest.mark.both
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "in a subgraph"])
def test_what_is_muted_or_bypassed_gives_the_plan_nothing(comfy, wrapped):
    """A sampler that is linked before the real one, and a video that is not the sampled one."""
    loader = comfy.add("PSAPresetLoader", (100, 130), family="Wan2.1_1.3b", preset="fast")
    apply = comfy.add("PSAApply", (600, 130), links={"model": comfy.model(), "preset": (loader, 0)})
    comfy.add("EmptyHunyuanLatentVideo", (100, 700), width=64, height=64, length=1)
    comfy.add("KSampler", (1200, 700), links={"model": (apply, 0)}, steps=3)
    comfy.page.evaluate(
        """(wrapped) => {
            window.psaOff = app.graph.nodes.slice(-2)
            if (wrapped) psaOff = [app.graph.convertToSubgraph(new Set(psaOff)).node]
        }""",
        wrapped,
    )
    comfy.sampler((apply, 0), steps=7)
    expect(plan_of(comfy, apply)).to_contain_text("3 steps: ")
    # what is in a subgraph comes after what is beside it
    own, other = (96, 96, 17), (96, 96, 17) if wrapped else (64, 64, 1)
    on = 0
    for mode, steps, video in (
        (BYPASSED, 7, own), (on, 3, other), (MUTED, 7, own), (on, 3, other),
    ):  # fmt: skip
        with comfy.page.expect_request(is_estimate(steps)) as asked:
            comfy.page.evaluate(
                """(mode) => {
                    for (const node of psaOff) node.mode = mode
                    app.api.dispatchCustomEvent('graphChanged', app.graph.serialize())
                }""",
                mode,
            )
        assert video_of(asked.value) == video


RANGES = """\
steps:
  0-12.5%: dense
  25-50%: {mask_ratios: {1: [0, 0.9], 0: [0.9, 1]}}
"""
# of every bar: its own height, and how much of it is filled
FILLED = """(bars) => bars.map((bar) => {
    const [whole, fill] = [bar, bar.firstChild].map((e) => e.getBoundingClientRect().height)
    return fill / whole
})"""


def test_each_step_is_as_high_as_it_is_dense(comfy):
    editor = Editor(comfy, **SMALL, warmup_steps=1)
    editor.choose_family("Wan2.1_1.3b")
    links = {"model": comfy.model(), "preset": (editor.node, 0)}
    apply = comfy.add("PSAApply", (800, 130), links=links, min_tokens=0)
    comfy.sampler((apply, 0), steps=8)
    plan = plan_of(comfy, apply)
    editor.show_yaml()
    with comfy.page.expect_request(
        lambda request: (
            request.url.endswith("/psa/estimate")
            and (request.post_data_json.get("plan") or {}).get("ranges") == {"25-50%": 2}
        )
    ) as asked:
        editor.yaml.fill(RANGES)
    assert asked.value.post_data_json["plan"] == {"steps": 8, "sparse": 7, "ranges": {"25-50%": 2}}
    # what was typed is the whole preset: no warm-up is left
    expect(plan).to_contain_text("1 dense (dense range), 2 sparse, 3-4 sparse (25-50%), 5-8 sparse")
    size = {"width": 96, "height": 96, "frames": 17}
    request = {"yaml": RANGES, "family": "Wan2.1_1.3b", "steps": 8, **size}
    found = comfy.ask("POST", "plan", request)
    densities = [step["density"] for step in found["steps"]]
    assert densities[0] == 1 > densities[2] == densities[3] > densities[1] > 0
    bars = plan.locator(".psa-height")
    expect(bars).to_have_count(8)
    assert bars.evaluate_all(FILLED) == pytest.approx(densities, abs=0.05)
    title = plan.get_by_role("img").locator("[title]").nth(2).get_attribute("title")
    assert "25-50%" in title and f"{densities[2] * 100:.3g}%" in title
    shown = say("run.density", density=f"{found['density'] * 100:.3g}%")
    expect(plan).to_contain_text(shown)
    # the run then is that dense
    report = comfy.run()
    assert [step["range"] for step in report["steps"]] == [s["range"] for s in found["steps"]]
    # the editor draws the same over the run, and the loader of the stored preset
    editor.open_section("steps")
    strip = editor.row("steps").get_by_role("img")
    expect(strip).to_have_attribute("aria-label", say("ranges.title"))
    four = strip.locator(".psa-height").evaluate_all(FILLED)
    run = comfy.ask("POST", "validate", {"yaml": RANGES})["step_ranges"]["run"]
    assert four == pytest.approx([part["density"] for part in run], abs=0.08)
    assert four[0] == 1 > four[2] > 2 * four[1]
    # and under the bar of the pyramid, which is one part of it
    expect(editor.scope.get_by_text(say("ranges.bar"))).to_be_visible()
    under = editor.scope.locator(".psa-pyramid .psa-strip .psa-height")
    assert under.evaluate_all(FILLED) == pytest.approx(four, abs=0.05)
    editor.save_as("Wan2.1_1.3b", "by steps")
    loader = comfy.add("PSAPresetLoader", (100, 900), family="Wan2.1_1.3b", preset="by steps")
    again = comfy.panel(loader).get_by_role("img", name=say("ranges.title"))
    expect(again).to_be_attached()
    assert again.locator(".psa-height").evaluate_all(FILLED) == pytest.approx(four, abs=0.05)
    comfy.set_widget(loader, "preset", "psa_topk")
    expect(again).to_have_count(0)


def test_rows_of_steps_are_of_about_the_same_length(comfy):
    loader = comfy.add("PSAPresetLoader", (100, 130), family="Wan2.1_1.3b", preset="fast")
    apply = comfy.add("PSAApply", (600, 130), links={"preset": (loader, 0)})
    plan = plan_of(comfy, apply)
    steps = plan.get_by_role("textbox", name=say("plan.steps"))
    for count, rows in [(8, [8]), (13, [7, 6]), (20, [10, 10]), (30, [30]), (50, [25, 25])]:
        steps.fill(str(count))
        steps.press("Enter")
        expect(plan).to_contain_text(f"{count} steps: ")
        tops = plan.locator(".psa-step").evaluate_all(
            "(cells) => cells.map((cell) => Math.round(cell.getBoundingClientRect().top))"
        )
        assert [tops.count(top) for top in sorted(set(tops))] == rows


def test_the_plan_without_a_sampler_is_for_typed_numbers(comfy):
    loader = comfy.add("PSAPresetLoader", (100, 130), family="Wan2.1_1.3b", preset="fast")
    apply = comfy.add("PSAApply", (600, 130), links={"preset": (loader, 0)})
    plan = plan_of(comfy, apply)
    expect(plan).to_contain_text(say("plan.noSteps"))
    box = plan.get_by_role("textbox", name=say("plan.steps"))
    box.fill("8")
    # the node is drawn anew, and leaves a box alone in which someone types
    comfy.page.evaluate(
        "(id) => app.graph.nodes.find((n) => String(n.id) === id).psaApply.look()", apply
    )
    expect(box).to_have_value("8")
    box.press("Enter")
    expect(plan).to_contain_text("8 steps: 1 dense (warm-up), 2-4 sparse (10-40%), 5-6 sparse")
    # the schedulers are the server's, and the chosen one is planned with
    box = plan.get_by_role("combobox", name=say("plan.scheduler"))
    known = comfy.ask("GET", "fields")["schedulers"]
    expect(box.locator("option")).to_have_text(known["names"])
    expect(box).to_have_value(known["default"])
    box.select_option("karras")
    preset = {"family": "Wan2.1_1.3b", "preset": "fast"}
    request = {"preset": preset, "family": preset["family"], "steps": 8, "scheduler": "karras"}
    planned = comfy.ask("POST", "plan", request)["steps"]
    middle = plan.get_by_role("img").locator("[title]").nth(4)
    expect(middle).to_have_attribute("title", re.compile(f"sigma {planned[4]['sigma']:.3g}$"))


def test_a_plan_that_is_dense_all_through_says_so(comfy):
    loader = comfy.add("PSAPresetLoader", (100, 130), family="Wan2.1_1.3b", preset="psa_balanced")
    apply = comfy.add("PSAApply", (600, 130), links={"preset": (loader, 0)})
    plan = plan_of(comfy, apply)
    plan.get_by_role("textbox", name=say("plan.steps")).fill("4")
    plan.get_by_role("textbox", name=say("plan.steps")).press("Enter")
    expect(plan).to_contain_text("no step of this run is sparse")
    assert cells(plan) == ["dense"] * 4


def test_percent_off_and_no_preset_are_planned_too(comfy):
    loader = comfy.add("PSAPresetLoader", (100, 130), family="Wan2.1_1.3b", preset="psa_topk")
    apply = comfy.add("PSAApply", (600, 130), links={"preset": (loader, 0)})
    plan = plan_of(comfy, apply)
    plan.get_by_role("textbox", name=say("plan.steps")).fill("10")
    plan.get_by_role("textbox", name=say("plan.steps")).press("Enter")
    expect(plan.get_by_role("img")).to_be_visible()
    by_preset = cells(plan)
    comfy.set_widget(apply, "schedule", "percent")
    comfy.set_widget(apply, "start_percent", 0.0)
    expect(plan).to_contain_text("1-10 sparse")
    assert cells(plan) == ["sparse"] * 10 != by_preset
    comfy.set_widget(apply, "enabled", False)
    expect(plan).to_contain_text(say("plan.off"))
    comfy.set_widget(apply, "enabled", True)
    comfy.page.evaluate(
        "(id) => app.graph.nodes.find((n) => String(n.id) === id).disconnectInput(1)", apply
    )
    expect(plan).to_contain_text(say("plan.noPreset"))


def test_estimates_are_the_servers(comfy):
    editor = Editor(comfy)
    part = editor.estimate()
    request = {"family": "Wan2.1_1.3b", "width": 832, "height": 480, "frames": 81}
    editor.choose_family(request["family"])
    for name in ("width", "height", "frames"):
        box = part.get_by_label(say(f"estimate.{name}"))
        box.fill(str(request[name]))
        box.press("Enter")
    answer = comfy.ask("POST", "estimate", {"widgets": editor.plain_values(), **request})
    assert answer["density"]["kind"] == "exact"
    shown = f"{answer['density']['value'] * 100:.3g}%"
    expect(part).to_contain_text(shown)
    # never a number that nobody measured or computed
    step = answer["step"]
    assert step["speedup"] is None and answer["attention"]["speedup"] is None
    expect(part.locator("[data-tile=attention]")).to_contain_text(say("estimate.unknown"))
    less = f"{float(format(step['less_work']['value'], '.2g')):g}\u00d7"
    expect(part.locator("[data-tile=step]")).to_contain_text(less)
    expect(part.locator("[data-tile=step]")).to_contain_text(say("estimate.lessWork"))

    # by attention mass it depends on the video, and says so
    editor.scope.get_by_role("radio", name="thresholdbound").click()
    editor.wait_for(mask_mode="thresholdbound")
    expect(part).to_contain_text("≈")
