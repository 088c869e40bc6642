"""The shipped workflows: both formats say the same, and the nodes they name exist."""

import json

import pytest

from ..pack_import import ROOT
from .workflow_formats import PAGE_ONLY, to_api

FOLDER = ROOT / "example_workflows"
API_FILES = sorted(FOLDER.glob("**/*_api.json"))
EDITOR_FILES = sorted(set(FOLDER.glob("**/*.json")) - set(API_FILES))


def read(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def object_info(comfy_client):
    return comfy_client.get("/object_info")


@pytest.mark.parametrize("path", API_FILES, ids=lambda path: path.stem)
def test_editor_format_queues_the_api_format(path, object_info):
    expected = {
        key: {"class_type": node["class_type"], "inputs": node["inputs"]}
        for key, node in read(path).items()
    }
    assert to_api(read(path.with_name(path.name.replace("_api", ""))), object_info) == expected


@pytest.mark.parametrize("path", EDITOR_FILES, ids=lambda path: path.stem)
def test_nodes_and_widget_values_fit_comfyui(path, object_info):
    for node in to_api(read(path), object_info).values():
        declared = object_info[node["class_type"]]["input"]
        required = set(declared.get("required", {}))
        assert required <= set(node["inputs"]) <= required | set(declared.get("optional", {}))


@pytest.mark.parametrize("path", EDITOR_FILES, ids=lambda path: path.stem)
def test_links_of_the_editor_format_agree_with_its_nodes(path):
    workflow = read(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert workflow["last_node_id"] == max(nodes)
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])
    for link, source, source_slot, target, target_slot, kind in workflow["links"]:
        output, given = nodes[source]["outputs"][source_slot], nodes[target]["inputs"][target_slot]
        assert link in output["links"]
        assert given["link"] == link
        # "*" takes a link of any type, and the page then writes that of the input
        assert len({output["type"], given["type"], kind} - {"*"}) == 1


@pytest.mark.parametrize("path", EDITOR_FILES, ids=lambda path: path.stem)
def test_nodes_do_not_overlap(path):
    nodes = read(path)["nodes"]
    title = 30
    for i, a in enumerate(nodes):
        for b in nodes[i + 1 :]:
            (ax, ay), (aw, ah), (bx, by), (bw, bh) = a["pos"], a["size"], b["pos"], b["size"]
            apart = ax + aw <= bx or bx + bw <= ax or ay + ah + title <= by or by + bh + title <= ay
            assert apart, (a["type"], b["type"])


def test_page_only_nodes_are_not_in_the_api_format():
    for path in API_FILES:
        assert not PAGE_ONLY & {node["class_type"] for node in read(path).values()}
