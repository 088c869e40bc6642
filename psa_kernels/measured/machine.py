"""What a measurement depends on: GPU, driver, torch, Triton, and the kernels themselves."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from ..triton import versions

KERNELS = Path(__file__).resolve().parent.parent / "triton"
INTERPRETER = "Triton's interpreter"


@dataclass(frozen=True)
class Machine:
    """gpu      its name as torch has it
    driver   version of its driver, "" if unknown
    torch    with its build, like "2.11.0+cu130"
    triton   "" if it is not installed
    kernels  a mark of the kernels' sources
    """

    gpu: str
    driver: str
    torch: str
    triton: str
    kernels: str


@lru_cache(maxsize=16)
def machine_of(device: torch.device) -> Machine | None:
    """None if no kernel can run. On a CPU they run in Triton's interpreter, if it is on."""
    if device.type == "cuda":
        gpu = torch.cuda.get_device_name(device)
    elif versions.interpreting():
        gpu = INTERPRETER
    else:
        return None
    driver = _driver() if device.type == "cuda" else ""
    return Machine(gpu, driver, torch.__version__, versions.installed()[1], _kernels())


@lru_cache(maxsize=1)
def _driver() -> str:
    """From NVIDIA's management library; for AMD, whose driver is in the kernel, ROCm's version."""
    if torch.version.hip:
        return torch.version.hip
    try:
        name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
        library = ctypes.CDLL(name)
        text = ctypes.create_string_buffer(96)
        if library.nvmlInit_v2() != 0:
            return ""
        try:
            found = library.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text)))
        finally:
            library.nvmlShutdown()
        return text.value.decode() if found == 0 else ""
    except (OSError, AttributeError):
        return ""


@lru_cache(maxsize=1)
def _kernels() -> str:
    mark = hashlib.sha256()
    for path in sorted(KERNELS.rglob("*.py")):
        mark.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return mark.hexdigest()[:12]
