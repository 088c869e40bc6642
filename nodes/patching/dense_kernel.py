"""Which attention the calls run that PSA leaves dense, and whether ComfyUI has a cheaper one.

They run what they would without PSA: another node's override, or the backend that ComfyUI was
started with. Dense steps cost the most, so what serves them is worth a line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

INT8, SAGE, SAGE3 = "Comfy Kitchen int8 attention", "SageAttention", "SageAttention 3"
# ComfyUI's functions, as its log and its nodes name them
_NAMES = {
    "attention_pytorch": "PyTorch attention",
    "attention_comfy_kitchen_int8": INT8,
    "attention_sage": SAGE,
    "attention3_sage": SAGE3,
    "attention_flash": "FlashAttention",
    "attention_xformers": "xFormers attention",
    "attention_sub_quad": "sub-quadratic attention",
    "attention_split": "split attention",
    "attention_basic": "basic attention",
}
# what a module of ComfyUI says it has -> how it is chosen
_CHEAPER = {
    "COMFY_KITCHEN_INT8_ATTENTION_IS_AVAILABLE":
        f"{INT8}, which is installed: add the node Model Attention Backend",
    "SAGE_ATTENTION_IS_AVAILABLE":
        f"{SAGE}, which is installed: start ComfyUI with --use-sage-attention",
}  # fmt: skip


@dataclass(frozen=True)
class DenseKernel:
    """name     as users know it
    cheaper  a quantised one that this ComfyUI has, and how to choose it; None: it runs, or there is
             none
    """

    name: str
    cheaper: str | None


def dense_kernel(func: Callable, previous: Callable | None) -> DenseKernel:
    """What serves calls that go to `previous`, the override without PSA, or to ComfyUI's `func`."""
    if previous is None:
        name = _name(func)
        name = _NAMES.get(name, name)
    else:
        name = _behind(previous)
    if name in (INT8, SAGE, SAGE3):
        return DenseKernel(name, None)
    attention = sys.modules.get("comfy.ldm.modules.attention")
    offered = (text for flag, text in _CHEAPER.items() if getattr(attention, flag, False))
    return DenseKernel(name, next(offered, None))


def _behind(override: Callable) -> str:
    """What an override runs: the one attention function of ComfyUI's that it holds, as Model
    Attention Backend's does."""
    held = set()
    for cell in getattr(override, "__closure__", None) or ():
        try:
            held.add(_name(cell.cell_contents))
        except ValueError:  # a cell that is empty yet
            continue
    known = held & _NAMES.keys()
    if len(known) == 1:
        return _NAMES[known.pop()]
    module = str(getattr(override, "__module__", "")).replace("\\", "/")
    pack = module.rpartition("custom_nodes/")[2].partition(".")[0]
    return f"another node's attention ({pack})"


def _name(function: object) -> str:
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__
