"""Whose code took the place of a model's own, where attention calls do not reach PSA.

Packs replace a model's `forward`, a part of it, or its class; theirs then asks for attention
without ComfyUI's override. That shows at the first model call.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn

from ...psa_engines.core.faults import one_line
from .override import AttentionOverride
from .run import Run

log = logging.getLogger("PSA")

# Code of these is the model's own, however it is put together.
_OWN = {"comfy", "comfy_api", "comfy_extras", "torch", "builtins", "functools", "types"}
# What of torch's classes a call goes through; libraries add methods of their own to them.
_CALLED = {"__call__", "_call_impl", "_wrapped_call_impl", "forward"}
_MOST = 3  # that are named


def look_for_bypass(run: Run, base_model: Any, override: AttentionOverride) -> None:
    """Called after each model call, with the override that served it; looks at a run's first."""
    if not run.first_time("bypass"):
        return
    try:
        if run.failure or (override.asked and (override.video_seen or override.token_grid is None)):
            return  # said elsewhere, or served
        found = sorted(set(replaced(base_model.diffusion_model)))
        if override.asked and not found:
            return  # the calls have their reasons, which the summary names
        if override.asked:
            what = (
                f"none of the first model call's {override.asked} attention calls that PSA saw is "
                "self-attention over the video"
            )
        else:
            what = "the first model call's attention did not ask ComfyUI's override"
        more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
        run.bypassed = ", ".join(found[:_MOST]) + more
        if found:
            why = f"another pack replaced the model's own: {run.bypassed}. Fix: remove its node"
        else:
            run.bypassed = "the model's own attention, or another patch"
            why = "this model's own attention, or another patch on it, does not ask it"
        log.warning(
            "PSA %s: %s, so nothing will be sparse; %s. The plan was %s",
            run.preset.label, what, why, run.schedule.describe(),
        )  # fmt: skip
    except Exception as error:  # only a warning is lost
        log.warning("PSA cannot tell what bypasses it (%s)", one_line(error))


def replaced(diffusion_model: nn.Module) -> Iterator[str]:
    """What is not ComfyUI's code, like "WanModel.forward_orig is theirs from custom_nodes/Pack".

    Layers without layers inside do not count (other packs quantise them), nor does the code of a
    model that a pack brings itself.
    """
    root = getattr(diffusion_model, "_orig_mod", diffusion_model)  # in a compiled model
    brought = None if _own(home := type(root).__module__) else _folder(home)
    looked = set()
    for module in diffusion_model.modules():
        if next(module.children(), None) is None:
            continue
        kind = type(module)
        for name, value in vars(module).items():
            # hasattr: what shadows a method; submodules and buffers are kept elsewhere
            if callable(value) and callable(getattr(kind, name, None)):
                yield from _foreign(f"{kind.__name__}.{name}", value, brought)
        if kind in looked:
            continue
        looked.add(kind)
        if not _own(kind.__module__):
            if brought:
                continue
            yield f"{kind.__name__} is from {_pack(kind.__module__)}"
            continue
        for base in kind.__mro__:
            of_torch = base.__module__.partition(".")[0] == "torch"
            for name, value in vars(base).items() if _own(base.__module__) else ():
                if inspect.isfunction(value) and (name in _CALLED or not of_torch):
                    yield from _foreign(f"{base.__name__}.{name}", value, brought)
        attention = getattr(sys.modules.get(kind.__module__), "optimized_attention", None)
        if callable(attention):
            yield from _foreign(f"{kind.__module__}.optimized_attention", attention, brought)


def _foreign(place: str, value: Any, brought: str | None) -> Iterator[str]:
    function = value
    while isinstance(function, partial) or inspect.ismethod(function):
        function = function.func if isinstance(function, partial) else function.__func__
    if not hasattr(function, "__qualname__"):
        function = type(function)
    module = getattr(function, "__module__", None) or ""
    if not _own(module) and _folder(module) != brought:
        yield f"{place} is {function.__qualname__} from {_pack(module)}"


def _own(module: str) -> bool:
    return module.partition(".")[0] in _OWN


def _folder(module: str) -> str:
    return _pack(module).partition(".")[0]


def _pack(module: str) -> str:
    # ComfyUI names a pack's modules by its folder's path
    _, found, after = module.replace("\\", "/").rpartition("custom_nodes/")
    return (found + after if found else module).replace("_x_", ".") or "an unknown module"
