"""PSA Preset Loader: a preset of a model family, shipped or the user's own."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ..presets import former
from ..presets.errors import PresetError
from ..presets.listing import PresetInfo
from ..presets.names import DEFAULT
from ..psa_engines.core.preset_value import PresetValue
from ..psa_engines.preset_by_name import of_store
from .preset_link import PSAPreset
from .queued import graph, is_asked_for, queued_inputs
from .store import list_presets, preset_store

log = logging.getLogger("PSA")
_noticed: set[str] = set()

MOST_USED = "Wan2.1_14b"  # of the shipped families: what a new node shows


class PSAPresetLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        families = list_presets().families
        offered = [family.name for family in families]
        names = dict.fromkeys(p.name for family in families for p in family.presets)
        return io.Schema(
            node_id="PSAPresetLoader",
            display_name="PSA Preset Loader",
            category="PSA",
            description="Loads a pyramid sparse attention preset for a model family.",
            inputs=[
                io.Combo.Input(
                    "family",
                    options=offered,
                    default=MOST_USED if MOST_USED in offered else None,
                    tooltip="The model that you sample with.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[DEFAULT, *names],
                    default=DEFAULT,
                    tooltip="default: the family's own choice. fast, balanced, faithful: from the "
                    "fastest to the closest to dense. lora_4step: for LoRAs of few steps. "
                    "baseline: dense. Your own presets are listed too.",
                ),
            ],
            outputs=[PSAPreset.Output(display_name="preset", tooltip="For Apply PSA.")],
        )

    @classmethod
    def validate_inputs(cls, family=None, preset=None):
        # When the graph is queued, before any model is loaded. What comes by a link is checked when
        # the node runs.
        linked = any(isinstance(queued_inputs().get(x), list) for x in ("family", "preset"))
        unknown = graph() is None and None in (family, preset)
        if linked or unknown or not is_asked_for():
            return True
        try:
            load_preset(family, preset)
        except PresetError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, family=None, preset=None):
        # ComfyUI's cache must notice an edited preset file. What comes by a link is None here: then
        # any change of any file counts.
        if family is None or preset is None:
            return preset_store().stamp()
        return repr(load_preset(family, preset))

    @classmethod
    def execute(cls, family: str, preset: str) -> io.NodeOutput:
        info, value = _found(family, preset)
        if info.origin == "shipped" and info.name in former.NAMES:
            _notice(family, info.name)
        return io.NodeOutput(value)


def _notice(family: str, preset: str) -> None:
    """Says once per process that a shipped preset has changed."""
    if preset not in _noticed:
        _noticed.add(preset)
        log.info("PSA %s/%s: %s", family, preset, former.notice(preset))


def load_preset(family: str, preset: str | None) -> PresetValue:
    """Raises the store's `PresetError`, which says what is wrong and what there is instead."""
    return _found(family, preset)[1]


def _found(family: str, preset: str | None) -> tuple[PresetInfo, PresetValue]:
    return of_store(preset_store(), family, preset)
