"""The model that is measured: loaded by ComfyUI, asked for clips, dense or with PSA."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from psa_kernels import PSAConfig
from psa_pack.tools.comfy_inprocess import ComfyInProcess
from psa_pack.tools.small_wan import conditions, scenes
from psa_pack.tools.small_wan.codec import Codec

CHANNELS, PATCH = 16, 2
# The prompts and the noise of the clips measured; no training seed is as large as the first one.
PROMPT_SEED, NOISE_SEED = 9_100_000_000, 7_000

# reasons of dense calls that a setting asks for
PLANNED = ("dense block", "warm-up", "dense range")


class RunFailed(Exception):  # noqa: N818 - a finding: the run did not do what it was asked for
    """PSA did not serve the calls that it should have; such a clip measures something else."""


@dataclass(frozen=True)
class Clip:
    """One clip to be sampled: the same noise and prompt for every setting."""

    index: int
    seed: int
    prompt: str

    @classmethod
    def number(cls, index: int) -> Clip:
        return cls(index, NOISE_SEED + index, scenes.prompt(PROMPT_SEED + index))


@dataclass(frozen=True)
class Sampling:
    """What the KSampler node is set to. `grid`: (frames, height, width) in tokens."""

    grid: tuple[int, int, int]
    steps: int
    cfg: float
    sampler: str = "euler"
    scheduler: str = "simple"

    @property
    def latent_shape(self) -> tuple[int, int, int, int, int]:
        frames, height, width = self.grid
        return 1, CHANNELS, frames, PATCH * height, PATCH * width


@dataclass(frozen=True)
class Sampled:
    """latent: as KSampler returns it; report: of the PSA run, None where dense."""

    latent: torch.Tensor
    seconds: float
    report: dict[str, Any] | None = None


class Subject:
    """A Wan checkpoint and the codec of its latents."""

    def __init__(self, comfy: ComfyInProcess, model: Path, codec: Path):
        self.comfy = comfy
        self.file = model
        self.model = comfy.load(model)
        self.device = self.model.load_device
        self.codec = Codec.load(codec).to(self.device)
        self.digest = hashlib.sha256(model.read_bytes()).hexdigest()
        self.negative = [[conditions.context(""), {}]]

    @property
    def layers(self) -> int:
        return len(self.model.model.diffusion_model.blocks)

    def dense(self, clip: Clip, sampling: Sampling, model: Any = None) -> Sampled:
        """The clip with the model's own attention; `model`: a patched clone to sample with."""
        self._synchronize()
        start = time.monotonic()
        latent = self.comfy.ksampler(
            self.model if model is None else model,
            positive=[[conditions.context(clip.prompt), {}]],
            negative=self.negative,
            latent=torch.zeros(sampling.latent_shape),
            seed=clip.seed, steps=sampling.steps, cfg=sampling.cfg,
            sampler=sampling.sampler, scheduler=sampling.scheduler,
        )  # fmt: skip
        self._synchronize()
        return Sampled(latent, time.monotonic() - start)

    def sparse(self, clip: Clip, sampling: Sampling, config: PSAConfig) -> Sampled:
        """The clip with the patch of the Apply PSA node; `RunFailed` where it stayed dense."""
        from psa_pack.nodes.patching.apply import apply_psa
        from psa_pack.nodes.patching.run import PatchOptions
        from psa_pack.nodes.preset_value import PresetValue
        from psa_pack.psa_kernels import PSAConfig as PackConfig

        # the pack's own class, which is another copy where the pack is loaded under its own name
        own = PackConfig.from_preset(config.to_preset())
        reports: list[dict] = []
        patched = apply_psa(
            self.model, PresetValue(own, name="quality"), PatchOptions(), reports.append
        )
        found = self.dense(clip, sampling, patched)
        if len(reports) != 1:
            raise RunFailed(f"{len(reports)} reports of one run")
        check_report(reports[0], self.device)
        return Sampled(found.latent, found.seconds, reports[0])

    def frames(self, latent: torch.Tensor) -> torch.Tensor:
        """`[frames, 3, height, width]` in 0..1 of a latent that KSampler returned."""
        latent = latent.to(self.device)
        return self.codec.decode(self.codec.from_comfy(latent))[0].movedim(1, 0).contiguous()

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def check_report(report: dict[str, Any], device: torch.device) -> None:
    """Raises `RunFailed` unless every self-attention call after the warm-up was sparse, or of a
    block that is to be dense."""
    if report["failure"]:
        raise RunFailed(f"PSA stepped aside: {report['failure']}")
    reasons = set(report["calls"]["dense"]) - {"cross-attention", *PLANNED}
    if reasons:
        raise RunFailed(f"calls stayed dense: {', '.join(sorted(reasons))}")
    if not report["calls"]["sparse"]:
        raise RunFailed(f"no call was sparse: {report['plan_text']}")
    wanted = "triton" if device.type == "cuda" else "reference"
    if report["implementation"] != wanted:
        raise RunFailed(f"served by {report['implementation']}, not {wanted}")


def step_density(report: dict[str, Any]) -> float:
    """Query-key products of a sparse step's self-attention calls / those of dense ones."""
    return _density(report, ("dense block",))


def overall_density(report: dict[str, Any]) -> float:
    """The same of all steps, dense ones included."""
    return _density(report, PLANNED)


def _density(report: dict[str, Any], reasons: tuple[str, ...]) -> float:
    sparse = report["calls"]["sparse"]
    dense = sum(report["calls"]["dense"].get(reason, 0) for reason in reasons)
    return (sparse * report["density"] + dense) / (sparse + dense)
