"""The attention calls of a model that torch.compile traces: each is one operator of its graph.

The operator decides, runs and counts when the graph runs. A trace that looked into PSA would freeze
what the first step decided; one that broke off there would compile every layer alone. What a trace
knows of a call goes into the graph as a text: the function asked, the arguments that are not
tensors, and what the model's own code put into its transformer options on the way to this layer.
Everything else is looked up when the operator runs. Nothing that changes by step is guarded.

Importing this loads torch._dynamo, which takes seconds: only processes that compile import it.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._dynamo.comptime import comptime

from ...psa_engines.core.faults import one_line
from ...psa_kernels.compiled import UNGRAPHED
from .faults import Interrupt
from .option_names import CALL, OVERRIDE
from .traced_call import TracedCall, output_layout, read

log = logging.getLogger("PSA")

# By their texts. They hold no tensors and nothing of a run.
_calls: dict[str, TracedCall] = {}
_said: set[str] = set()


class _Current(threading.local):
    """options  of the model call that this thread is in
    noted    the call that is being traced"""

    options: dict[str, Any] | None = None
    noted: TracedCall | None = None


_current = _Current()


@contextmanager
def serving(options: dict[str, Any]) -> Iterator[None]:
    """Attention calls of graphs that run in here belong to the model call with these options."""
    before, _current.options = _current.options, options
    try:
        yield
    finally:
        _current.options = before


def served(func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    """An attention override, the same for all runs; `CALL` of the transformer options serves."""
    if torch.compiler.is_dynamo_compiling():
        comptime(_note)
        text = _noted()
        if text:
            tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
            numbers: list[int] = []
            for name in _noted_computed():
                value = kwargs["transformer_options"][name]
                numbers.extend([value] if isinstance(value, int) else value)
            return _operator(tensors, text, numbers)
    return _untraced(func, *args, **kwargs)


@torch.compiler.disable
def _untraced(func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    options = kwargs.get("transformer_options") or {}
    override = options.get(CALL) or (_current.options or {}).get(CALL)
    return func(*args, **kwargs) if override is None else override(func, *args, **kwargs)


# An operator's name is the process's, which may hold this pack twice.
_COPY = hashlib.sha1(__package__.encode()).hexdigest()[:8]


# What runs is decided anew each time: no CUDA graph may replay it.
@torch.library.custom_op(
    f"comfyui_psa_{_COPY}::attention", mutates_args=(),
    schema="(Tensor[] tensors, str call, SymInt[] numbers) -> Tensor", **UNGRAPHED,
)  # fmt: skip
def _attention(tensors: list[torch.Tensor], call: str, numbers: list[int]) -> torch.Tensor:
    traced = _calls[call]
    args, kwargs = traced.filled(tensors)
    promised = output_layout(args, kwargs)
    # Another override may lie over PSA's by now: compile nodes may leave that unguarded.
    at_hand = _current.options or {}
    try:
        at_hand = _options_at_hand()
        kwargs["transformer_options"] = traced.options(at_hand, numbers)
    except Interrupt:
        raise
    except Exception as error:
        _step_aside(at_hand, error)
        kwargs["transformer_options"] = at_hand
    override, func = at_hand.get(OVERRIDE), traced.func
    if override is served:
        override = at_hand[CALL]
        if override.previous is None:
            func = traced.preferred or func
    # none where the graph runs outside of a run: dense is never wrong
    out = func(*args, **kwargs) if override is None else override(func, *args, **kwargs)
    try:
        return _as_promised(promised, tensors, out)
    except (Interrupt, OtherShapeError):
        raise
    except Exception as error:  # no room for a copy, say
        if not _step_aside(at_hand, error):
            raise
    del out
    previous = at_hand[CALL].previous
    out = func(*args, **kwargs) if previous is None else previous(func, *args, **kwargs)
    return out if _fits(promised, tensors, out) else _as_promised(promised, tensors, out)


@_attention.register_fake
def _(tensors, call, numbers):
    shape, by_heads = output_layout(*_calls[call].filled(tensors))
    if by_heads:
        batch, heads, length, dim = shape
        return tensors[0].new_empty(batch, length, heads, dim).transpose(1, 2)
    return tensors[0].new_empty(shape)


_operator = _attention._opoverload


class OtherShapeError(RuntimeError):
    """A graph cannot go on with what another override returned."""


def _as_promised(
    promised: tuple[list[int], bool], tensors: list[torch.Tensor], out: torch.Tensor
) -> torch.Tensor:
    """`out` in the layout that the graph was promised, in memory of its own."""
    shape, by_heads = promised
    if list(out.shape) != shape:
        raise OtherShapeError(
            f"an attention override returned {list(out.shape)}, a compiled model expects {shape}. "
            "Fix: remove the compile node, or the node that sets this override"
        )
    if _fits(promised, tensors, out):
        return out
    copy = (out.transpose(1, 2) if by_heads else out).to(tensors[0].dtype)
    copy = copy.clone(memory_format=torch.contiguous_format)
    return copy.transpose(1, 2) if by_heads else copy


def _fits(promised: tuple[list[int], bool], tensors: list[torch.Tensor], out: torch.Tensor) -> bool:
    shape, by_heads = promised
    if list(out.shape) != shape or out.dtype != tensors[0].dtype:
        return False
    memory = out.untyped_storage().data_ptr()
    if any(memory == x.untyped_storage().data_ptr() for x in tensors):
        return False  # an operator's output is no part of an input
    return (out.transpose(1, 2) if by_heads else out).is_contiguous()


def _step_aside(options: dict[str, Any], error: Exception) -> bool:
    """Whether there is a run of PSA's to step aside."""
    run = getattr(options.get(CALL), "run", None)
    if run is None:
        log.warning("PSA cannot serve a compiled model's attention call: %s", one_line(error))
        return False
    run.step_aside(error)
    return True


def _options_at_hand() -> dict[str, Any]:
    """The transformer options that the running graph was called with.

    Some models hand their blocks a copy with more in it. A block that is compiled alone gets its
    number so, and one graph serves all blocks: the copy is found where it was handed over.
    """
    ours = _current.options
    if ours is None:
        return {}
    frame = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("transformer_options")
        if type(found) is dict and found.get(CALL) is ours[CALL]:
            return found
        frame = frame.f_back
    return ours


def _note(context: Any) -> None:
    """While tracing, in place of a call: reads the call that `served` is asked to serve."""
    _current.noted = None
    try:
        traced = read(context, served, replayable=bool(UNGRAPHED))
    except Exception as error:  # another torch may keep its traces otherwise
        if (why := one_line(error)) not in _said:
            _said.add(why)
            log.info("PSA splits the compiled model at its attention, which is slower: %s", why)
        return
    _calls[traced.text] = _current.noted = traced


@torch.compiler.assume_constant_result
def _noted() -> str:
    return "" if _current.noted is None else _current.noted.text


@torch.compiler.assume_constant_result
def _noted_computed() -> tuple[str, ...]:
    return _current.noted.computed
