"""The attention calls of a model that torch.compile traces: each is one operator of its graph.

The operator decides, runs and counts when the graph runs. A trace that looked into PSA would freeze
what the first step decided; one that broke off there would compile every layer alone. What a trace
tells of a call goes into the graph as a text: the function asked, the arguments that are no
tensors, what the model's own code put into its transformer options on the way to this layer. All
else is looked up when the operator runs, and nothing that changes from step to step is guarded.

Importing this loads torch._dynamo, which takes seconds: only processes that compile have it.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._dynamo.comptime import comptime

from .attention_call import POSITIONS
from .compiled_models import OVERRIDE
from .faults import one_line

log = logging.getLogger("PSA")

# In transformer options: what serves the attention calls of this model call.
CALL = "psa_call"

_CONSTANTS = (bool, int, float, str, type(None), torch.dtype)


@dataclass(frozen=True)
class _Tensor:
    """Of arguments, the place of a tensor among those of the call."""

    place: int


@dataclass(frozen=True)
class _Sizes:
    """Of published values, integers that the graph computes: how many, as which type."""

    kind: type
    count: int


@dataclass(frozen=True)
class TracedCall:
    """What a trace knows of an attention call.

    func       the attention that the model asked for
    args, kwargs  of the call, with a `_Tensor` for each tensor, without the transformer options
    published  what the traced code itself put into the transformer options
    """

    func: Callable
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    published: dict[str, Any]

    @property
    def text(self) -> str:
        """Names the call; the same in every process, as graphs may be kept on the disk."""
        func = f"{self.func.__module__}.{self.func.__qualname__}"
        return repr((func, self.args, self.kwargs, self.published))

    @property
    def computed(self) -> tuple[str, ...]:
        """Names of published values that the graph hands to the operator."""
        return tuple(name for name, value in self.published.items() if isinstance(value, _Sizes))

    def filled(self, tensors: list[torch.Tensor]) -> tuple[tuple, dict[str, Any]]:
        def fill(value: Any) -> Any:
            return tensors[value.place] if isinstance(value, _Tensor) else value

        return tuple(map(fill, self.args)), {k: fill(x) for k, x in self.kwargs.items()}

    def options(self, at_hand: dict[str, Any], numbers: list[int]) -> dict[str, Any]:
        """The transformer options as they are at this layer."""
        rest = iter(numbers)
        published = {}
        for name, value in self.published.items():
            if isinstance(value, _Sizes):
                ints = [next(rest) for _ in range(value.count)]
                value = ints[0] if value.kind is int else value.kind(ints)
            published[name] = value
        return {**at_hand, **published}

    def stated(self, tensors: list[torch.Tensor]) -> tuple[list[Any], bool]:
        """(shape of the output, whether it is `[B, H, L, D]`); that one lies in memory as
        `[B, L, H, D]`."""
        args, kwargs = self.filled(tensors)
        named = dict(zip(POSITIONS, args, strict=False)) | kwargs
        q, v, heads = named["q"], named["v"], named["heads"]
        length = q.shape[2] if named.get("skip_reshape") else q.shape[1]
        if v.dim() == 4:
            dim = v.shape[-1]
        elif named.get("enable_gqa"):
            dim = q.shape[-1] // heads
        else:
            dim = v.shape[-1] // heads
        if named.get("skip_output_reshape"):
            return [q.shape[0], heads, length, dim], True
        return [q.shape[0], length, heads * dim], False


# By their texts. They hold no tensors and nothing of a run.
_calls: dict[str, TracedCall] = {}


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
_TAGS = {"tags": (torch.Tag.cudagraph_unsafe,)} if hasattr(torch.Tag, "cudagraph_unsafe") else {}


@torch.library.custom_op(
    f"comfyui_psa_{_COPY}::attention", mutates_args=(),
    schema="(Tensor[] tensors, str call, SymInt[] numbers) -> Tensor", **_TAGS,
)  # fmt: skip
def _attention(tensors: list[torch.Tensor], call: str, numbers: list[int]) -> torch.Tensor:
    traced = _calls[call]
    args, kwargs = traced.filled(tensors)
    at_hand = _options_at_hand()
    kwargs["transformer_options"] = traced.options(at_hand, numbers)
    # Another override may lie over PSA's by now: compile nodes may leave that unguarded.
    override = at_hand.get(OVERRIDE)
    if override is None:  # a graph that runs outside of a run: dense is never wrong
        out = traced.func(*args, **kwargs)
    else:
        out = override(traced.func, *args, **kwargs)
    return _as_stated(out, traced, tensors)


@_attention.register_fake
def _(tensors, call, numbers):
    shape, by_heads = _calls[call].stated(tensors)
    if by_heads:
        batch, heads, length, dim = shape
        return tensors[0].new_empty(batch, length, heads, dim).transpose(1, 2)
    return tensors[0].new_empty(shape)


_operator = _attention._opoverload


def _as_stated(
    out: torch.Tensor, traced: TracedCall, tensors: list[torch.Tensor]
) -> torch.Tensor:
    """`out` as the graph was told that it is, in memory of its own."""
    shape, by_heads = traced.stated(tensors)
    if list(out.shape) != shape:
        raise RuntimeError(
            f"an attention override returned {list(out.shape)}, a compiled model expects {shape}. "
            "Fix: take the compile node off, or the node that brings this override"
        )
    out = out.to(tensors[0].dtype)
    if by_heads:
        out = out.transpose(1, 2).contiguous().transpose(1, 2)
    else:
        out = out.contiguous()
    memory = out.untyped_storage().data_ptr()
    if any(memory == x.untyped_storage().data_ptr() for x in tensors):
        return out.clone()  # an operator's output is no part of an input
    return out


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
        traced = _read(context)
    except Exception as error:  # another torch may keep its traces otherwise
        log.debug("PSA's call breaks a compiled graph: %s", one_line(error))
        return
    _calls[traced.text] = _current.noted = traced


@torch.compiler.assume_constant_result
def _noted() -> str:
    return "" if _current.noted is None else _current.noted.text


@torch.compiler.assume_constant_result
def _noted_computed() -> tuple[str, ...]:
    return _current.noted.computed


class _Unreadable(Exception):
    """What a trace holds cannot be told in a text."""


def _read(context: Any) -> TracedCall:
    trace = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    compiler = trace.output.compiler_fn
    config = getattr(compiler, "config", None) or {}
    replayed = config.get("triton.cudagraphs") and not _TAGS
    if replayed or getattr(compiler, "compiler_name", None) == "cudagraphs":
        raise _Unreadable("a CUDA graph would be replayed without asking PSA")

    def local(name: str) -> Any:
        return _seen(context.get_local(name)._i_will_not_complain_if_bc_breaks_VariableTracker())

    places = iter(range(1000))

    def argument(value: Any) -> Any:
        value = _seen(value)
        return _Tensor(next(places)) if _is_tensor(value) else _constant(value)

    func = local("func").get_function()
    if func.__closure__ is not None:
        raise _Unreadable("an attention function that is made while the model runs")
    args = tuple(argument(x) for x in local("args").items)
    kwargs = _items(local("kwargs"))
    options = _seen(kwargs.pop("transformer_options"))
    if _seen(_items(options)[OVERRIDE]).get_function() is not served:
        raise _Unreadable("an override over PSA's, which may be another one in the next run")
    traced = TracedCall(
        func, args, {name: argument(x) for name, x in kwargs.items()}, _published(options)
    )
    named = dict(zip(POSITIONS, args, strict=False)) | traced.kwargs
    if not all(isinstance(named.get(name), _Tensor) for name in ("q", "k", "v")):
        raise _Unreadable("a call without q, k and v")
    if type(named.get("heads")) is not int:
        raise _Unreadable("a call without heads")
    return traced


def _published(options: Any) -> dict[str, Any]:
    """What traced code put into the transformer options.

    The others come as they are when the graph runs: reading them here would guard them.
    """
    published = {}
    for name, value in _items(options).items():
        if _untouched(name, value):
            continue
        value = _seen(value)
        try:
            published[name] = _constant(value)
        except _Unreadable:
            sizes = _sizes(value)
            if sizes is not None:
                published[name] = sizes
            # Tensors and objects are left out: PSA needs none, nor does an attention function.
    return published


def _untouched(name: str, value: Any) -> bool:
    source = getattr(value, "source", None)
    return source is not None and getattr(source, "index", None) == name


def _items(mapping: Any) -> dict[str, Any]:
    """Of a traced dict, by name."""
    return {key.vt.as_python_constant(): value for key, value in mapping.items.items()}


def _seen(value: Any) -> Any:
    """Traced values are read when they are first used."""
    return value.realize()


def _is_tensor(value: Any) -> bool:
    return type(value).__name__ == "TensorVariable"


def _constant(value: Any) -> Any:
    try:
        constant = value.as_python_constant()
    except Exception as error:  # NotImplementedError, in newer versions another
        raise _Unreadable("an argument that is no constant") from error
    if not _is_constant(constant):
        raise _Unreadable(f"an argument of type {type(constant).__name__}")
    return constant


def _is_constant(value: Any) -> bool:
    if type(value) in (tuple, list, torch.Size):
        return all(map(_is_constant, value))
    return isinstance(value, _CONSTANTS)


def _sizes(value: Any) -> _Sizes | None:
    """Of integers that depend on the sizes of the graph's inputs."""
    if _is_integer(value):
        return _Sizes(int, 1)
    kind = value.python_type()
    if kind in (tuple, list) and all(_is_integer(_seen(x)) for x in value.items):
        return _Sizes(kind, len(value.items))
    return None


def _is_integer(value: Any) -> bool:
    if type(value).__name__ == "SymNodeVariable":
        return value.python_type() is int
    return value.is_python_constant() and type(value.as_python_constant()) is int
