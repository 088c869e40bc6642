"""The six stages as Triton kernels: CUDA and ROCm, bit for bit the same on repeated calls.

Importing this package needs no Triton; asking it for a stage does. `support.LIMITS` are the calls
that it serves, `support.PRECISIONS` those that it can compute faster.

A program's batch and head are int64 before they become an offset; offsets inside a head are int32
(`support.MOST_KEYS`), but for the caller's tensors, whose strides may be anything. Sizes that
change from video to video are `do_not_specialize`: another size shall compile nothing anew.
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
    # no stage shares its name with a module here, or importing the module would shadow it
    stage = getattr(import_module(f".{_STAGES[name]}", __name__), name)
    globals()[name] = stage  # asked for in every call
    return stage
