"""The six stages in plain torch, literal and short: any device, any dtype, any size.

It is the specification that runs, the CPU path, and what every kernel is tested against. It
computes in float32, or in float64 for float64 inputs. It works through one head at a time, and in
the head one slice of query blocks, so memory stays a small multiple of q, k and v.
"""

# no stage has the name of a module here: importing the module would shadow it
from ..layout import Layout
from .attention import attend
from .estimate import importance
from .grouping import group_keys
from .levels import assign_levels
from .orders import reorder
from .pyramid import build_pyramid

__all__ = [
    "assign_levels", "attend", "build_pyramid", "group_keys", "head_groups", "importance",
    "reorder",
]  # fmt: skip


def head_groups(layout: Layout, config: object, element_size: int) -> list[slice]:
    """All key/value heads at once: the stages themselves take one after another."""
    return [slice(0, layout.kv_heads)]
