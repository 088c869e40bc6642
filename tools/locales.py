"""Writes locales/, the words of the nodes in ComfyUI's own form, from where each is said once.

    python -m tools.locales --comfyui PATH_TO_COMFYUI [--python ITS_PYTHON]

English is what the nodes declare, as a ComfyUI server tells it; Chinese is
nodes/languages/zh.yaml. A test compares the files with what this would write.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from psa_kernels.config import FIELD_BY_ARGUMENT

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "locales"
NODES = (
    "PSAPresetLoader", "PSAApply", "PSAPresetEditor", "PSAReport", "PSACompare", "PSASelfTest",
    "PSACalibrate",
)  # fmt: skip


def chinese() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "nodes" / "languages" / "zh.yaml").read_text(encoding="utf-8"))


def files(info: dict[str, Any], table: dict[str, Any]) -> dict[str, str]:
    """Path in locales/ -> its text. `info`: node id -> its entry of /object_info."""
    english = {node: _english(info[node]) for node in NODES}
    translated = {node: _chinese(english[node], table["nodes"][node], table) for node in NODES}
    content = {
        "en/nodeDefs.json": english,
        "zh/nodeDefs.json": translated,
        "en/main.json": {"nodeCategories": {name: name for name in table["category"]}},
        "zh/main.json": {"nodeCategories": table["category"]},
    }
    return {path: json.dumps(x, ensure_ascii=False, indent=2) + "\n" for path, x in content.items()}


def _english(node: dict[str, Any]) -> dict[str, Any]:
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name: {"name": settings.get("display_name") or name, "tooltip": settings["tooltip"]}
            for name, (_, settings) in inputs.items()
        },
        "outputs": {
            str(i): {"name": name, "tooltip": tooltip}
            for i, (name, tooltip) in enumerate(
                zip(node["output_name"], node["output_tooltips"], strict=True)
            )
        },
    }


def _chinese(
    english: dict[str, Any], said: dict[str, Any], table: dict[str, Any]
) -> dict[str, Any]:
    """The same keys in Chinese; `KeyError` for one that is not said."""
    own = said.get("inputs", {})
    return {
        "display_name": said["display_name"],
        "description": said["description"],
        "inputs": {name: own.get(name) or _widget(name, table) for name in english["inputs"]},
        "outputs": {number: said["outputs"][int(number)] for number in english["outputs"]},
    }


def _widget(name: str, table: dict[str, Any]) -> dict[str, str]:
    """A widget of a field, or of a part of one."""
    field = FIELD_BY_ARGUMENT.get(name)
    if field is not None:
        words = table["fields"][field.path]
        return {"name": words["label"], "tooltip": words["help"]}
    part = table["widgets"][name]
    if name.startswith("level_"):
        about = table["fields"]["mask_ratios"]["help"]
        help_text = table["widgets"]["level_help"].format(level=name.split("_")[1], help=about)
        return {"name": part, "tooltip": help_text}
    return {"name": part, "tooltip": table["fields"]["tile_size"]["help"]}


def main() -> None:
    from .comfy_client import ComfyClient
    from .comfy_server import ComfyServer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="that ComfyUI's own interpreter")
    options = parser.parse_args()
    packs = {"ComfyUI-PSA": ROOT}
    with ComfyServer(options.comfyui, packs, python=options.python, cpu=True) as server:
        client = ComfyClient(server.url)
        info = {node: client.get(f"/object_info/{node}")[node] for node in NODES}
    for path, text in files(info, chinese()).items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(text, encoding="utf-8", newline="\n")
        print(f"{FOLDER / path} is up to date")


if __name__ == "__main__":
    main()
