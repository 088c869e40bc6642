"""What was measured on this machine: one JSON file, written by `psa_kernels.tune`, never required.

It has an entry for each GPU, head size and dtype. An entry that was measured on another GPU or with
other versions is not used, and the log says so once. Importing this needs no Triton.
"""

from .entries import (
    HEAD_DIMS,
    HOW,
    LIBRARY,
    Found,
    attend_name,
    entry,
    find,
    forget,
    kept_until_forgotten,
)
from .machine import Machine, machine_of
from .place import file_in_use, use_file
from .write import write

__all__ = [
    "HEAD_DIMS", "HOW", "LIBRARY", "Found", "Machine", "attend_name", "entry", "file_in_use",
    "find", "forget", "kept_until_forgotten", "machine_of", "use_file", "write",
]  # fmt: skip
