"""What a kernel is launched with: tile sizes, warps, pipeline depths; and which values it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attend:
    """rows: queries a program, at most m. tile: keys an inner step. One pipeline depth a loop.

    The tail's loop has another depth under the second moment, which needs shared memory too.
    registers: the most a thread may use, so that more programs fit on a multiprocessor; 0: as many
    as the compiler likes.
    specialised: the kernel for Hopper GPUs, which only has `full_stages`, where it serves a call.
    """

    rows: int
    tile: int
    warps: int
    full_stages: int
    list_stages: int
    tail_stages: int
    spread_stages: int
    tma: bool = False
    registers: int = 0
    specialised: bool = False

    def __str__(self) -> str:
        if self.specialised:
            return f"specialised warps, depth {self.full_stages}"
        text = (
            f"{self.rows} queries x {self.tile} keys, {self.warps} warps, "
            f"depths {self.full_stages} {self.list_stages} {self.spread_stages}"
        )
        text += f", {self.registers} registers" if self.registers else ""
        return f"{text}, TMA" if self.tma else text


@dataclass(frozen=True)
class Estimate:
    """means: query means a program. groups: key groups an inner step."""

    means: int
    groups: int
    warps: int
    stages: int
    tma: bool = False

    def __str__(self) -> str:
        text = f"{self.means} means x {self.groups} groups, {self.warps} warps, depth {self.stages}"
        return f"{text}, TMA" if self.tma else text


@dataclass(frozen=True)
class Clusters:
    """tokens and clusters: of an inner step of k-means."""

    tokens: int
    clusters: int
    warps: int


def check(name: str, kind: type, settings: Mapping[str, Any]) -> None:
    """Raises `ValueError` for settings of `kind` that no kernel can run with.

    Those with a default may be missing, as in files from before they were.

    name  of the settings, for the error's text
    """
    names = [x.name for x in dataclasses.fields(kind)]
    needed = {x.name for x in dataclasses.fields(kind) if x.default is dataclasses.MISSING}
    if not needed <= set(settings) <= set(names):
        raise ValueError(f"{name}: found {', '.join(settings)}, give {', '.join(names)}")
    for key, value in settings.items():
        if allowed := _refused(key, value):
            raise ValueError(f"{name}.{key}: found {value!r}, give {allowed}")


def _refused(key: str, value: Any) -> str:
    """What is allowed where `value` is not; "" where it is."""
    if key in ("tma", "specialised"):
        return "" if isinstance(value, bool) else "true or false"
    whole = type(value) is int
    if key == "registers":
        right = whole and (value == 0 or 24 <= value <= 255)
        return "" if right else "24 to 255, or 0 for any number"
    if key.endswith("stages"):
        return "" if whole and 1 <= value <= 8 else "1 to 8"
    least, most = (1, 16) if key == "warps" else (16, 128)
    right = whole and least <= value <= most and value & (value - 1) == 0
    return "" if right else f"a power of two from {least} to {most}"
