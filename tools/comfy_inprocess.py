"""ComfyUI imported into this process: its loaders and samplers without its server.

ComfyUI reads sys.argv once, while it is imported, and its modules have common names (`nodes`,
`utils`, `server`). All of it happens here, once, in the order that works; sys.argv is put back.
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import comfy_server


class ComfyInProcess:
    """ComfyUI from the tree `comfyui`, with `base` as its base directory. One per process."""

    def __init__(self, comfyui: Path, base: Path):
        self.path = comfyui
        self.base = comfy_server.make_base(base, {})
        argv = sys.argv
        sys.argv = ["main.py", *comfy_server.launch_flags(base, cpu=_cpu())]
        sys.path.insert(0, str(comfyui))
        try:
            import comfy.options

            comfy.options.enable_args_parsing()
            # parses sys.argv now
            import comfy.cli_args
        finally:
            sys.argv = argv
        import comfy.sample
        import comfy.sd

        # Before `nodes`, which puts comfy/ on sys.path, whose utils.py would then be found instead.
        import utils.extra_config  # noqa: F401

    def load(self, file: Path):
        """The `ModelPatcher` of a checkpoint, as UNETLoader gives it."""
        import comfy.sd
        import torch

        # as a server runs it; newer ComfyUIs' quantised weights cannot go in and out of that mode
        with torch.inference_mode():
            return comfy.sd.load_diffusion_model(str(file))

    def ksampler(
        self,
        model,
        *,
        positive: list,
        negative: list,
        latent,
        seed: int,
        steps: int,
        cfg: float,
        sampler: str = "euler",
        scheduler: str = "simple",
        **options,
    ):
        """What the KSampler node does; returns the latent. `options` go to `comfy.sample.sample`.

        positive, negative  conditioning as nodes pass it: `[[tensor [1, tokens, width], {}]]`
        latent              `[1, channels, frames, height, width]`, all zeros for text to video
        """
        import comfy.sample
        import torch

        noise = comfy.sample.prepare_noise(latent, seed)
        with torch.inference_mode():
            return comfy.sample.sample(
                model, noise, steps, cfg, sampler, scheduler, positive, negative, latent,
                disable_pbar=True, seed=seed, **options,
            )  # fmt: skip


def _cpu() -> bool:
    return not comfy_server.gpu_with_kernels()
