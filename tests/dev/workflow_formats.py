"""ComfyUI's two workflow formats: from the editor's to the API's, as its page does on Queue."""

# the last is a combo whose options bring inputs of their own (ComfyUI 0.33)
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
SEED_NAMES = ("seed", "noise_seed")
# nodes that exist in the page only
PAGE_ONLY = {"Note", "MarkdownNote", "Reroute"}


def to_api(workflow: dict, object_info: dict) -> dict:
    """API format of an editor workflow of plain nodes (no subgraphs, none bypassed or muted)."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": _inputs(node, object_info[node["type"]], sources),
        }
        for node in workflow["nodes"]
        if node["type"] not in PAGE_ONLY
    }


def _inputs(node: dict, info: dict, sources: dict) -> dict:
    linked = {i["name"]: i["link"] for i in node["inputs"] if i.get("link") is not None}
    values = iter(node.get("widgets_values", []))
    result = {}
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            kind, *options = info["input"][group][name]
            if isinstance(kind, list) or kind in WIDGET_TYPES:
                # a newer ComfyUI may have given a node another input at its end
                result[name] = next(values, options[0].get("default") if options else None)
                if name in SEED_NAMES or (options and options[0].get("control_after_generate")):
                    next(values)  # "fixed", "randomize", ...: the page's own widget
            if name in linked:
                result[name] = sources[linked[name]]
    leftover = list(values)
    assert not leftover, f"{node['type']}: widget values that no input takes: {leftover}"
    return result
