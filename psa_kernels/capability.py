"""What an implementation can serve, as data: rows that are checked, printed and tested.

A row says what it looks at in a call, what is allowed, and the reason that a user reads if it is
not allowed. `psa_kernels/implementations.py` lists the implementations that the rows belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch

from .config import PSAConfig
from .layout import Layout


@dataclass(frozen=True)
class Call:
    """What the rows may look at.

    device, dtype  of q, k and v
    gradient       whether the caller wants one
    """

    device: torch.device
    dtype: torch.dtype
    layout: Layout
    config: PSAConfig
    gradient: bool = False

    @classmethod
    def small(
        cls, device: torch.device, dtype: torch.dtype, head_dim: int, config: PSAConfig
    ) -> Call:
        """A call of one token, for asking about everything but the number of tokens."""
        layout = Layout(1, 1, 1, 1, 1, head_dim, None, 0, 0, False, config.block_m, config.block_n)
        return cls(device, dtype, layout, config)


@dataclass(frozen=True)
class Limit:
    """One row.

    of      what it looks at, in words
    value   reads that from a call; only called if all rows before this one allow the call
    reason  a sentence; {found} is the value, {one_of}, {least} and {most} are what is allowed

    A value is allowed if it is in `one_of`, or from `least` to `most`. `needs` says this in words
    if the values themselves do not.
    """

    of: str
    value: Callable[[Call], Any]
    reason: str
    one_of: tuple = ()
    least: Any = None
    most: Any = None
    needs: str = ""

    def refusal(self, call: Call) -> str:
        """Why the row does not allow this call; "" if it does."""
        found = self.value(call)
        if self.one_of:
            allowed = found in self.one_of
        else:
            allowed = (self.least is None or found >= self.least) and (
                self.most is None or found <= self.most
            )
        if allowed:
            return ""
        return self.reason.format(
            found=_shown(found), one_of=_listed(self.one_of), least=self.least, most=self.most
        )

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.needs or self.one_of:
            return self.needs or _listed(self.one_of)
        ends = ("at least", self.least), ("at most", self.most)
        return ", ".join(f"{word} {end}" for word, end in ends if end is not None)


@dataclass(frozen=True)
class Precision:
    """A faster way to compute something, which a field of the configuration asks for.

    field     of `PSAConfig`
    value     what asks for it: qk="int8"
    plain     what is computed instead where a row refuses
    limits    the rows
    measured  further rows for the value "auto": whether it is faster on this machine
    """

    field: str
    value: str
    plain: str
    limits: tuple[Limit, ...]
    measured: tuple[Limit, ...] = ()

    def settled(self, call: Call) -> tuple[str, str]:
        """(the field's value that holds for the call, why it is not `value`; "" if it is)."""
        asked = getattr(call.config, self.field)
        if asked == self.plain:
            return asked, ""
        rows = self.limits if asked == self.value else self.limits + self.measured
        refused = refusal(rows, call)
        return (self.plain if refused else self.value), refused


@dataclass(frozen=True)
class Implementation:
    """name        as `Stats.implementation` has it
    package     the stages: see `psa_kernels/attention.py`
    limits      which calls it serves
    precisions  what it can compute faster, and for which calls
    kernels     whether it is made for a GPU: on one, plain torch is slower than dense attention
    """

    name: str
    package: ModuleType
    limits: tuple[Limit, ...] = ()
    precisions: tuple[Precision, ...] = ()
    kernels: bool = True


def settled(precisions: Iterable[Precision], call: Call) -> tuple[PSAConfig, list[str]]:
    """(the call's config with each precision settled, why it has not one that it asks for).

    The rows of a precision see what the ones before it were settled to.
    """
    refused = []
    for precision in precisions:
        asked = getattr(call.config, precision.field)
        value, reason = precision.settled(call)
        if reason and asked == precision.value:
            refused.append(f"{precision.field} {asked} not used: {reason}")
        if value != asked:
            call = replace(call, config=replace(call.config, **{precision.field: value}))
    return call.config, refused


def refusal(limits: Iterable[Limit], call: Call) -> str:
    """The reason of the first row that does not allow the call; "" if all do."""
    return next(filter(None, (limit.refusal(call) for limit in limits)), "")


def _shown(value: Any) -> str:
    return str(value).removeprefix("torch.")


def _listed(values: tuple) -> str:
    *most, last = map(_shown, values or ("",))
    return f"{', '.join(most)} or {last}" if most else last
