"""Reading the file: lazily, once a process, and never a reason to fail."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..layout import row_width
from ..triton import settings
from .machine import Machine, machine_of
from .place import file_in_use

log = logging.getLogger("PSA")

FORMAT = 1
HEAD_DIMS = (128, 64, 256)  # to measure, the usual one first: together they serve every head size
HOW = "python -m psa_kernels.tune, or PSA Self-test with measure on"
# how torch's own choice among its kernels of dense attention is named. A host may call it with
# another choice: its attention has a name of its own
LIBRARY = "torch's scaled_dot_product_attention"
AGAIN = f"measure again: {HOW}"


@dataclass(frozen=True)
class Found:
    """entry   what was measured here for a head size and dtype, or None
    ignored  why what the file has is not used; "" where there is none, or it is used
    stale    the entry that is not used
    """

    entry: Mapping[str, Any] | None = None
    ignored: str = ""
    stale: Mapping[str, Any] | None = None


NOTHING = Found()
_caches: list = []  # of `kept_until_forgotten`


def entry(device: torch.device, head_dim: int, dtype: torch.dtype) -> Mapping[str, Any] | None:
    """What was measured on `device`, None without it. The first call may log one sentence."""
    return _said(device, head_dim, dtype).entry


def find(
    device: torch.device, head_dim: int, dtype: torch.dtype, file: Path | None = None
) -> Found:
    """The same with the reason, and without a log entry. `file`: if not the one in use.

    Rows are stored at powers of two, so an entry serves all head sizes of one width. One of float16
    and bfloat16 serves the other too, where that has none: they move and multiply as much.
    """
    return _find(file or file_in_use(), device, row_width(head_dim), dtype)


def forget() -> None:
    """The file is read again when it is next needed."""
    for cache in _caches:
        cache.cache_clear()


def kept_until_forgotten(function: Callable) -> Callable:
    """`lru_cache` for what depends on the file: `forget` empties it."""
    cache = lru_cache(maxsize=256)(function)
    _caches.append(cache)
    return cache


def attend_name(qk: str, sums: str) -> str:
    """What an entry calls the attention of that precision."""
    return qk if sums == "float32" else f"{qk}, {sums} sums"


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def same_call(one: Mapping[str, Any], head_dim: int, dtype: str) -> bool:
    """Whether an entry is of this row width and dtype."""
    return row_width(one["head_dim"]) == row_width(head_dim) and one["dtype"] == dtype


@kept_until_forgotten
def _said(device: torch.device, head_dim: int, dtype: torch.dtype) -> Found:
    found = find(device, head_dim, dtype)
    if found.ignored:
        _say_once(found.ignored)
    return found


@lru_cache(maxsize=64)
def _say_once(text: str) -> None:
    log.warning("PSA: %s", text)


@kept_until_forgotten
def _find(path: Path, device: torch.device, width: int, dtype: torch.dtype) -> Found:
    if dtype not in (torch.float16, torch.bfloat16):
        return NOTHING
    here = machine_of(device)
    if here is None:
        return NOTHING
    entries, wrong = _read(path)
    if wrong:
        return Found(ignored=wrong)
    other = torch.float16 if dtype == torch.bfloat16 else torch.bfloat16
    of_gpu = [x for x in entries if x["gpu"] == here.gpu]
    stale = NOTHING
    for kind in (dtype, other):
        for one in of_gpu:
            if not same_call(one, width, name_of(kind)):
                continue
            if not (differs := difference(one, here)):
                return Found(one)
            if stale is NOTHING:
                stale = Found(None, f"{path} is not used: {differs}; {AGAIN}", one)
    if entries and not of_gpu:
        gpus = ", ".join(sorted({x["gpu"] for x in entries}))
        return Found(ignored=f"{path} is not used: it was measured on {gpus}, this is {here.gpu}; "
                     f"{AGAIN}")  # fmt: skip
    return stale


def difference(one: Mapping[str, Any], here: Machine) -> str:
    """How the machine of an entry differs from the one here; "" if it does not."""
    names = {"driver": "the driver", "torch": "torch", "triton": "Triton"}
    for key, name in names.items():
        if one[key] != getattr(here, key):
            return f"measured with {name} {one[key]}, here it is {getattr(here, key)}"
    if one["kernels"] != here.kernels:
        return "measured with another version of PSA's kernels"
    return ""


@kept_until_forgotten
def _read(path: Path) -> tuple[tuple[Mapping[str, Any], ...], str]:
    return read_file(path)


def read_file(path: Path) -> tuple[tuple[Mapping[str, Any], ...], str]:
    """(entries, what is wrong with the file); both empty if there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return (), ""
    except (OSError, UnicodeDecodeError) as error:
        return (), f"{path} is not used: it cannot be read ({error})"
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            return (), f"{path} is not used: its format is {data['format']!r}, not {FORMAT}"
        entries = tuple(data["measured"])
        for one in entries:
            _check(one)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        return (), f"{path} is not used: it is not what the tuner writes ({said}); {AGAIN}"
    return entries, ""


_TEXTS = (*(x.name for x in dataclasses.fields(Machine)), "dtype", "date", "qk")


def _check(one: Mapping[str, Any]) -> None:
    """Raises `ValueError` for an entry that the tuner would not write."""
    for key in _TEXTS:
        if not isinstance(one[key], str):
            raise ValueError(f"{key}: found {one[key]!r}, give a text")
    for name, gain in one["gain"].items():
        if not isinstance(gain, float | int):
            raise ValueError(f"gain.{name}: found {gain!r}, give a number")
    if type(one["head_dim"]) is not int or not 0 < one["head_dim"] <= 256:
        raise ValueError(f"head_dim: found {one['head_dim']!r}, give 1 to 256")
    if one["qk"] not in one["attend"]:
        raise ValueError(f"qk: found {one['qk']!r}, give one of {', '.join(one['attend'])}")
    for qk, sums in one.get("sums", {}).items():
        if attend_name(qk, sums) not in one["attend"]:
            raise ValueError(f"sums.{qk}: found {sums!r}, give what attend has settings for")
    for found in one["attend"].values():
        settings.check("attend", settings.Attend, found)
    settings.check("estimate", settings.Estimate, one["estimate"])
    if "times" in one:
        _check_times(one["times"])


def _check_times(times: Mapping[str, Any]) -> None:
    """`psa_kernels.tune.times.measure` has what they are."""
    figures = [times["matmul_tflops"], times.get("n64", 1)]
    for call in times["calls"]:
        figures += [call["tokens"], call["heads"], *call["dense_ms"].values()]
        for one in call["psa"]:
            figures += [one[x] for x in ("density", "order_ms", "anew_ms", "kept_ms")]
            figures.append(one.get("int8_ms", 1))
        if len({one["density"] for one in call["psa"]}) < 2:
            raise ValueError("times.calls.psa: two densities are needed")
    if not times["calls"]:
        raise ValueError("times.calls: found none")
    for figure in figures:
        if not isinstance(figure, float | int) or not 0 < figure < 1e12:
            raise ValueError(f"times: found {figure!r}, give a number above 0")
