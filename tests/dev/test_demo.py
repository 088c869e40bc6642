"""The demo itself, on the session's server, with a clip smaller than the demo's."""

import json

import pytest
import torch
from PIL import Image

from psa_pack.tools import clip_metrics, demo, demo_pictures, demo_report

STEPS, BLOCKS = 4, 8
LENGTH, SIDE = 7, 128  # 4 x 16 x 16 tokens: 8 blocks of 128


def shipped_graph() -> dict:
    return json.loads(demo.WORKFLOW.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def result(comfy_server, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    graph = shipped_graph()
    demo.node_of(graph, "PSASmallWanLatent")[1]["inputs"].update(
        width=SIDE, height=SIDE, length=LENGTH
    )
    # without guidance a step is one model call
    demo.node_of(graph, "KSampler")[1]["inputs"].update(steps=STEPS, cfg=1.0)
    report = demo.compare(comfy_server, graph, 1.0, out)
    return out, report


def test_report_says_what_psa_did(result):
    out, report = result
    assert json.loads((out / "report.json").read_text()) == report
    psa = report["psa"]
    assert psa["plan"] == ["dense"] + ["sparse"] * 3
    assert psa["failure"] is None
    assert psa["calls"]["sparse"] == 3 * BLOCKS
    assert psa["calls"]["dense"]["cross-attention"] == STEPS * BLOCKS
    assert 0 < psa["density"] < 0.25
    assert sum(psa["per_level"].values()) == pytest.approx(1)
    assert report["frames_shape"] == [LENGTH, 3, SIDE, SIDE]
    assert report["seconds"]["dense"] > 0
    assert report["seconds"]["psa"] > 0
    assert report["model"]["steps"] > 1000  # of a real training


def test_psa_stays_near_dense_without_being_it(result):
    _, report = result
    found = report["compared"]
    assert 15 < found["psnr"] < 60
    assert 0.5 < found["ssim"] < 1
    assert 0.3 < found["haarpsi"] < 1


def test_pictures(result):
    out, _ = result
    with Image.open(out / "side_by_side.webp") as animation:
        assert animation.n_frames == LENGTH
        width = 3 * (SIDE + demo_pictures.GAP) + demo_pictures.GAP
        assert animation.size[0] == width
    with Image.open(out / "frames.png") as strip:
        # something is drawn: the panels are neither black nor one colour
        assert len(strip.convert("RGB").resize((64, 24)).getcolors(64 * 24)) > 200


def test_the_graph_saves_its_own_clip(result, comfy_server):
    saved = sorted((comfy_server.base / "output").glob("psa_demo*.webp"))
    with Image.open(saved[-1]) as clip:
        assert (clip.size, clip.n_frames) == ((SIDE, SIDE), LENGTH)


def test_table_is_for_a_terminal(result):
    _, report = result
    table = demo_report.table(report)
    assert "4 steps: 1 dense" in table
    assert "SSIM" in table
    assert all(len(line) <= 100 for line in table.splitlines())


def test_without_its_model_the_demo_says_so(tmp_path):
    with pytest.raises(demo.DemoError, match=r"not there: .*small_wan\.safetensors"):
        demo.install(tmp_path / "base", shipped_graph(), tmp_path)
    assert not (tmp_path / "base").exists()


def test_a_prompt_that_the_model_does_not_know_is_refused(comfy_client):
    from psa_pack.tools.comfy_client import PromptRefusedError

    graph = {
        "1": {
            "class_type": "PSASmallWanPrompt",
            "inputs": {"prompt": "camera sideways, hills, cow resting"},
        },
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    with pytest.raises(PromptRefusedError, match="sideways"):
        comfy_client.run(graph)


def test_a_prompt_may_come_by_a_link(comfy_client):
    graph = {
        "1": {
            "class_type": "PrimitiveString",
            "inputs": {"value": "camera still, hills, tiger resting"},
        },
        "2": {"class_type": "PSASmallWanPrompt", "inputs": {"prompt": ["1", 0]}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    assert comfy_client.run(graph).succeeded


def test_dense_graph_has_no_trace_of_psa():
    graph = shipped_graph()
    kinds = {node["class_type"] for node in demo.without_psa(graph).values()}
    assert {"PSAApply", "PSAPresetLoader"} == {n["class_type"] for n in graph.values()} - kinds
    loader, _ = demo.node_of(graph, "UNETLoader")
    assert demo.node_of(demo.without_psa(graph), "KSampler")[1]["inputs"]["model"] == [loader, 0]


def test_measures_of_frames():
    reference = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.9
    same = clip_metrics.compare_frames(reference, reference)
    assert same["ssim"] == pytest.approx(1, abs=1e-5)
    assert same["temporal"] == 0 and same["sharpness"] == 1
    found = clip_metrics.compare_frames(reference, reference + 0.1)
    assert found["psnr"] == pytest.approx(20, abs=0.01)  # an error of a tenth of the range
    assert found["temporal"] == pytest.approx(0, abs=1e-5)  # brighter, but it moves the same
    assert found["sharpness"] == pytest.approx(1, abs=1e-5)
    assert found["haarpsi"] < same["haarpsi"]
    with pytest.raises(ValueError, match="of shape"):
        clip_metrics.compare_frames(reference, reference[:2])
