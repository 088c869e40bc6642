"""The stack: built, shared out and timed by each of the processes that run it together."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from .. import quality  # noqa: F401 - psa_pack
from ..one_budget import of_middle

PRESETS = ("balanced", "fast")


@dataclass(frozen=True)
class Stack:
    """latent: frames, height, width"""

    heads: int
    head_dim: int
    ffn: int
    text_dim: int
    latent: tuple[int, int, int]


FULL = Stack(40, 128, 13824, 4096, (21, 90, 160))
SMALL = Stack(4, 32, 64, 16, (3, 24, 32))


def run_rank(rank: int, gpus: int, small: bool, blocks: int, calls: int, folder: Path) -> None:
    """One of the processes, which a launcher started."""
    if not small:
        torch.cuda.set_device(rank)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "cpu:gloo" if small else "cpu:gloo,cuda:nccl", rank=rank, world_size=gpus,
        init_method=f"file://{folder / f'{gpus}.store'}",
    )  # fmt: skip
    try:
        measured = measure(gpus, small, blocks, calls)
        if rank == 0:
            torch.save(measured, folder / f"{gpus}.pt")
    finally:
        dist.destroy_process_group()


def measure(gpus: int, small: bool, blocks: int, calls: int) -> list[dict]:
    """{way, seconds, first, out, density} of each way, by this many processes, already joined."""
    import diffusers

    from psa_pack.psa_engines.diffusers import apply_psa, remove_psa
    from psa_pack.psa_engines.ground import PSAConfig, over_shipped

    stack = SMALL if small else FULL
    device = torch.device("cpu") if small else torch.device("cuda", torch.cuda.current_device())
    model = model_of(stack, blocks, device, torch.float32 if small else torch.bfloat16)
    if gpus > 1:
        if small:  # diffusers asks for an accelerator, which a CPU is not
            torch.accelerator.device_count = lambda: 1
        model.set_attention_backend("native")
        model.enable_parallelism(config=diffusers.ContextParallelConfig(ulysses_degree=gpus))
    steps = diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0)
    presets = {}
    for name in PRESETS:
        way, config = of_middle(name, over_shipped(None).preset("Wan2.1_14b", name)[1])
        presets[f"PSA, {way}"] = config
    if small:
        little = {1: (0.0, 0.3), 4: (0.3, 0.6), 0: (0.6, 1.0)}
        presets = {"PSA": PSAConfig(mask_ratios=little, block_m=64, block_n=64)}
    found = []
    for way, config in {"dense": None, **presets}.items():
        applied = None
        if config is not None:
            applied = apply_psa(model, config.replace(warmup_steps=0), scheduler=steps)
        times, out = _timed(model, steps, calls, stack, device)
        report = applied.report() if applied else None
        if applied and (report["failure"] or report["calls"]["dense"]):
            raise RuntimeError(f"{way}: not served by PSA: {report['failure'] or report['calls']}")
        remove_psa(model)
        found.append({"way": way, "seconds": statistics.median(times[1:]), "first": times[0],
                      "out": out, "density": report and report["density"]})  # fmt: skip
    return found


def model_of(stack: Stack, blocks: int, device: torch.device, dtype: torch.dtype):
    import diffusers

    torch.manual_seed(0)  # the same weights in every process
    with device:
        model = diffusers.WanTransformer3DModel(
            num_attention_heads=stack.heads, attention_head_dim=stack.head_dim,
            ffn_dim=stack.ffn, text_dim=stack.text_dim, num_layers=blocks,
        )  # fmt: skip
    return model.to(dtype).eval().requires_grad_(False)


@torch.no_grad()
def _timed(model, steps, calls: int, stack: Stack, device: torch.device):
    """Seconds of each call of the model, and the first one's output, on the CPU."""
    random = torch.Generator().manual_seed(1)
    inputs = {
        "hidden_states": torch.randn(1, 16, *stack.latent, generator=random),
        "encoder_hidden_states": torch.randn(1, 512, stack.text_dim, generator=random),
    }
    inputs = {name: x.to(device, model.dtype) for name, x in inputs.items()}
    steps.set_timesteps(calls, device=device)
    times, first = [], None
    for t in steps.timesteps:
        dist.barrier()
        _wait(device)
        begin = time.perf_counter()
        out = model(timestep=t.expand(1), return_dict=False, **inputs)[0]
        _wait(device)
        times.append(time.perf_counter() - begin)
        first = out.float().cpu() if first is None else first
    return times, first


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rows_of(gpus: int, folder: Path, fewest: int) -> list[dict]:
    """What rank 0 measured, against the run with the fewest GPUs."""
    one = {row["way"]: row for row in torch.load(folder / f"{fewest}.pt")}
    rows = []
    for row in torch.load(folder / f"{gpus}.pt"):
        own = one[row["way"]]
        error = (row.pop("out") - own["out"]).norm() / own["out"].norm()
        rows.append({"gpus": gpus, **row, "times": own["seconds"] / row["seconds"],
                     "error": float(error)})  # fmt: skip
    return rows
