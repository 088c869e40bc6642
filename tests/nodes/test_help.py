"""The help pages: one for every node, complete, and true where that can be checked."""

import ast
import inspect
import re
import textwrap

import pytest

from psa_pack.tools import editor_help

from ..pack_import import ROOT
from .graphs import reports

DOCS = ROOT / "web" / "docs"
NODES = (
    "PSAPresetLoader", "PSAApply", "PSAPresetEditor", "PSAReport", "PSACompare", "PSASelfTest",
    "PSACalibrate",
)  # fmt: skip
# of packs that only the tests and the demo load
OTHERS = {
    "PSADemoConditioning", "PSATestSpy", "PSATestSwitch", "PSASmallWanPrompt", "PSASmallWanLatent",
    "PSASmallWanDecode",
}  # fmt: skip


def page(node_id):
    return (DOCS / f"{node_id}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def info(comfy_client):
    return {node_id: comfy_client.get(f"/object_info/{node_id}")[node_id] for node_id in NODES}


def test_the_server_has_the_nodes_and_every_input_has_a_tooltip(comfy_client, info):
    ours = {name for name in comfy_client.get("/object_info") if name.startswith("PSA")}
    assert ours - OTHERS == set(NODES)
    for node_id, node in info.items():
        assert node["category"] == "PSA" and len(node["description"]) > 30
        inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
        for name, (_, settings) in inputs.items():
            assert len(settings.get("tooltip") or "") > 10, (node_id, name)
        assert all(node["output_tooltips"]), node_id


def test_every_node_has_a_page_that_names_every_input(info):
    for node_id, node in info.items():
        text = page(node_id)
        assert text.startswith(f"# {node['display_name']}\n")
        inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
        inputs.pop("", None)
        bold = set(re.findall(r"\*\*(.+?)\*\*", text))
        for name, (_, settings) in inputs.items():
            label = settings.get("display_name") or name
            # the parts of one setting have a widget each and share a line of the page
            label = re.sub(r"^Level \d up to$", "Pyramid levels", label)
            label = re.sub(r"^Tile (depth|height|width)$", "Tile (depth, height, width)", label)
            assert {name, label} & bold, (node_id, name)


def test_no_page_without_a_node():
    assert {path.stem for path in DOCS.glob("*.md")} == set(NODES)


def test_pages_are_served(comfy_client):
    import urllib.request

    for node_id in NODES:
        url = f"{comfy_client.url}/extensions/ComfyUI-PSA/docs/{node_id}.md"
        with urllib.request.urlopen(url) as reply:
            assert reply.read().decode("utf-8") == page(node_id)


def test_the_editors_table_is_what_the_fields_say():
    assert page("PSAPresetEditor") == editor_help.page(page("PSAPresetEditor")), (
        "run python -m tools.editor_help"
    )
    with pytest.raises(ValueError, match="must hold the marks"):
        editor_help.page("a page without a table")


def reasons(*functions):
    """Every text that the functions return as a reason."""
    found = set()
    for function in functions:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if not isinstance(node, ast.Return):
                continue
            value = node.value
            either = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
            found |= {x.value for x in either if isinstance(x, ast.Constant)}
    return found - {None}


def test_every_reason_for_a_dense_call_is_explained(comfy_inproc):
    from psa_engines.core import schedule
    from psa_engines.core.attention_call import odd_tensors
    from psa_engines.core.deciding import AttentionCalls
    from psa_pack.nodes.patching.attention_call import AttentionCall

    found = reasons(
        AttentionCalls._layout_reason, AttentionCalls._choice_reason,
        AttentionCall.unsupported, AttentionCall._odd_tensors, odd_tensors,
    )  # fmt: skip
    found |= {schedule.WARM_UP, schedule.BEFORE_WINDOW, schedule.AFTER_WINDOW}
    found |= {schedule.DENSE_PRESET, schedule.DENSE_RANGE}
    found |= {"unknown call signature", "unknown option"}
    assert len(found) >= 20
    table = page("PSAApply").partition("| reason | meaning |")[2]
    explained = {
        reason.strip().removesuffix(" …")
        for line in table.splitlines() if line.startswith("| ")
        for reason in line.split("|")[1].split(",")
    }  # fmt: skip
    assert found - explained == set()


def test_the_example_of_the_editors_page_works(graph, comfy_server):
    blocks = re.findall(r"(?:^    .*\n)+", page("PSAPresetEditor"), re.MULTILINE)
    folder = comfy_server.base / "user" / "default" / "psa" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "example.yaml"
    file.write_text(textwrap.dedent(blocks[-1]), encoding="utf-8")
    try:
        g = graph()
        loader = g.add("PSAPresetLoader", {"family": "Wan2.1_14b", "preset": "my preset"})
        g.sample(g.psa(g.model(), loader), steps=10)
        (report,) = reports(g.run()).values()
    finally:
        file.unlink()
    assert report["preset"] == "Wan2.1_14b/my preset"
    assert report["plan_text"] == "10 steps: 1-8 dense (warm-up), 9-10 sparse"
