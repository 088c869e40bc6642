"""PSA Calibrate: fits a preset's budgets to a model and a target, block by block."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io, ui

from ..presets.errors import CollisionError, Problem
from ..presets.listing import ABSENT
from ..presets.yaml_text import dump
from ..psa_kernels.config import block_list_text
from .calibration.errors import CalibrationError
from .calibration.fit import fit
from .calibration.identity import digest, model_identity
from .calibration.journal import Journal
from .calibration.ladder import LADDER
from .calibration.picture import picture_of
from .calibration.run import Effort, measure
from .calibration.start import Start, without_blocks
from .calibration.summary import as_json, description
from .dense_blocks import check_dense_blocks, read_dense_blocks
from .preset_link import PSAPreset
from .preset_value import PresetValue, check_link, checked
from .queued import current_user, queued_inputs
from .store import preset_store, tell_changed, user_folder

DENSITY, ERROR = "density", "error"
JOURNALS = "psa/calibrations"  # in a user's directory


class PSACalibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSACalibrate",
            display_name="PSA Calibrate",
            category="PSA",
            description="Samples once with dense attention, measures what sparsity costs in each "
            "transformer block, and gives each block a budget of its own. An interrupted "
            "calibration continues where it stopped.",
            inputs=[
                io.Model.Input("model", tooltip="The model to calibrate for, with its LoRAs."),
                io.Conditioning.Input("positive", tooltip="A prompt like those that you will use."),
                io.Conditioning.Input("negative", tooltip="The same as in the sampler."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="An empty latent of the video's size. Budgets fitted at one size also "
                    "suit sizes with about as many tokens.",
                ),
                PSAPreset.Input(
                    "preset",
                    tooltip="The preset to start from. Its token order, levels, warm-up and dense "
                    "steps stay. A block's budget is scaled by the same factor in all ranges of "
                    "steps. grouping: order becomes similar if that is measurably better.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, tooltip="Seed of the noise.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Sampling steps."),
                io.Float.Input(
                    "cfg", default=6.0, min=0.0, max=100.0, step=0.1,
                    tooltip="Guidance scale, the same as in the sampler.",
                ),
                io.Combo.Input(
                    "sampler_name", options=list(comfy.samplers.SAMPLER_NAMES), default="euler",
                    tooltip="The sampler to use.",
                ),
                io.Combo.Input(
                    "scheduler", options=list(comfy.samplers.SCHEDULER_NAMES), default="simple",
                    tooltip="The noise schedule to use.",
                ),
                io.Combo.Input(
                    "target", options=[DENSITY, ERROR], default=DENSITY, optional=True,
                    tooltip="density: the least error at the given mean density. error: the least "
                    "density at the given predicted error.",
                ),
                io.Float.Input(
                    "density", default=0.0, min=0.0, max=1.0, step=0.01, optional=True,
                    tooltip="Used with target = density: mean over the blocks and the sparse "
                    "steps; a dense block counts as 1. 0: as dense as the preset is with "
                    "these dense_blocks.",
                ),
                io.Float.Input(
                    "error", default=0.1, min=0.0, max=10.0, step=0.005, optional=True,
                    tooltip="Used with target = error: the predicted relative error of the model's "
                    "output in a sparse step. 0.1 is a tenth of its size.",
                ),
                io.Boolean.Input(
                    "allow_dense", default=True, optional=True, label_on="yes", label_off="no",
                    tooltip="Whether a block that tolerates no sparsity may be left dense.",
                ),
                io.String.Input(
                    "dense_blocks", default="", optional=True,
                    tooltip="Blocks that stay dense in any case, like 0, 1, 38-39. Empty: none.",
                ),
                io.Int.Input(
                    "measured_steps", default=4, min=1, max=50, optional=True,
                    tooltip="At how many sparse steps each block is measured. Each range of steps "
                    "gets at least one.",
                ),
                io.Int.Input(
                    "probed_steps", default=1, min=0, max=50, optional=True,
                    tooltip="At how many of these steps the model is called once more for each "
                    "block, to see how far its error reaches. 0: faster, all blocks count alike.",
                ),
                io.String.Input(
                    "save_as", default="", optional=True,
                    tooltip="A name for the result among your presets, in the family of the given "
                    "preset. Empty: it is not saved.",
                ),
                io.Boolean.Input(
                    "replace", default=False, optional=True, label_on="yes", label_off="no",
                    tooltip="Whether your preset of that name may be overwritten.",
                ),
            ],
            outputs=[
                PSAPreset.Output(display_name="preset", tooltip="For Apply PSA."),
                io.String.Output(display_name="yaml", tooltip="The preset as it is in a file."),
                io.Image.Output(
                    display_name="image", tooltip="Error against density, and each block's budget."
                ),
                io.String.Output(display_name="json", tooltip="All figures, for programs."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, dense_blocks=None):
        answer = check_dense_blocks(dense_blocks)
        return check_link(queued_inputs(), "preset") if answer is True else answer

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        preset,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        target=DENSITY,
        density=0.0,
        error=0.1,
        allow_dense=True,
        dense_blocks="",
        measured_steps=4,
        probed_steps=1,
        save_as="",
        replace=False,
    ) -> io.NodeOutput:
        preset, save_as = checked("preset", preset), (save_as or "").strip()
        base = dataclasses.replace(preset, config=without_blocks(preset.config))
        kept = read_dense_blocks(dense_blocks)
        version = _check(base, save_as, replace)
        effort = Effort(measured_steps, probed_steps)
        sampling = {
            "seed": seed, "steps": steps, "cfg": cfg, "sampler": sampler_name,
            "scheduler": scheduler,
        }  # fmt: skip
        start = Start.of(model, latent_image)
        about = {
            "model": model_identity(model), "preset": base.config.to_preset(), **sampling,
            "conditions": digest([positive, negative]), **start.identity(),
            "measured_steps": measured_steps, "probed_steps": probed_steps, "ladder": LADDER,
        }  # fmt: skip
        journal = Journal(user_folder() / JOURNALS, about)
        bar = comfy.utils.ProgressBar(100)

        def sample(patched: Any) -> None:
            comfy.sample.sample(
                patched, start.noise(seed), steps, cfg, sampler_name, scheduler, positive, negative,
                start.latent, noise_mask=start.noise_mask, disable_pbar=True, seed=seed,
            )  # fmt: skip

        found = measure(
            model, base, effort, sample, journal,
            lambda done, total: bar.update_absolute(done, max(total, 1)),
        )  # fmt: skip
        _check_blocks(kept, {call.block for calls in found.calls.values() for call in calls})
        wanted = {"error": error} if target == ERROR else {"density": density or None}
        fitted = fit(found, base.config, **wanted, dense=allow_dense, kept=kept)
        summary = as_json(found, fitted, base, target)
        config = fitted.config.replace(description=description(summary))
        if save_as:
            _save(base.family, save_as, config, version)
        value = dataclasses.replace(
            base, config=config, name=save_as or f"{base.name} (calibrated)"
        )
        pixels = np.asarray(picture_of(summary), dtype=np.float32) / 255
        image = torch.from_numpy(pixels)[None]
        return io.NodeOutput(
            value, dump(config.to_preset()), image, json.dumps(summary, ensure_ascii=False),
            ui=ui.PreviewImage(image, cls=cls),
        )  # fmt: skip


def _check(base: PresetValue, save_as: str, replace: bool) -> str | None:
    """Refuses what it can before minutes of sampling. Returns the version of the preset that has
    the name `save_as` now."""
    if base.config.type == "dense":
        raise CalibrationError(f"preset: {base.label} is a dense preset. Fix: give one of type psa")
    if not save_as:
        return None
    if not base.family:
        raise CalibrationError(
            "save_as: the preset belongs to no family, so there is no place to save the result. "
            "Fix: start from PSA Preset Loader, with an editor behind it if you like"
        )
    store = preset_store()
    version = store.version(base.family, save_as)
    if version != ABSENT and not replace:
        what = f"save_as: {base.family} already has a preset {save_as}"
        raise CollisionError(Problem(what, mend="choose another name, or set replace to yes"))
    # a shipped preset's name, or one that differs by case only
    store.check_saving(base.family, save_as)
    return version


def _check_blocks(kept: frozenset[int], known: set[int]) -> None:
    """Raises `CalibrationError` for blocks that the model does not have. Only sampling shows which
    it has; the journal keeps what was measured for the next try."""
    if missing := kept - known:
        raise CalibrationError(
            f"dense_blocks: found {block_list_text(missing)}; this model has self-attention over "
            f"the video in blocks {block_list_text(known)}"
        )


def _save(family: str, name: str, config: Any, version: str | None) -> None:
    """`version`: the one to replace. Another version means that someone saved one meanwhile."""
    store = preset_store()
    store.save(family, name, config, expected=version)
    tell_changed(current_user(), store)
