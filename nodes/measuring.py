"""The measurement of this machine in ComfyUI: where its file is, and a run of the tuner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import comfy.utils
import folder_paths
import torch
from server import PromptServer
from torch.nn.functional import scaled_dot_product_attention

from ..psa_engines.core.faults import one_line
from ..psa_kernels import measured
from ..psa_kernels.attention import made_current
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
    """Times ComfyUI's dense attention at the sizes that the tuner timed; says how long it took.

    A length at which it fails is left as it was.
    """
    from ..psa_kernels.tune.times import differ  # here: no pack loads slower for it

    device = comfy.model_management.get_torch_device()
    file = measured.file_in_use()
    entry = measured.find(device, head_dim, getattr(torch, DTYPE)).entry
    calls = (entry or {}).get("times", {}).get("calls")
    if not calls:
        return "Dense attention was not timed, because no whole call was."
    attention = comfy.ldm.modules.attention.optimized_attention
    name = dense_kernel(attention, None).name
    new, took, failed = [], [], []
    for call in calls:
        alive()
        length = f"{call['tokens']:,} tokens"
        try:
            ms = _dense_ms(attention, call, entry["head_dim"], device)
        except Exception as error:  # the kernel is not ours
            new.append(call)
            failed.append(f"It could not be timed in the call of {length}: {one_line(error)}.")
        else:
            new.append({**call, "dense_ms": {**call["dense_ms"], name: ms}})
            took.append(f"It took {ms:.3g} ms in the call of {length}.")
    said = [f"Dense in ComfyUI is {name}.", *took[:1], *failed]
    times = {**entry["times"], "calls": new}
    if differ(entry["times"], times):
        try:
            measured.write(file, {**entry, "times": times})
        except OSError as error:
            said.append(f"Its times could not be written to {file}: {one_line(error)}.")
    return " ".join(said)


def _dense_ms(
    attention: Callable, call: Mapping[str, Any], head_dim: int, device: torch.device
) -> float:
    """Milliseconds of a call of ComfyUI's dense `attention`, as long as `call`.

    PSA's calls were timed after a long load, and by now the GPU has rested: at a power limit it is
    faster. So what counts is the ratio to torch's own attention, which was timed beside PSA.
    """
    from ..psa_kernels.tune.bench import made_up
    from ..psa_kernels.tune.times import EACH
    from ..psa_kernels.tune.timing import Clock, alternate

    with made_current(device), torch.no_grad():
        dtype = getattr(torch, DTYPE)
        q, k, v = made_up(call["tokens"], call["heads"], head_dim, dtype, device)
        turns = {"own": partial(attention, q, k, v, heads=call["heads"], skip_reshape=True)}
        beside_psa = call["dense_ms"].get(measured.LIBRARY)
        if beside_psa:
            turns["torch's"] = partial(scaled_dot_product_attention, q, k, v)
        for once in turns.values():
            once()
        times = alternate(turns, Clock(device), seconds_each=EACH)
    ms = times["own"].ms
    if beside_psa:
        ms *= beside_psa / times["torch's"].ms
    return float(f"{ms:.5g}")
