"""The implementations, fastest first, and which of them serves a call.

`register` adds another one; a row in an implementation's `precisions` adds a precision. Nothing
here needs Triton.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from . import measured, reference, triton
from .capability import Call, Implementation, refusal, settled
from .config import PSAConfig
from .layout import Layout
from .triton import support

TRITON = Implementation("triton", triton, support.LIMITS, support.PRECISIONS)
# serves what no other can
REFERENCE = Implementation("reference", reference, kernels=False)

_registered = [TRITON]


@dataclass(frozen=True)
class Choice:
    """implementation  what serves the call
    config  the call's config with each precision settled: the stages compute what it says
    reason  why nothing faster serves the call, or which precision it cannot have; "" if there is
            nothing to say
    """

    implementation: Implementation
    config: PSAConfig
    reason: str


@measured.kept_until_forgotten
def choose(
    device: torch.device,
    dtype: torch.dtype,
    layout: Layout,
    config: PSAConfig,
    gradient: bool = False,
) -> Choice:
    """What serves a call. Every call asks; answers are cached until a measurement changes them."""
    call, reasons = Call(device, dtype, layout, config, gradient), []
    for implementation in (*registered(), REFERENCE):
        reason = refusal(implementation.limits, call)
        if not reason:
            break
        reasons.append(reason)
    config, refused = settled(implementation.precisions, call)
    return Choice(implementation, config, "; ".join(reasons + refused))


def register(implementation: Implementation) -> None:
    """Adds an implementation, to be asked first; it replaces one of the same name."""
    others = (one for one in _registered if one.name != implementation.name)
    _registered[:] = [implementation, *others]
    choose.cache_clear()


def unregister(name: str) -> None:
    """Removes an implementation. Raises `KeyError` if none has this name."""
    others = [one for one in _registered if one.name != name]
    if len(others) == len(_registered):
        raise KeyError(name)
    _registered[:] = others
    choose.cache_clear()


def registered() -> tuple[Implementation, ...]:
    """All but the reference, in the order in which they are asked."""
    return tuple(_registered)


def table() -> Iterator[tuple[str, str, str]]:
    """(implementation or its precision, what a row looks at, what it allows), in words."""
    for one in registered():
        for limit in one.limits:
            yield one.name, limit.of, limit.allowed
        for precision in one.precisions:
            name = f"{one.name}, {precision.field} {precision.value}"
            for limit in precision.limits:
                yield name, limit.of, limit.allowed
            for limit in precision.measured:
                yield f"{one.name}, {precision.field} auto", limit.of, limit.allowed
