"""Keeps PSA's decisions in Python, outside of compiled graphs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any


def uncompiled(function: Callable) -> Callable:
    """`function`, which torch.compile neither traces nor compiles.

    As torch.compiler.disable, which would cost every importer the import of the whole compiler.
    """
    disabled: Callable | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        compiler = sys.modules.get("torch._dynamo")
        if compiler is None:
            return function(*args, **kwargs)
        if disabled is None:
            disabled = compiler.disable(function)
        return disabled(*args, **kwargs)

    call._torchdynamo_disable = True
    return call
