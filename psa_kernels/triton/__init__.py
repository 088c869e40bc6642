"""The six stages as Triton kernels, for CUDA and ROCm. Repeated calls give the same bits.

Importing this package needs no Triton; reading a stage from it does. `support.LIMITS` says which
calls it serves, `support.PRECISIONS` which of them it can compute faster.

A program's batch and head are int64 before they become an offset. Offsets inside a head are int32
(`support.MOST_KEYS`), except in the caller's tensors, which may have any strides. Sizes that change
from video to video are `do_not_specialize`, as is the number of heads, which memory may divide: so
another size compiles nothing but the levels, once for each power of two of blocks.
"""

from importlib import import_module

_STAGES = {
    "reorder": "orders",
    "group_keys": "grouping",
    "build_pyramid": "pyramid",
    "importance": "estimate",
    "assign_levels": "levels",
    "attend": "attention",
    "head_groups": "memory",
}

__all__ = [
    "assign_levels", "attend", "build_pyramid", "group_keys", "head_groups", "importance",
    "reorder",
]  # fmt: skip


def __getattr__(name: str):
    if name not in _STAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # no stage has the name of a module here: importing the module would shadow it
    stage = getattr(import_module(f".{_STAGES[name]}", __name__), name)
    globals()[name] = stage  # every call asks for it
    return stage
