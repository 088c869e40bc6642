"""What a calibration starts from: a preset without settings of single blocks, and a LATENT, read
as ComfyUI's `common_ksampler` reads it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import comfy.sample

from ...psa_kernels.config import DENSE, PSAConfig, StepRanges
from .identity import digest

RATIOS = ("downscale_ratio_spacial", "downscale_ratio_temporal")


def without_blocks(config: PSAConfig) -> PSAConfig:
    """The settings without those of single blocks, also in ranges of steps."""
    steps = {
        range_: own if own == DENSE else tuple(x for x in own if x[0] != "blocks")
        for range_, own in config.steps.items()
    }
    # a range that only had settings of blocks is dropped
    steps = StepRanges({range_: own for range_, own in steps.items() if own})
    return config.replace(blocks={}, steps=steps)


@dataclass(frozen=True)
class Start:
    """latent       `[B, C, T, H, W]`, or several of them in a nested tensor; an empty one fitted to
                 the model
    noise_mask   where the latent is sampled, or None
    batch_index  which noise each element of the batch gets, or None
    """

    latent: Any
    noise_mask: Any
    batch_index: Any

    @classmethod
    def of(cls, model: Any, given: Mapping[str, Any]) -> Start:
        """`given`: what goes through a LATENT link."""
        fix = comfy.sample.fix_empty_latent_channels
        known = inspect.signature(fix).parameters  # ComfyUI 0.3.75 has no ratios yet
        ratios = {name: given.get(name) for name in RATIOS if name in known}
        latent = fix(model, given["samples"], **ratios)
        return cls(latent, given.get("noise_mask"), given.get("batch_index"))

    def noise(self, seed: int) -> Any:
        return comfy.sample.prepare_noise(self.latent, seed, self.batch_index)

    def identity(self) -> dict[str, str]:
        return {
            "latent": digest(self.latent), "noise_mask": digest(self.noise_mask),
            "batch_index": digest(self.batch_index),
        }  # fmt: skip
