"""PSA Preset Editor: every setting of a preset as a plain widget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..presets.errors import PresetError, Problem
from ..presets.yaml_text import dump
from ..psa_kernels.config import ConfigError, PSAConfig, check_preset
from . import field_widgets
from .editing import merged, read_overrides
from .preset_link import PSAPreset
from .preset_loader import load_preset
from .preset_value import PresetValue, check_link, checked
from .queued import graph, is_asked_for, node_id, queued_inputs


class PSAPresetEditor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSAPresetEditor",
            display_name="PSA Preset Editor",
            category="PSA",
            description="Builds a pyramid sparse attention preset from its settings. With a base "
            "preset, widgets that are not at their default replace the base's settings.",
            inputs=[
                PSAPreset.Input(
                    "base",
                    optional=True,
                    tooltip="Optional. Settings come from here if their widget is at its default.",
                ),
                *field_widgets.widgets(),
                io.String.Input(
                    "yaml_overrides",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Optional settings in the YAML of preset files. They replace all "
                    "others. Use this to set a field of the base preset back to its default, or to "
                    "paste a whole preset.",
                ),
                *field_widgets.later_widgets(),
            ],
            outputs=[
                PSAPreset.Output(display_name="preset", tooltip="For Apply PSA."),
                io.String.Output(display_name="yaml", tooltip="The preset as it is in a file."),
            ],
        )

    @classmethod
    def validate_inputs(cls, yaml_overrides=None):
        # When the graph is queued, the text is checked by itself, then the whole node if the graph
        # says what its base is; otherwise the rest is checked when the node runs. ComfyUI checks
        # the ranges of all inputs but those that this method takes.
        if not is_asked_for():
            return True
        if (answer := check_link(queued_inputs(), "base")) is not True:
            return answer
        try:
            document = read_overrides(yaml_overrides)
            _, issues = check_preset(document.data, partial=True)
            problems = [Problem(i.text(), document.name, document.line_of(i.path)) for i in issues]
            if problems:
                return str(PresetError(*problems))
            _from_graph(graph() or {}, node_id())
        except (PresetError, ConfigError) as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, base=None, yaml_overrides="", **values) -> io.NodeOutput:
        base = None if base is None else checked("base", base)
        value = preset_of(base, values, yaml_overrides)
        return io.NodeOutput(value, dump(value.config.to_preset()))


def preset_of(
    base: PresetValue | None, values: Mapping[str, Any], yaml_overrides: Any
) -> PresetValue:
    """Base, then widgets, then YAML. Raises `ConfigError` or `PresetError`."""
    overrides = read_overrides(yaml_overrides).data
    widgets = field_widgets.held(values)
    mapping = merged(base.config if base else None, widgets, overrides)
    return PresetValue(
        PSAConfig.from_preset(mapping, "PSA Preset Editor"),
        base.family if base else "",
        f"{base.name} (edited)" if base else "edited preset",
        base.text_length if base else None,
        base.video_scale if base else None,
    )


_UNKNOWN = object()


def _from_graph(nodes: Mapping[str, Any], name: Any, depth: int = 0) -> Any:
    """The `PresetValue` that a node of a queued graph will give; `_UNKNOWN` if only its run shows
    it.

    Raises `ConfigError` or `PresetError` for an editor node that cannot give one.
    """
    node = nodes.get(name) if isinstance(name, str) else None
    inputs = node.get("inputs") if isinstance(node, dict) else None
    if not isinstance(inputs, dict) or depth > len(nodes):
        return _UNKNOWN
    if node.get("class_type") == "PSAPresetLoader":
        chosen = inputs.get("family"), inputs.get("preset")
        return load_preset(*chosen) if all(isinstance(x, str) for x in chosen) else _UNKNOWN
    if node.get("class_type") != "PSAPresetEditor":
        return _UNKNOWN
    values = {key: value for key, value in inputs.items() if key != "base"}
    if any(isinstance(value, list) for value in values.values()):
        return _UNKNOWN  # a link: to a primitive, say
    base = None
    if isinstance(inputs.get("base"), list):
        try:
            base = _from_graph(nodes, inputs["base"][0], depth + 1)
        except (PresetError, ConfigError):
            return _UNKNOWN  # that node has its own message
        if base is _UNKNOWN:
            return _UNKNOWN
    known = field_widgets.defaults().keys()
    widgets = {key: value for key, value in values.items() if key in known}
    return preset_of(base, widgets, values.get("yaml_overrides"))
