"""Where in a whole schedule of ComfyUI's a part of it begins.

Asked for runs that start below the highest noise. Nearly always one of ComfyUI's schedulers made
them, and where its steps are of uneven length, nothing else tells how many came before.
"""

from __future__ import annotations

import copy
from typing import Any

import comfy.samplers
import torch

from .schedule import Part

# ComfyUI's own; other packs add schedulers that may fail or take long at unusual step counts.
OWN = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal",
    "linear_quadratic", "kl_optimal",
)  # fmt: skip
MOST_STEPS = 150  # of a whole schedule that is looked through; some tenths of a second at most


def known_part(sigmas: list[float], model_sampling: Any) -> Part | None:
    """Where `sigmas` lie in the shortest schedule that holds them; None if there is none."""
    part = torch.tensor(sigmas, dtype=torch.float32)
    if len(part) < 3:
        return None  # one step is found in almost any schedule
    model_sampling = _on_cpu(model_sampling)
    slack = 1e-4 * part.abs().clamp(min=1e-2)
    names = [name for name in OWN if name in comfy.samplers.SCHEDULER_NAMES]
    for steps in range(len(part) - 1, MOST_STEPS + 1):
        for name in names:
            try:
                whole = comfy.samplers.calculate_sigmas(model_sampling, name, steps).float().cpu()
            except Exception:  # not every scheduler fits every model
                continue
            # some samplers (dpm_2, uni_pc) leave out the last but one
            for schedule in (whole, torch.cat((whole[:-2], whole[-1:]))):
                if len(schedule) < len(part):
                    continue
                fits = ((schedule.unfold(0, len(part), 1) - part).abs() <= slack).all(1)
                if fits.any():
                    return Part(int(fits.nonzero()[0]), len(schedule) - 1)
    return None


def _on_cpu(model_sampling: Any) -> Any:
    """Of a model that is loaded the tables are on the GPU, where every look into one waits."""
    tables = model_sampling.buffers() if isinstance(model_sampling, torch.nn.Module) else ()
    moved = {id(table): table.cpu() for table in tables if table.device.type != "cpu"}
    if not moved:
        return model_sampling
    try:
        return copy.deepcopy(model_sampling, moved)
    except Exception:  # another pack's may hold what cannot be copied; looking there is only slow
        return model_sampling
