"""Memory that was never written shows: every new tensor is full of NaN or of absurd numbers."""

from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.utils._device import _device_constructors

# torch remembers which functions `with torch.device(...)` is to catch when it first asks: ask now,
# or it may remember those that are patched below, and a model on "meta" gets real memory
_device_constructors()

# whatever makes a tensor without filling it
MAKERS = [
    (owner, name, getattr(owner, name))
    for owner, names in (
        (torch, ("empty", "empty_like", "empty_strided")),
        (torch.Tensor, ("new_empty", "new_empty_strided")),
    )
    for name in names
]


@torch.no_grad()
def poison(x):
    """Integers become larger than any index, as far as their type goes."""
    if x.dtype == torch.bool:
        return x.fill_(True)
    if x.is_floating_point() or x.is_complex():
        return x.fill_(torch.nan)
    return x.fill_(min(torch.iinfo(x.dtype).max, 1 << 28))


def poisoned():
    return _made_by(lambda real: lambda *args, **kwargs: poison(real(*args, **kwargs)))


def unpoisoned():
    """Inside of `poisoned`, for tests that count operations."""
    return _made_by(lambda real: real)


@contextmanager
def _made_by(maker):
    with ExitStack() as patches:
        for owner, name, real in MAKERS:
            patches.enter_context(mock.patch.object(owner, name, maker(real)))
        yield
