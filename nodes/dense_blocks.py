"""The input `dense_blocks`: transformer blocks that stay dense, as text."""

from __future__ import annotations

from typing import Any

from ..psa_kernels.config import parse_block_list


def read_dense_blocks(text: Any) -> frozenset[int]:
    """None is none, a number its block. Raises `ValueError` that names the input."""
    text = "" if text is None else str(text)
    if text.strip()[:5].lower() == "none":
        return frozenset()
    try:
        return parse_block_list(text)
    except ValueError as error:
        raise ValueError(f"dense_blocks: {error}") from None


def check_dense_blocks(text: Any) -> bool | str:
    """What a node's `validate_inputs` answers: True, or what is wrong.

    An input that it names is no longer checked by ComfyUI, and the message of one comes once for
    each: so a node names this alone, which ComfyUI cannot check itself.
    """
    try:
        read_dense_blocks(text)
    except ValueError as error:
        return str(error)
    return True
