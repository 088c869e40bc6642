"""The demo itself, on the session's server."""

import json

import pytest
import torch
from PIL import Image

from psa_pack.tools import demo, demo_report


@pytest.fixture(scope="module")
def result(comfy_server, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    graph = json.loads(demo.WORKFLOW.read_text(encoding="utf-8"))
    report = demo.compare(comfy_server, graph, 1.0, out)
    return out, report


def test_report_says_what_psa_did(result):
    out, report = result
    assert json.loads((out / "report.json").read_text()) == report
    psa = report["psa"]
    assert psa["plan"] == ["dense"] * 2 + ["sparse"] * 6
    assert psa["failure"] is None
    assert psa["calls"]["sparse"] == 6 * 2  # steps x blocks
    assert psa["calls"]["dense"]["cross-attention"] == 8 * 2
    assert 0 < psa["density"] < 0.2
    assert sum(psa["per_level"].values()) == pytest.approx(1)
    assert 20 < report["psnr_db"] < 60
    assert report["latent_shape"] == [1, 16, 9, 32, 32]
    assert report["seconds"]["dense"] > 0
    assert report["seconds"]["psa"] > 0


def test_pictures(result):
    out, _ = result
    with Image.open(out / "side_by_side.webp") as animation:
        assert animation.n_frames == 9
    with Image.open(out / "frames.png") as strip:
        # something is drawn: the panels are neither black nor one colour
        assert len(strip.convert("RGB").resize((64, 24)).getcolors(64 * 24)) > 200


def test_table_is_for_a_terminal(result):
    _, report = result
    table = demo_report.table(report)
    assert "8 steps: 1-2 dense" in table
    assert all(len(line) <= 100 for line in table.splitlines())


def test_dense_graph_has_no_trace_of_psa():
    graph = json.loads(demo.WORKFLOW.read_text(encoding="utf-8"))
    text = json.dumps(demo.without_psa(graph))
    assert "PSAApply" not in text
    assert "PSAPreset" not in text
    loader, _ = demo.node_of(graph, "UNETLoader")
    assert demo.node_of(demo.without_psa(graph), "KSampler")[1]["inputs"]["model"] == [loader, 0]


def test_psnr():
    reference = torch.tensor([0.0, 1.0, 2.0, 10.0])
    assert demo_report.psnr(reference, reference) is None
    assert demo_report.psnr(reference, reference + 1) == pytest.approx(20)
    assert demo_report.psnr(reference, reference + 0.1) == pytest.approx(40)
