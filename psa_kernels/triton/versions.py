"""Which Triton the kernels need, and which goes with which torch. Importing this needs neither."""

from __future__ import annotations

import os
import re
from importlib import metadata

PACKAGES = (
    "triton", "triton-windows", "triton-rocm", "pytorch-triton-rocm", "pytorch-triton",
)  # fmt: skip
OLDEST = "3.3"  # Triton: the first with tuples in kernels
OLDEST_TORCH = "2.7"  # the first that comes with such a Triton

# torch -> the `triton` that its metadata on PyPI requires (as of November 2026)
ASKED = {
    "2.4.0": "==3.0.0", "2.4.1": "==3.0.0", "2.5.0": "==3.1.0", "2.5.1": "==3.1.0",
    "2.6.0": "==3.2.0", "2.7.0": "==3.3.0", "2.7.1": "==3.3.1", "2.8.0": "==3.4.0",
    "2.9.0": "==3.5.0", "2.9.1": "==3.5.1", "2.10.0": "==3.6.0", "2.11.0": "==3.6.0",
    "2.12.0": "==3.7.0", "2.12.1": "==3.7.1", "2.13.0": "==3.7.1", "2.14.0": "~=3.8.0",
    "2.14.1": "~=3.8.0", "2.15.0": "~=3.9.0",
}  # fmt: skip
# `triton-windows` is on PyPI in every series from `OLDEST` to this one
NEWEST_ON_WINDOWS = "3.8"


def asked_by(torch: str) -> str:
    """The `triton` that this version of torch requires, like "==3.3.1"; "" if unknown.

    For a release that is not in the table: what others of its series require, without the last
    number.
    """
    release = re.match(r"\d+\.\d+(\.\d+)?", torch)
    if not release:
        return ""
    if release[0] in ASKED:
        return ASKED[release[0]]
    alike = [asked for known, asked in ASKED.items() if series(known) == series(torch)]
    return f"=={series(alike[-1])}.*" if alike else ""


def series(version: str) -> str:
    """The first two numbers: "3.3" of "3.3.1+git" or "==3.3.1"."""
    return ".".join(re.findall(r"\d+", version)[:2])


def older(version: str, oldest: str) -> bool:
    """Whether the series of `version` comes before that of `oldest`."""
    one, other = (tuple(map(int, series(x).split("."))) for x in (version, oldest))
    return one < other


def too_old(version: str) -> str:
    """Why the kernels cannot use this Triton; "" if they can."""
    return f"Triton {version} is older than {OLDEST}" if older(version, OLDEST) else ""


def installed() -> tuple[str, str]:
    """(package, version) of the installed Triton, even if it cannot be imported; else ("", "")."""
    for package in PACKAGES:
        try:
            return package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "", ""


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU (a setting for developers)."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")
