"""From an exception out of Triton to the piece that is missing and the way to get it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch

from ..triton import versions
from .machine import torchs_triton

REPORT_IT = "run the self-test with --verbose and report what it prints"


class TooOldError(Exception):
    """A Triton that imports and is older than the kernels need."""


@dataclass(frozen=True)
class Diagnosis:
    what: str
    remedy: str


def diagnose(error: BaseException) -> Diagnosis:
    """The cause of `error`, which was raised while Triton was imported, compiled or launched."""
    text = _text(error)
    low = text.lower()
    if isinstance(error, ModuleNotFoundError) and error.name == "triton":
        return not_installed()
    if isinstance(error, TooOldError):
        return Diagnosis(str(error), _install())
    if isinstance(error, ImportError):
        return _broken_import(text, low)
    if "failed to find c compiler" in low or "failed to find c++ compiler" in low:
        return Diagnosis("no C compiler was found, and Triton needs one", _compiler_remedy())
    if "cannot find ptxas" in low or "ptxas: not found" in low:
        return Diagnosis("ptxas, the assembler that comes with Triton, is missing", _reinstall())
    if "ptxas" in low and ("gpu-name" in low or "is not defined for option" in low):
        return Diagnosis("this Triton is too old for this GPU: its ptxas does not know it",
                         _update_torch("the newest"))  # fmt: skip
    if "libcuda" in low or ("-lcuda" in low and "cannot find" in low):
        return Diagnosis(
            "libcuda, the NVIDIA driver's library, was not found",
            "install the NVIDIA driver; in a container, start it with GPU access",
        )
    if _is_write_error(error, low):
        folder = os.environ.get("TRITON_CACHE_DIR", str(Path.home() / ".triton"))
        return Diagnosis(
            f"Triton's cache folder {folder} cannot be written: {_first_line(text)}",
            "set TRITON_CACHE_DIR to a folder that can be written and has space",
        )
    if isinstance(error, subprocess.CalledProcessError) or "python.h" in low:
        return _failed_build(text)
    if "active drivers" in low:
        return Diagnosis(
            "Triton finds no GPU driver that it knows",
            "Triton needs an NVIDIA GPU with a CUDA build of torch, or an AMD GPU with ROCm",
        )
    if "no kernel image" in low:
        return Diagnosis("this torch has no code for this GPU",
                         "install a torch build for it: https://pytorch.org")  # fmt: skip
    if "out of memory" in low:
        remedy = "close the programs that use it and try again"
        return Diagnosis("the GPU has no free memory", remedy)
    if "outofresources" in low or "out of resource" in low:
        return Diagnosis(f"the kernel asks for more than this GPU has: {_first_line(text)}",
                         REPORT_IT)  # fmt: skip
    return Diagnosis(_first_line(text), REPORT_IT)


def not_installed() -> Diagnosis:
    what = "Triton is not installed for this Python"
    if platform.system() == "Darwin":
        return Diagnosis(what, "there is no Triton for macOS, so PSA has no kernels there")
    return Diagnosis(what, _install())


def _broken_import(text: str, low: str) -> Diagnosis:
    what = f"Triton is installed but does not import: {_first_line(text)}"
    if "dll load failed" in low:
        return Diagnosis(
            f"{what}; most often the Visual C++ runtime is missing",
            "install https://aka.ms/vs/17/release/vc_redist.x64.exe and try again",
        )
    return Diagnosis(what, _reinstall())


def _failed_build(text: str) -> Diagnosis:
    header = Path(_include_dir()) / "Python.h"
    if not header.is_file():
        return Diagnosis(
            f"Python.h, the C header of this Python, is missing: no {header}", _header_remedy()
        )
    if platform.system() == "Windows" and not (Path(sys.base_prefix) / "libs").is_dir():
        return Diagnosis(
            f"Python's import libraries are missing: no {Path(sys.base_prefix) / 'libs'}",
            _header_remedy(),
        )
    return Diagnosis(
        f"the C compiler failed on Triton's launcher: {_first_line(text)}",
        "the compiler's own message is above this report; " + REPORT_IT,
    )


def _include_dir() -> str:
    # Triton's own rule: Debian's "posix_local" points where the headers are not
    scheme = sysconfig.get_default_scheme()
    return sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]


def _header_remedy() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if platform.system() == "Windows":
        return (
            f"copy the folders include and libs of an ordinary Python {platform.python_version()} "
            f"into {sys.base_prefix}"
        )
    return f"Debian, Ubuntu: sudo apt install python{version}-dev; Fedora: python{version}-devel"


def _compiler_remedy() -> str:
    if platform.system() == "Windows":
        return f"triton-windows comes with one: {_install()}"
    return "Debian, Ubuntu: sudo apt install gcc; Fedora: sudo dnf install gcc; or set CC"


def _reinstall() -> str:
    return _install("--force-reinstall", "--no-deps")


def _install(*options: str) -> str:
    """How to get the Triton that goes with the installed torch; another one may break it."""
    asked, package = versions.asked_by(torch.__version__), torchs_triton()
    if asked and versions.older(asked, versions.OLDEST):
        return _update_torch(f"{versions.OLDEST_TORCH} or newer")
    if platform.system() == "Windows":
        return _install_on_windows(asked, options)
    if torch.version.hip and package:
        # PyPI's own `triton` would replace parts of it
        series = ".".join(torch.version.hip.split(".")[:2])
        index = f"https://download.pytorch.org/whl/rocm{series}"
        return _pip(*options, _quoted(package), "--index-url", index)
    if asked and not torch.version.hip:
        return _pip(*options, _quoted(f"triton{asked}"))
    return f"install torch {torch.__version__} again (https://pytorch.org), with its Triton"


def _install_on_windows(asked: str, options: tuple[str, ...]) -> str:
    here = versions.series(torch.__version__)
    if not asked:
        return (
            f"install the triton-windows for torch {here}: https://pypi.org/project/triton-windows"
        )
    wanted = versions.series(asked)
    command = _pip(*options, _quoted(f"triton-windows=={wanted}.*"))
    if versions.older(versions.NEWEST_ON_WINDOWS, wanted):
        return f"{command}; if there is none yet, use the torch before {here} until there is"
    return command


def _update_torch(to: str) -> str:
    what = f"update torch to {to}: https://pytorch.org"
    if platform.system() == "Windows":
        return f"{what}; then run the self-test again, which names the triton-windows for it"
    return f"{what}, with its Triton"


def _quoted(package: str) -> str:
    return f'"{package}"'  # shells read < and *


def _pip(*arguments: str) -> str:
    return f'"{sys.executable}" -m pip install {" ".join(arguments)}'


def _is_write_error(error: BaseException, low: str) -> bool:
    if isinstance(error, PermissionError):
        return True
    return isinstance(error, OSError) and ("read-only" in low or "no space" in low)


def _text(error: BaseException) -> str:
    """The messages of an exception and of those it was raised from."""
    texts, seen = [], error
    while seen is not None and len(texts) < 5:
        texts.append(f"{type(seen).__name__}: {seen}")
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= 300 else line[:297] + "..."
