"""The measurement of this machine in ComfyUI: where its file is, and a run of the tuner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths

from ..psa_kernels import measured
from ..psa_kernels.selftest.report import SKIPPED, Check
from ..psa_kernels.tune import NAME, tune_apart
from .queued import DEFAULT_USER

FILE = "psa/measured.json"  # one for all users of the machine: it is of the GPU
HEAD_DIMS = ("128", "64", "256")
DTYPE = "bfloat16"  # float16 is served by it
SECONDS = 90.0


def use_comfyuis_file() -> None:
    """The library reads and writes it from here on, unless the environment names another."""
    folder = folder_paths.get_public_user_directory(DEFAULT_USER)
    measured.use_file(Path(folder) / FILE)


def measure_here(head_dim: int, alive: Callable[[], None]) -> Check:
    """Runs the tuner, with progress on the running node. `alive` may raise to end it."""
    if comfy.model_management.get_torch_device().type != "cuda":
        return Check(NAME, SKIPPED, "there is no GPU here that PSA runs on; nothing to measure")
    # the GPU to itself, and room on it
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    bar = comfy.utils.ProgressBar(100)

    def progress(part: float, text: str) -> None:
        bar.update_absolute(round(100 * part), 100)

    return tune_apart(head_dim, DTYPE, SECONDS, alive=alive, progress=progress)
