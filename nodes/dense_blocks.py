"""The input `dense_blocks`: transformer blocks that stay dense, as text."""

from __future__ import annotations

from typing import Any

from ..psa_kernels.config import parse_block_list


def read_dense_blocks(text: Any) -> frozenset[int]:
    """The blocks in `text`; a number is one block, None or "none" no block.

    Raises `ValueError` that names the input.
    """
    text = "" if text is None else str(text)
    if text.strip()[:5].lower() == "none":
        return frozenset()
    try:
        return parse_block_list(text)
    except ValueError as error:
        raise ValueError(f"dense_blocks: {error}") from None


def check_dense_blocks(text: Any) -> bool | str:
    """What a node's `validate_inputs` answers: True, or what is wrong.

    ComfyUI no longer checks the inputs that `validate_inputs` takes, and repeats a message for each
    of them. So a node takes only this one, which ComfyUI cannot check itself.
    """
    try:
        read_dense_blocks(text)
    except ValueError as error:
        return str(error)
    return True
