"""The measurement of this machine in ComfyUI: where its file is, and a run of the tuner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.utils
import folder_paths
import torch
from server import PromptServer

from ..psa_kernels import measured
from ..psa_kernels.selftest.report import OK, SKIPPED, Check
from ..psa_kernels.tune import NAME, tune_apart
from .patching.dense_kernel import dense_kernel
from .queued import DEFAULT_USER

FILE = "psa/measured.json"  # one for all users of the machine: it is of the GPU
DTYPE = "bfloat16"  # float16 is served by it
SECONDS = 90.0


def use_comfyuis_file() -> None:
    """From here on the library reads and writes this file, unless the environment names another."""
    folder = folder_paths.get_public_user_directory(DEFAULT_USER)
    measured.use_file(Path(folder) / FILE)


def measure_here(head_dim: int, alive: Callable[[], None], node_id: str | None = None) -> Check:
    """Runs the tuner and shows its progress on the running node, whose id is `node_id`.

    `alive` may raise to end it.
    """
    if comfy.model_management.get_torch_device().type != "cuda":
        return Check(NAME, SKIPPED, "there is no GPU here that PSA runs on; nothing to measure")
    # free memory, and nothing else running
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    bar = comfy.utils.ProgressBar(100)

    def progress(part: float, text: str) -> None:
        bar.update_absolute(round(100 * part), 100)
        show(text, node_id)

    found = tune_apart(head_dim, DTYPE, SECONDS, alive=alive, progress=progress)
    if found.state != OK:
        return found
    show("timing ComfyUI's dense attention", node_id)
    return dataclasses.replace(found, detail=f"{found.detail} {time_dense(head_dim, alive)}")


def show(text: str, node_id: str | None) -> None:
    """Shows text on the running node, if this ComfyUI can."""
    server = getattr(PromptServer, "instance", None)
    send = getattr(server, "send_progress_text", None)
    if send is not None and node_id is not None:
        send(text, node_id, server.client_id)


def time_dense(head_dim: int, alive: Callable[[], None]) -> str:
    """Times ComfyUI's dense attention at the sizes that the tuner timed; says how long it took."""
    from ..psa_kernels.tune.times import dense_ms, differ

    device = comfy.model_management.get_torch_device()
    file = measured.file_in_use()
    entry = measured.find(device, head_dim, getattr(torch, DTYPE)).entry
    calls = (entry or {}).get("times", {}).get("calls")
    if not calls:
        return "Dense attention was not timed, because no whole call was."
    attention = comfy.ldm.modules.attention.optimized_attention
    name, timed = dense_kernel(attention, None).name, []
    for call in calls:
        alive()
        one = partial(attention, heads=call["heads"], skip_reshape=True)
        size = call["heads"], entry["head_dim"], call["tokens"]
        try:
            ms = dense_ms(one, *size, getattr(torch, DTYPE), device)
        except Exception as error:  # the kernel is not ours
            return f"ComfyUI's dense attention ({name}) could not be timed: {error}"
        timed.append({**call, "dense_ms": {**call["dense_ms"], name: ms}})
    times = {**entry["times"], "calls": timed}
    if differ(entry["times"], times):
        measured.write(file, {**entry, "times": times})
    one = timed[0]
    took = f"{one['dense_ms'][name]:.3g} ms in the call of {one['tokens']:,} tokens"
    return f"ComfyUI's dense attention ({name}) took {took}."
