"""What a trace of torch.compile knows of an attention call, and how it is read from the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .attention_call import POSITIONS
from .option_names import OVERRIDE, PREFERRED

_CONSTANTS = (bool, int, float, str, type(None), torch.dtype)


@dataclass(frozen=True)
class _Tensor:
    """Stands for a tensor: its place among the call's tensors."""

    place: int


@dataclass(frozen=True)
class _Sizes:
    """Stands for published integers that the graph computes: how many, in which type."""

    kind: type
    count: int


@dataclass(frozen=True)
class TracedCall:
    """What a trace knows of an attention call.

    func       the attention that the model asked for
    preferred  the layer's own choice in place of it, if any: see `layer_choice`
    args, kwargs  of the call, with a `_Tensor` for each tensor, without the transformer options
    published  what the traced code itself put into the transformer options
    """

    func: Callable
    preferred: Callable | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    published: dict[str, Any]

    @property
    def text(self) -> str:
        """Names the call; the same in every process, as graphs may be kept on the disk."""
        names = [f and f"{f.__module__}.{f.__qualname__}" for f in (self.func, self.preferred)]
        return repr((names, self.args, self.kwargs, self.published))

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


def output_layout(args: tuple, kwargs: dict[str, Any]) -> tuple[list[Any], bool]:
    """(shape of the output, whether it is `[B, H, L, D]`) of a call with these arguments; that one
    lies in memory as `[B, L, H, D]`."""
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


class UnreadableError(Exception):
    """What a trace holds cannot be written as a text."""


def read(context: Any, served: Callable, replayable: bool) -> TracedCall:
    """The call that `served`, an override which is being traced, is asked to serve.

    context     torch's `ComptimeContext` in `served`
    replayable  whether a CUDA graph of Inductor's leaves out what must run anew
    Raises what torch does where its traces are kept otherwise, and `UnreadableError`.
    """
    trace = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    compiler = trace.output.compiler_fn
    config = getattr(compiler, "config", None) or {}
    replayed = config.get("triton.cudagraphs") and not replayable
    if replayed or getattr(compiler, "compiler_name", None) == "cudagraphs":
        raise UnreadableError("a CUDA graph would be replayed without asking PSA")

    def local(name: str) -> Any:
        return _seen(context.get_local(name)._i_will_not_complain_if_bc_breaks_VariableTracker())

    places = iter(range(1000))

    def argument(value: Any) -> Any:
        value = _seen(value)
        return _Tensor(next(places)) if _is_tensor(value) else _constant(value)

    func = local("func").get_function()
    if func.__closure__ is not None:
        raise UnreadableError("an attention function that is made while the model runs")
    args = tuple(argument(x) for x in local("args").items)
    kwargs = _items(local("kwargs"))
    options = _seen(kwargs.pop("transformer_options"))
    if _seen(_items(options)[OVERRIDE]).get_function() is not served:
        raise UnreadableError("an override over PSA's, which may be another one in the next run")
    kwargs = {name: argument(x) for name, x in kwargs.items()}
    traced = TracedCall(func, _preferred(context), args, kwargs, _published(options))
    named = dict(zip(POSITIONS, args, strict=False)) | traced.kwargs
    if not all(isinstance(named.get(name), _Tensor) for name in ("q", "k", "v")):
        raise UnreadableError("a call without q, k and v")
    if type(named.get("heads")) is not int:
        raise UnreadableError("a call without heads")
    return traced


def _preferred(context: Any) -> Callable | None:
    try:
        module = context.get_local(PREFERRED, stacklevel=1)
    except KeyError:
        return None
    module = _seen(module._i_will_not_complain_if_bc_breaks_VariableTracker())
    if module.is_python_constant() and module.as_python_constant() is None:
        return None
    return module.value.function


def _published(options: Any) -> dict[str, Any]:
    """What traced code put into the transformer options.

    All other options are looked up when the graph runs: reading them here would guard them.
    """
    published = {}
    for name, value in _items(options).items():
        if _untouched(name, value):
            continue
        value = _seen(value)
        try:
            published[name] = _constant(value)
        except UnreadableError:
            sizes = _sizes(value)
            if sizes is not None:
                published[name] = sizes
            # Tensors and objects are left out: PSA needs none, nor does an attention function.
    return published


def _untouched(name: str, value: Any) -> bool:
    source = getattr(value, "source", None)
    return source is not None and getattr(source, "index", None) == name


def _items(mapping: Any) -> dict[str, Any]:
    """What a traced dict holds, by name."""
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
        raise UnreadableError("an argument that is not constant") from error
    if not _is_constant(constant):
        raise UnreadableError(f"an argument of type {type(constant).__name__}")
    return constant


def _is_constant(value: Any) -> bool:
    if type(value) in (tuple, list, torch.Size):
        return all(map(_is_constant, value))
    return isinstance(value, _CONSTANTS)


def _sizes(value: Any) -> _Sizes | None:
    """For integers that depend on the sizes of the graph's inputs, else None."""
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
