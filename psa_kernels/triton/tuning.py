"""Tile sizes, warps and pipeline depths per GPU architecture and stored row width: one table.

Nothing is tuned while a user waits. sm_90's figures were measured on an H100 and an H200
(benchmarks/NOTES.md); the others follow from the shared memory of each architecture and from
registers without spills.
What `psa_kernels.tune` measured on this machine goes before the table (psa_kernels/measured).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from .. import measured
from . import hopper
from .descriptors import has_tma
from .gpus import described
from .settings import Attend, Clusters, Estimate

# architecture -> row width -> settings; a width takes the first entry at least as wide
ATTEND = {
    "sm_80": {
        64: Attend(128, 128, 8, 2, 2, 2, 2),
        128: Attend(64, 64, 4, 2, 2, 2, 2),
        256: Attend(64, 32, 8, 2, 2, 2, 2),
    },
    "sm_86": {
        64: Attend(128, 64, 8, 2, 2, 2, 2),
        128: Attend(128, 32, 8, 2, 2, 2, 2),
        256: Attend(64, 32, 8, 1, 1, 1, 1),
    },
    "sm_90": {
        64: Attend(64, 64, 4, 3, 2, 2, 2, tma=True, registers=128),
        # two programs a multiprocessor are worth more than what this spills
        128: Attend(128, 64, 8, 3, 2, 2, 2, tma=True, registers=128),
        256: Attend(128, 64, 8, 2, 2, 2, 2, tma=True),
    },
    "sm_100": {
        64: Attend(128, 128, 8, 2, 2, 2, 2, tma=True),
        128: Attend(128, 64, 8, 2, 2, 2, 2, tma=True),
        256: Attend(64, 64, 8, 1, 1, 1, 1, tma=True),
    },
    "sm_120": {
        64: Attend(128, 64, 8, 2, 2, 2, 2),
        128: Attend(128, 32, 8, 2, 2, 2, 2),
        256: Attend(64, 32, 8, 1, 1, 1, 1),
    },
    "gfx942": {
        64: Attend(128, 64, 4, 1, 1, 1, 1),
        128: Attend(128, 64, 4, 1, 1, 1, 1),
        256: Attend(64, 32, 4, 1, 1, 1, 1),
    },
    "gfx1100": {
        64: Attend(64, 32, 4, 1, 1, 1, 1),
        128: Attend(64, 32, 8, 1, 1, 1, 1),
        256: Attend(32, 32, 8, 1, 1, 1, 1),
    },
    # float32 products without matrix units: small tiles, on any GPU
    "float32": {
        64: Attend(32, 32, 4, 1, 1, 1, 1),
        128: Attend(32, 32, 4, 1, 1, 1, 1),
        256: Attend(16, 32, 4, 1, 1, 1, 1),
    },
}
# with products of queries and keys on int8, which take half the shared memory and registers; where
# no row is its own, that of half precision
ATTEND_INT8 = ATTEND | {
    "sm_80": ATTEND["sm_80"] | {64: Attend(128, 64, 8, 2, 2, 2, 2)},
    "sm_86": ATTEND["sm_86"] | {256: Attend(64, 32, 8, 2, 2, 2, 2)},
    "sm_90": ATTEND["sm_90"] | {128: Attend(64, 64, 4, 3, 2, 2, 2, tma=True, registers=168)},
    "sm_120": ATTEND["sm_120"] | {256: Attend(64, 32, 8, 2, 2, 2, 2)},
}
# on Hopper, heads of 65 to 128 channels: of two rows, by what queries and keys are multiplied in
SPECIALISED = {
    "half": Attend(128, 128, 8, 2, 2, 2, 2, tma=True, specialised=True),
    "int8": Attend(128, 128, 8, 3, 3, 3, 3, tma=True, specialised=True),
}
ESTIMATE = {
    "sm_80": {128: Estimate(64, 64, 4, 2), 256: Estimate(64, 64, 8, 1)},
    "sm_86": {128: Estimate(64, 64, 4, 1), 256: Estimate(64, 64, 8, 1)},
    "sm_90": {128: Estimate(64, 64, 4, 3, tma=True), 256: Estimate(64, 64, 4, 2, tma=True)},
    "sm_100": {128: Estimate(64, 64, 4, 2, tma=True), 256: Estimate(64, 64, 4, 2, tma=True)},
    "sm_120": {128: Estimate(64, 64, 4, 1), 256: Estimate(64, 64, 8, 1)},
    "gfx942": {128: Estimate(128, 128, 8, 1), 256: Estimate(128, 64, 8, 1)},
    "gfx1100": {128: Estimate(64, 64, 8, 1), 256: Estimate(64, 32, 8, 1)},
    "float32": {128: Estimate(32, 32, 4, 1), 256: Estimate(32, 32, 4, 1)},
}
# one for all architectures, small enough for any of them; nothing was measured
CLUSTERS = {
    "half": {128: Clusters(64, 64, 8), 256: Clusters(32, 64, 8)},
    "float32": {128: Clusters(32, 32, 4), 256: Clusters(16, 32, 4)},
}


@lru_cache(maxsize=16)
def architecture(device: torch.device) -> str:
    """The table's row for `device`."""
    return "sm_90" if interpreted(device) else row_of(**described(device))


def row_of(*, gcn: str = "", capability: tuple[int, int] = (0, 0)) -> str:
    """The row of a GPU as `gpus.described`: its own, or the nearest one that asks for no more.

    gcn  such as "gfx942:sramecc+:xnack-"
    """
    if gcn:
        return "gfx942" if gcn.startswith("gfx9") else "gfx1100"
    major, minor = capability
    if major == 8:
        return "sm_80" if minor == 0 else "sm_86"
    return {9: "sm_90", 10: "sm_100", 11: "sm_100"}.get(major, "sm_120" if major >= 12 else "sm_86")


def pick(table: dict, arch: str, dtype: torch.dtype, dim: int):
    """The table's entry for an architecture, a dtype and a stored row width."""
    entries = table["float32" if dtype == torch.float32 else arch]
    return entries[min(width for width in entries if width >= dim)]


@measured.kept_until_forgotten
def attend(
    device: torch.device, dtype: torch.dtype, dim: int, qk: str = "half", sums: str = "float32"
) -> Attend:
    """qk: what queries and keys are multiplied in, "half" or "int8". sums: what values are summed
    in, "float32" or "float16"."""
    found = measured.entry(device, dim, dtype)
    name = measured.attend_name(qk, sums)
    if found is not None and name in found["attend"]:
        return _possible(Attend(**found["attend"][name]), device)
    return row_attend(device, dtype, dim, qk)


@measured.kept_until_forgotten
def estimate(device: torch.device, dtype: torch.dtype, dim: int) -> Estimate:
    found = measured.entry(device, dim, dtype)
    if found is not None:
        return _possible(Estimate(**found["estimate"]), device)
    return row_estimate(device, dtype, dim)


def row_attend(device: torch.device, dtype: torch.dtype, dim: int, qk: str = "half") -> Attend:
    """The table's, whatever was measured, and whatever values are summed in."""
    if dim == hopper.WIDTH and dtype != torch.float32 and _specialises(device):
        return SPECIALISED[qk]
    return portable_attend(device, dtype, dim, qk)


def _specialises(device: torch.device) -> bool:
    return (
        architecture(device) == "sm_90" and hopper.is_hopper(device) and not hopper.lacking(device)
    )


def portable_attend(device: torch.device, dtype: torch.dtype, dim: int, qk: str = "half") -> Attend:
    """The table's for calls that the kernel for Hopper GPUs does not serve."""
    table = ATTEND_INT8 if qk == "int8" else ATTEND
    return _possible(pick(table, architecture(device), dtype, dim), device)


def row_estimate(device: torch.device, dtype: torch.dtype, dim: int) -> Estimate:
    """The table's, whatever was measured."""
    return _possible(pick(ESTIMATE, architecture(device), dtype, dim), device)


@measured.kept_until_forgotten
def measured_qk(device: torch.device, head_dim: int, dtype: torch.dtype) -> str:
    """What queries and keys are multiplied in fastest, "half" or "int8", as measured on this
    machine; "half" where nothing was."""
    found = measured.entry(device, head_dim, dtype)
    return "half" if found is None else found["qk"]


@measured.kept_until_forgotten
def measured_sums(device: torch.device, head_dim: int, dtype: torch.dtype, qk: str) -> str:
    """What values are summed in fastest where queries and keys are multiplied in `qk`, "float32" or
    "float16", as measured on this machine; "float32" where nothing was."""
    found = measured.entry(device, head_dim, dtype)
    return "float32" if found is None else found.get("sums", {}).get(qk, "float32")


def clusters(dtype: torch.dtype, dim: int) -> Clusters:
    return pick(CLUSTERS, "half", dtype, dim)


def gram_width(device: torch.device, large: bool) -> int:
    """Channels a product of `grouping_kernel`: those of large sets read an operand from shared
    memory on sm_90 only; elsewhere every warp holds all of it in registers."""
    return 64 if large and architecture(device) == "sm_90" else 32


def gram_limit(device: torch.device, large: bool) -> dict[str, int]:
    """On sm_90 a third program for small sets fits on a multiprocessor: 4% of the groups' time."""
    return {"maxnreg": 168} if not large and architecture(device) == "sm_90" else {}


def _possible(entry, device: torch.device):
    """Without descriptors, and a limit on registers, where there are none."""
    if entry.tma and not has_tma(device):
        entry = replace(entry, tma=False)
    if isinstance(entry, Attend) and entry.registers and not limits_registers(device):
        entry = replace(entry, registers=0)
    return entry


def halves_float32_sums(device: torch.device) -> bool:
    """Whether GPUs like `device` may sum products in float32 at half the rate of float16: GeForce
    RTX 30, 40 and 50 do, others of these architectures and data center GPUs do not."""
    return architecture(device) in ("sm_86", "sm_120")


def limits_registers(device: torch.device) -> bool:
    """Whether kernels on `device` can be held to a number of registers: on NVIDIA's GPUs."""
    return device.type == "cuda" and not architecture(device).startswith("gfx")


def bounded(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the attention has loops without a running maximum too.

    Their weights may be far above 1, which takes exponents that float16 has not. The gain was
    measured on sm_90 and is likely on NVIDIA's others; AMD's compiler spills over them.
    """
    if architecture(device).startswith("gfx"):
        return False
    return values_dtype(device, dtype) != torch.float16


def values_dtype(device: torch.device, dtype: torch.dtype, half_sums: bool = False) -> torch.dtype:
    """What values and weights are multiplied in, where queries and keys are of `dtype`.

    float16 with `half_sums`, which there are of nothing else. bfloat16 for float16 otherwise, for
    the sake of `bounded`: 8-10% of a call, for twice the rounding error of float16 alone, which is
    a third of bfloat16's.
    """
    if half_sums:
        return torch.float16
    if dtype != torch.float16 or interpreted(device) or architecture(device).startswith("gfx"):
        return dtype
    return torch.bfloat16


def interpreted(device: torch.device) -> bool:
    """Whether the kernels run in Triton's interpreter, which multiplies bfloat16 wrongly."""
    return device.type != "cuda"


def precision(device: torch.device, dtype: torch.dtype) -> str:
    """float32 is multiplied as float32, at the plain units' rate: the stated, slow path.

    Half precision does not read this, but AMD's compiler takes no "tf32" even so.
    """
    amd = architecture(device).startswith("gfx")
    return "ieee" if dtype == torch.float32 or amd else "tf32"
