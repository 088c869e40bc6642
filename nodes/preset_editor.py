"""PSA Preset Editor: every setting of a preset as a plain widget."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..presets.errors import PresetError, Problem
from ..presets.yaml_text import dump
from ..psa_kernels.config import PSAConfig, check_preset
from . import field_widgets
from .editing import merged, read_overrides
from .preset_link import PSAPreset
from .preset_value import PresetValue


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
                    "base", optional=True,
                    tooltip="Optional. Settings whose widget is at its default come from here.",
                ),
                *field_widgets.widgets(),
                io.String.Input(
                    "yaml_overrides", default="", multiline=True, optional=True,
                    tooltip="Optional settings in the preset file's YAML, laid over everything "
                    "else. The way to set a base preset's field back to its default, or to paste "
                    "a whole preset.",
                ),
            ],
            outputs=[
                PSAPreset.Output(display_name="preset", tooltip="For Apply PSA."),
                io.String.Output(display_name="yaml", tooltip="The preset as its file has it."),
            ],
        )

    @classmethod
    def validate_inputs(cls, yaml_overrides=None):
        # Checked when the graph is queued. What the text alone does not tell (does it fit the base
        # preset and the widgets?) is checked when the node runs.
        try:
            document = read_overrides(yaml_overrides)
        except PresetError as error:
            return str(error)
        _, issues = check_preset(document.data, partial=True)
        problems = [Problem(i.text(), document.name, document.line_of(i.path)) for i in issues]
        return str(PresetError(*problems)) if problems else True

    @classmethod
    def execute(cls, base=None, yaml_overrides="", **values) -> io.NodeOutput:
        config = edited(base, values, yaml_overrides)
        value = PresetValue(
            config,
            base.family if base else "",
            f"{base.name} (edited)" if base else "edited preset",
            base.text_length if base else None,
            base.video_scale if base else None,
        )
        return io.NodeOutput(value, dump(config.to_preset()))


def edited(base: PresetValue | None, values: dict[str, Any], yaml_overrides: str) -> PSAConfig:
    """Base, then widgets, then YAML. Raises `ConfigError` or `PresetError`."""
    overrides = read_overrides(yaml_overrides).data
    mapping = merged(base.config if base else None, values, overrides)
    return PSAConfig.from_preset(mapping, "PSA Preset Editor")
