"""What this machine has: interpreter, torch, GPU, Triton. Asking never raises."""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata

import torch

from ..triton import versions


def describe() -> dict[str, str]:
    """Name -> finding, in the order to show them."""
    return {
        "Python": f"{platform.python_version()} at {sys.executable}",
        "System": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "torch": _torch(),
        "GPU": gpu_name() or other_gpu() or "none that torch can use",
        "Triton": triton_version() or "not installed",
    }


def gpu_name() -> str:
    """Name and architecture of the current CUDA or ROCm device; "" without one."""
    if not torch.cuda.is_available():
        return ""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    arch = f"compute capability {properties.major}.{properties.minor}"
    if torch.version.hip:
        arch = properties.gcnArchName
    return f"{properties.name}, {arch}, {properties.total_memory / 2**30:.0f} GiB"


def other_gpu() -> str:
    """A GPU that torch can use and PSA has no kernels for; "" without one."""
    if torch.backends.mps.is_available():
        return "an Apple GPU (mps)"
    return "an Intel GPU (xpu)" if torch.xpu.is_available() else ""


def torchs_triton() -> str:
    """What the torch that is here asks for as its Triton, like "pytorch-triton-rocm==3.5.1"; ""
    where it does not say, as outside Linux."""
    try:
        needed = metadata.requires("torch") or []
    except metadata.PackageNotFoundError:  # built in place
        needed = []
    asked = (re.match(r"([\w-]+)\s*\(?\s*([=~<>!][^;)]*)?", one) for one in needed)
    return next((
        x[1] + (x[2] or "").strip() for x in asked if x and x[1] in versions.PACKAGES
    ), "")  # fmt: skip


def triton_version() -> str:
    """The installed Triton's package and version, whether or not it imports; "" if none is."""
    package, version = versions.installed()
    return f"{version} ({package})" if package else ""


def _torch() -> str:
    if torch.version.hip:
        build = f"ROCm {torch.version.hip}"
    elif torch.version.cuda:
        build = f"CUDA {torch.version.cuda}"
    else:
        build = "a build without CUDA or ROCm"
    return f"{torch.__version__}, {build}"
