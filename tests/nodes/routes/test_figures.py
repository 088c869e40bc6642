"""POST /psa/estimate and /psa/plan: what they say is what runs, and where a figure is from."""

import dataclasses
import itertools
import json
import time

import pytest
import torch

from psa_kernels import PSAAttention, PSAConfig

from ...measured_gpu import DENSE, MACHINE
from ..graphs import reports

FAMILY = "Wan2.1_1.3b"
HD = {"width": 832, "height": 480, "frames": 81}


def estimate(app, config, family=FAMILY, **more):
    if isinstance(config, str):
        source = {"preset": {"family": family, "preset": config}}
    else:
        source = {"config": config}
    body = {**source, "family": family, **HD, **more}
    status, answer, _ = app.ask("POST", "/psa/estimate", body)
    assert status == 200, answer
    return answer


PYRAMIDS = (
    {1: (0, 0.1), 2: (0.1, 0.15), 8: (0.15, 0.35), 0: (0.35, 1)},
    {1: (0, 0.01), 0: (0.01, 1)},
    {2: (0, 0.3), 4: (0.3, 1)},
    {8: (0, 0.02), 0: (0.02, 1)},
    {1: (0, 1)},
)


def test_single_blocks_count_where_the_number_of_blocks_is_known(app, gpu):
    """The mean over the model's blocks: Wan 2.1 1.3B has 30."""
    full = {"mask_ratios": {1: [0, 0.2], 0: [0.2, 1]}}
    plain, dear = estimate(app, {}), estimate(app, {**full})
    blocks = {"0-5": "dense", "20, 28-40": full}  # 3 of the latter are blocks of this model
    mixed = estimate(app, {"blocks": blocks})
    parts = ((21, plain["density"]["value"]), (6, 1.0), (3, dear["density"]["value"]))
    assert mixed["density"]["value"] == pytest.approx(sum(n * x for n, x in parts) / 30)
    assert mixed["density"]["kind"] == "exact"
    assert "mean over calls with 3 sets of settings" in mixed["density"]["note"]
    speeds = ((21, plain["attention"]["speedup"]), (6, 1.0), (3, dear["attention"]["speedup"]))
    assert mixed["attention"]["speedup"] == pytest.approx(30 / sum(n / x for n, x in speeds))
    # thresholds depend on the video, in one block too
    some = estimate(app, {"blocks": {3: {"mask_mode": "thresholdbound"}}})
    assert some["density"]["kind"] == "profile" and some["density"]["low"] < some["density"]["high"]
    # a model whose blocks nobody counted: said, not guessed
    heads = {"model": {"heads": 12, "head_dim": 128}}
    unknown = estimate(app, {"blocks": blocks}, **heads)
    assert unknown["density"]["value"] == plain["density"]["value"]
    for figure in (unknown["density"], unknown["attention"]):
        assert "settings of single blocks are left out" in figure["note"]


@pytest.mark.parametrize("ratios", PYRAMIDS, ids=str)
def test_the_density_of_quotas_is_what_a_call_computes(app, ratios):
    """Against `Stats.density` of the reference: exact, or within the range that is given."""
    from psa_pack.nodes.estimate.density import Tokens, density

    torch.manual_seed(1)
    for grid, text, n, m, tail in itertools.product(
        ((2, 8, 8), (3, 7, 9)), (0, 33), (32, 64, 128), (64, 128), ("none", 16, 32)
    ):
        config = PSAConfig(block_n=n, block_m=m, tail=tail, mask_ratios=ratios, tile_n=16)
        tokens = Tokens(grid, text)
        q, k, v = torch.randn(3, 1, 2, tokens.total, 16)
        _, stats = PSAAttention(config)(q, k, v, extra_tokens=(text, 0), return_stats=True)
        found = density([(1, config)], tokens)
        assert found.low == found.value == found.high and found.kind == "exact"
        # what the last block lacks, wherever it lands
        short = -tokens.video % n * tokens.video / tokens.total**2
        assert found.value == pytest.approx(stats.density, abs=short + 1e-12), (config, tokens)


def test_levels_by_mass_follow_from_the_curve(monkeypatch):
    """The table's way of counting, against the reference's own levels for the same importance."""
    from psa_kernels.layout import Layout
    from psa_kernels.reference import assign_levels
    from psa_pack.benchmarks.density_profiles import curve
    from psa_pack.nodes.estimate import density

    torch.manual_seed(2)
    q = torch.zeros(1, 3, 128 * 40, 8)
    mass = torch.softmax(3 * torch.randn(1, 3, 40, 40), -1)
    marks = [i / 20 for i in range(21)]
    monkeypatch.setattr(density, "MASS", marks)
    monkeypatch.setattr(density, "IN_RASTER", [curve(mass, marks)] * 3)
    for bounds in ((0.4, 0.5, 0.6, 0.8), (0.2, 0.2, 0.9, 0.95), (0.5, 0.7, 0.7, 1.0)):
        one, two, four, eight = bounds
        config = PSAConfig(
            block_n=128, mask_mode="thresholdbound",
            mask_ratios={1: (0, one), 2: (one, two), 4: (two, four), 8: (four, eight),
                         0: (eight, 1)},
        )  # fmt: skip
        layout = Layout.of(q, q, q, config)
        levels = assign_levels(mass, None, layout, config).matrix
        wanted = sum((levels == x).float().mean().item() / x for x in (1, 2, 4, 8))
        found = density.density([(1, config)], density.Tokens((40, 8, 16), 0))
        assert found.value == pytest.approx(wanted, abs=1e-6)  # bounds lie on the curve's marks


def test_what_depends_on_the_video_has_a_range(app):
    found = estimate(app, "psa_balanced")["density"]
    assert found["kind"] == "profile" and "made-up" in found["note"]
    assert found["low"] < found["value"] < found["high"]
    # a similarity mask may read every pooled block in full
    ratios = {1: [0, 0.1], 8: [0.1, 0.4], 0: [0.4, 1]}
    old = {"block_size": {"n": 128}, "attn_impl": "old_mask_type", "mask_ratios": ratios}
    plain = estimate(app, old)["density"]
    similar = estimate(app, {**old, "use_sim_mask": True})["density"]
    assert plain["kind"] == "exact" and similar["kind"] == "profile"
    assert similar["value"] == similar["low"] == plain["value"]
    assert similar["high"] == pytest.approx(0.4, abs=0.01)


def test_no_figure_without_a_measurement(app, gpu):
    for config, words in (
        ({"block_size": {"n": 32}}, "key blocks of 32"),
        ({"block_size": {"m": 64}}, "query blocks of 64"),
        ({"importance": "exact"}, "exact importance"),
        ({"rearrange_method": "SemanticAware"}, "SemanticAware"),
    ):
        answer = estimate(app, config)
        for figure in (answer["attention"], answer["step"]):
            assert figure["speedup"] is figure["kind"] is None and words in figure["reason"]
    answer = estimate(app, {}, model={"heads": 12, "head_dim": 200})
    assert answer["attention"]["speedup"] is None and answer["offer"] == "256"
    assert "heads of 200" in answer["attention"]["reason"]
    assert estimate(app, "baseline")["attention"] | {"note": ""} == {
        "speedup": 1.0, "verdict": None, "kind": "dense", "reason": None, "note": "",
        "measured": None,
    }  # fmt: skip
    step = estimate(app, "fast", family="Wan2.1_1.3b", model={"heads": 12, "head_dim": 128})["step"]
    assert step["speedup"] is None and "sizes of the family's model are not known" in step["reason"]


def test_a_step_and_a_run_are_those_of_the_estimate(app, gpu):
    """The route only passes on; the figures themselves: tests/nodes/test_step_estimate.py."""
    from psa_pack.nodes.estimate.calls import Plan, calls_of_run
    from psa_pack.nodes.estimate.density import Tokens
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.nodes.estimate.step import estimate_run

    config = {"block_size": {"n": 128}, "tail": 64, "rearrange_method": "Gilbert"}
    plan = {"steps": 8, "sparse": 3}
    answer = estimate(app, config, plan=plan, dense_blocks="0, 28-99")
    calls = calls_of_run(PSAConfig.from_preset(config), 30, Plan(8, 3), {0, 28, 29})
    found = estimate_run(calls, Tokens((21, 30, 52), 0), MODELS[FAMILY], Plan(8, 3))
    assert answer["step"]["speedup"] == found["step"].value > 1
    assert answer["step"]["kind"] == "extrapolated" and answer["gpu"] == MACHINE["gpu"]
    assert answer["step"]["measured"]["against"] == DENSE and answer["offer"] is None
    for name in ("flops_share", "less_work", "time_share", "dense_s", "sparse_s"):
        assert answer["step"][name] == dataclasses.asdict(found[name])
    assert answer["run"]["speedup"] == found["run"].value > 1
    assert (answer["run"]["steps"], answer["run"]["sparse"]) == (8, 3)
    assert answer["break_even"]["tokens"] == found["break_even"].value
    assert estimate(app, config)["run"] is None
    # sizes that are given count as a known family's do
    sizes = {"heads": 12, "head_dim": 128, "blocks": 30, "ffn": 8960, "cross": 512}
    given = estimate(app, config, model=sizes)["step"]
    assert given == estimate(app, config)["step"]
    sizes = {"heads": 56, "head_dim": 128, "blocks": 50, "ffn": 21504, "hidden": 5376}
    h3 = {"family": "MiniMax-H3", "width": 1344, "height": 768, "frames": 124}
    assert estimate(app, config, **h3, model=sizes)["step"] == estimate(app, config, **h3)["step"]
    assert estimate(app, config, **h3)["tokens"]["grid"] == [37, 24, 42]


def test_short_videos_are_said_to_be_so(app, gpu):
    run = {"plan": {"steps": 8, "sparse": 3}}
    short = estimate(app, "fast", **run, min_tokens=40_000)["run"]
    assert (short["speedup"], short["kind"]) == (1.0, "dense") and "min_tokens" in short["note"]
    assert estimate(app, "fast", **run, min_tokens=32_760)["run"]["speedup"] > 1


def test_what_was_not_measured_is_offered(app, unmeasured):
    found = estimate(app, "fast", plan={"steps": 8, "sparse": 3})
    assert (found["offer"], found["gpu"]) == ("128", MACHINE["gpu"])
    assert found["step"]["speedup"] is None and "nothing was measured" in found["step"]["reason"]
    assert found["attention"]["speedup"] is None and found["attention"]["verdict"] is None
    assert found["step"]["flops_share"]["value"] > 0.5 and found["run"]["speedup"] is None
    assert found["run"]["density"] > found["density"]["value"] > 0
    assert estimate(app, "fast", family="CogVideo_5b")["offer"] == "64"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_offered(app):
    found = estimate(app, "fast")
    assert found["gpu"] is found["offer"] is None and "no GPU" in found["attention"]["reason"]


NO_TEXT = ("Flux", "HunyuanVideo", "HunyuanVideo1.5", "MiniMax-H3", "Mochi", "Qwen-Image")


@pytest.mark.parametrize("family", NO_TEXT)
def test_where_the_text_varies_nothing_is_exact(app, gpu, family):
    run = {"plan": {"steps": 8, "sparse": 3}}
    found = estimate(app, "fast", family=family, **run)
    assert found["tokens"]["text"] is None
    assert found["tokens"]["total"] == found["tokens"]["video"]
    assert found["density"]["kind"] == "extrapolated"
    step = found["step"]
    figures = [found[name] for name in ("density", "attention", "step", "run", "break_even")]
    figures += [step[name] for name in ("flops_share", "less_work", "time_share", "dense_s")]
    known = [x for x in figures if x["kind"]]
    assert len(known) >= 2
    for figure in known:
        assert "text not counted" in figure["note"]
        assert figure["kind"] in ("extrapolated", "arithmetic")
    dense = estimate(app, "baseline", family=family)["density"]
    assert (dense["value"], dense["kind"]) == (1.0, "dense")


def test_no_other_shipped_family_leaves_text_out(app):
    families = app.ask("GET", "/psa/presets")[1]["families"]
    assert {x["name"] for x in families if x["text_length"] is None} == set(NO_TEXT)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"plan": {"steps": 4}}, "sparse"),
        ({"plan": {"steps": 0, "sparse": 0}}, "steps"),
        ({"plan": {"steps": 4, "sparse": 1, "x": 1}}, "'x'"),
        ({"plan": {"steps": 4, "sparse": 1, "ranges": {"0-10%": 1}}}, "no sparse range '0-10%'"),
        ({"plan": {"steps": 4, "sparse": 1, "ranges": {"x": 1}}}, "no sparse range 'x'"),
        ({"plan": {"steps": 4, "sparse": 1, "ranges": {"50-60%": 2}}}, "from 0 to 1"),
        ({"plan": {"steps": 4, "sparse": 1, "ranges": {"50-60%": 1, "60-70%": 1}}}, "more steps"),
        ({"dense_blocks": "3-1"}, "dense_blocks"),
        ({"model": {"heads": 1, "head_dim": 64, "ffn": -1}}, "ffn"),
    ],
)
def test_estimates_that_cannot_be_made(app, body, words):
    config = {"steps": {"0-10%": "dense", "50-60%": {"tail": 8}, "60-70%": {"tail": 16}}}
    asked = {"config": config, "family": FAMILY, **HD, **body}
    status, answer, _ = app.ask("POST", "/psa/estimate", asked)
    assert status == 400 and words in answer["error"]["message"]


def test_what_is_extrapolated_says_so_and_is_in_order(app, gpu):
    asked = ("fast", "balanced", "faithful")
    found = [estimate(app, name)["attention"] for name in asked]
    values = [answer["speedup"] for answer in found]
    assert values == sorted(values, reverse=True) and values[-1] > 1
    for answer in found:
        assert (answer["verdict"], answer["kind"]) == ("faster", "extrapolated")
        assert MACHINE["gpu"] in answer["note"] and DENSE in answer["note"]
    small = estimate(app, "fast", width=416, height=240)["attention"]
    assert values[0] > small["speedup"]


def test_the_verdict_is_what_is_felt(app):
    from psa_pack.nodes.estimate.step import Figure
    from psa_pack.nodes.routes.figures import _verdict

    values = {1.05: "faster", 1.04: "even", 1.0: "even", 0.96: "even", 0.95: "slower", None: None}
    assert {x: _verdict(Figure(x, "extrapolated")) for x in values} == values
    assert _verdict(Figure(1.0, "dense")) is None


def test_what_takes_longer_is_said_to_be_slower(app, gpu):
    full = {"block_size": {"n": 128}, "mask_ratios": {"1": [0, 1]}}
    found = estimate(app, full, family="Wan2.1_14b", plan={"steps": 4, "sparse": 4})
    for name in ("attention", "step", "run"):
        assert found[name]["speedup"] < 0.95 and found[name]["verdict"] == "slower"
    few = estimate(app, full, family="Wan2.1_14b", plan={"steps": 400, "sparse": 1})
    assert few["run"]["speedup"] < 1 and few["run"]["verdict"] == "even"


def test_an_estimate_is_quick(app, gpu):
    estimate(app, "psa_balanced")
    # of this process, in which the server is: what others do meanwhile counts for nothing
    start = time.process_time()
    for name in ("psa_balanced", "fast", "psa_topk"):
        estimate(app, name, width=1920, height=1080, frames=241)
    assert time.process_time() - start < 3


RUNS = (
    {"steps": 6},
    {"steps": 6, "scheduler": "karras", "sampler": "dpm_2"},
    {"steps": 5, "scheduler": "beta", "sampler": "uni_pc"},
    {"steps": 4, "denoise": 0.5},
    {"steps": 5, "denoise": 0.6, "scheduler": "normal"},
    {"steps": 4, "schedule": "percent", "start_percent": 0.3, "end_percent": 0.9},
    {"steps": 3, "shift": 3.0, "schedule": "percent", "start_percent": 0.3},
)


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_the_plan_is_what_runs(graph, comfy_client, run):
    """Against the report of a real sampler run of a Wan model."""
    config = {"warmup_steps": 2, "steps": {"50-75%": {"tail": 16}, "84-100%": "dense"}}
    g = graph()
    model = g.model()
    if "shift" in run:
        model = g.add("ModelSamplingSD3", {"model": model, "shift": run["shift"]})
    options = {key: run[key] for key in ("schedule", "start_percent", "end_percent") if key in run}
    preset = g.preset(yaml_overrides=json.dumps(config))  # JSON is YAML
    patched = g.psa(model, preset, node_id="apply", **options)
    sampler = {"sampler_name": run.get("sampler", "euler"), "denoise": run.get("denoise", 1.0),
               "scheduler": run.get("scheduler", "simple"), "steps": run["steps"]}  # fmt: skip
    g.sample(patched, **sampler)
    report = reports(g.run())["apply"]
    body = {"config": config, "family": FAMILY, **run}
    plan = comfy_client.post("/api/psa/plan", body)
    assert ["dense" if step["dense"] else "sparse" for step in plan["steps"]] == report["plan"]
    assert plan["text"] == report["plan_text"]
    assert [step["sigma"] for step in plan["steps"]] == pytest.approx(
        [step["sigma"] for step in report["steps"]]
    )
    assert plan["sparse_steps"] == report["plan"].count("sparse")
    assert [step["range"] for step in plan["steps"]] == [s["range"] for s in report["steps"]]
    by_range = {x["range"]: x["calls"]["sparse"] > 0 for x in report["ranges"]}
    assert plan["ranges"].keys() == {name for name, sparse in by_range.items() if name and sparse}


def plan(app, **body):
    status, answer, _ = app.ask("POST", "/psa/plan", {"family": FAMILY, **body})
    assert status == 200, answer
    return answer


FULLER = {"mask_ratios": {"1": [0, 0.4], "0": [0.4, 1]}}
THIN = {"mask_ratios": {"1": [0, 0.1], "0": [0.1, 1]}}


def test_a_plan_has_the_density_of_each_step(app):
    ranges = {"0-12.5%": "dense", "25-50%": FULLER, "50-75%": {"blocks": {"0-14": "dense"}}}
    config = {"warmup_steps": 1, "steps": ranges, **THIN}
    named = {"own": THIN, "full": FULLER}
    density = {name: estimate(app, own)["density"]["value"] for name, own in named.items()}
    found = plan(app, config=config, steps=8, **HD)
    half = (1 + density["own"]) / 2  # 15 of 30 blocks are dense
    wanted = [1, density["own"], *[density["full"]] * 2, half, half, *[density["own"]] * 2]
    assert [step["density"] for step in found["steps"]] == pytest.approx(wanted)
    assert found["density"] == pytest.approx(sum(wanted) / 8)
    assert found["ranges"] == {"25-50%": 2, "50-75%": 2}
    # without a size it is nearly the same; the node's dense blocks count
    rough = plan(app, config=config, steps=8)
    assert rough["density"] == pytest.approx(found["density"], rel=0.01)
    left = plan(app, config=config, steps=8, dense_blocks="15-29", **HD)
    assert [step["density"] for step in left["steps"]][4:] == pytest.approx([1, 1, half, half])
    # the window replaces what is dense, and nothing else
    window = plan(app, config=config, steps=8, schedule="percent", start_percent=0.0, **HD)
    wanted[0] = density["own"]
    assert [step["density"] for step in window["steps"]] == pytest.approx(wanted)


def test_the_gain_of_a_run_is_the_sum_over_its_ranges(app, gpu):
    order = {"block_size": {"n": 128}, "rearrange_method": "Gilbert"}
    config = {"steps": {"0-25%": "dense", "25-50%": FULLER}, **THIN, **order}
    one, other = (estimate(app, {**order, **own}) for own in (FULLER, THIN))
    planned = plan(app, config=config, steps=20)
    run = {"steps": 20, "sparse": planned["sparse_steps"], "ranges": planned["ranges"]}
    assert run == {"steps": 20, "sparse": 15, "ranges": {"25-50%": 5}}
    found = estimate(app, config, plan=run)
    steps = 5 + 5 / one["step"]["speedup"] + 10 / other["step"]["speedup"]
    assert found["run"]["speedup"] == pytest.approx(20 / steps)
    mean = 5 * one["density"]["value"] + 10 * other["density"]["value"]
    assert found["density"]["value"] == pytest.approx(mean / 15)
    assert found["run"]["density"] == pytest.approx((5 + mean) / 20)
    assert found["run"]["density"] == pytest.approx(planned["density"], rel=0.01)
    calls = 5 / one["attention"]["speedup"] + 10 / other["attention"]["speedup"]
    assert found["attention"]["speedup"] == pytest.approx(15 / calls)
    seconds = 5 * one["step"]["sparse_s"]["value"] + 10 * other["step"]["sparse_s"]["value"]
    assert found["step"]["sparse_s"]["value"] == pytest.approx(seconds / 15)
    assert found["step"]["time_share"]["value"] == one["step"]["time_share"]["value"]
    assert (
        one["break_even"]["tokens"]
        > found["break_even"]["tokens"]
        > (other["break_even"]["tokens"] - 1)
    )
    assert "2 sets of settings" in found["step"]["note"]
    # an older page tells no ranges: the last steps are the sparse ones
    assert estimate(app, config, plan={"steps": 20, "sparse": 15})["run"] == found["run"]
    # without a plan the parts of the run count by their length
    free = estimate(app, config)
    mean = 25 * one["density"]["value"] + 50 * other["density"]["value"]
    assert free["density"]["value"] == pytest.approx(mean / 75)
    assert free["run"] is None
    dense = estimate(app, {"steps": {"0-100%": "dense"}})
    assert dense["density"]["kind"] == "dense" and dense["step"]["speedup"] == 1


def test_plans_of_parts_dense_presets_and_warnings(app):
    fast = {"preset": {"family": FAMILY, "preset": "fast"}}
    part = plan(app, **fast, steps=8, end_step=4)
    assert part["goes_on"] and part["warning"] is None and part["sparse_steps"] == 3
    assert part["ranges"] == {"10-40%": 3}
    rest = plan(app, **fast, steps=8, start_step=4)
    assert [(s["step"], s["dense"]) for s in rest["steps"]] == [
        (5, False), (6, False), (7, False), (8, False),
    ]  # fmt: skip
    assert rest["ranges"] == {"40-70%": 2}
    theirs = {"preset": {"family": FAMILY, "preset": "psa_balanced"}}
    part = plan(app, **theirs, steps=20, end_step=15)
    assert part["goes_on"] and part["warning"] is None and part["sparse_steps"] == 0
    rest = plan(app, **theirs, steps=20, start_step=14)
    assert [s["dense"] for s in rest["steps"]] == [True, *[False] * 5]
    assert "lora_4step" in plan(app, **theirs, steps=4)["warning"]
    dense = plan(app, preset={"family": FAMILY, "preset": "baseline"}, steps=2)
    assert [s["reason"] for s in dense["steps"]] == ["a dense preset"] * 2
    assert dense["warning"] is None and dense["sparse_steps"] == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"scheduler": "nope"}, 400, "simple"),
        ({"sampler": "nope"}, 400, "euler"),
        ({"schedule": "percent", "start_percent": 0.9, "end_percent": 0.1}, 400, "start_percent"),
        ({"family": "nope"}, 422, "noise schedule"),
        ({"config": {"tail": 3}}, 422, "tail"),
        ({"denoise": 0.0}, 400, "denoise"),
        ({"x": 1}, 400, "'x'"),
        ({"width": 832, "height": 480, "frames": 0}, 400, "frames"),
        ({"dense_blocks": "3-1"}, 400, "dense_blocks"),
    ],
)
def test_plans_that_cannot_be_made(app, body, status, words):
    asked = {"config": {}, "family": FAMILY, "steps": 8, **body}
    got, answer, _ = app.ask("POST", "/psa/plan", asked)
    assert got == status and words in answer["error"]["message"], json.dumps(answer)
