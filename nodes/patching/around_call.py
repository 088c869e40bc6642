"""Around one call of the model: finds its step and its tokens, and serves its attention calls."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch

from ...psa_engines.core.faults import one_line
from ...psa_engines.core.token_grid import TokenGrid
from .bypass import look_for_bypass
from .compiled_models import traceable
from .faults import Interrupt
from .grids import ModelCall, contradictions, token_grid
from .option_names import OVERRIDE, RUN
from .override import AttentionOverride
from .recorded_models import LeftAlone, asked_each_time
from .run import Run

log = logging.getLogger("PSA")


def serve_model_call(executor: Any, *args: Any, **kwargs: Any) -> Any:
    call = WrappedCall(executor, args, kwargs)
    run = call.run
    if run is None or not run.schedule.steps:
        return executor(*args, **kwargs)
    override = call.override()
    run.compile_ahead(override.step)
    device = args[0].device if args and isinstance(args[0], torch.Tensor) else None
    run.recorder.model_call(override.step, device)
    out = call.made_with(override)
    if override.spoiled():
        # PSA has stepped aside by then: the same call again, dense, loses nothing. An override of
        # its own: this one has counted the blocks.
        run.repeated()
        out = call.made_with(call.override())
    run.recorder.model_call_ended(device)
    look_for_bypass(run, executor.class_obj, override)
    return out


class WrappedCall:
    """One call of the model, as the wrapper around it gets it; `run` is None outside of runs."""

    def __init__(self, executor: Any, args: tuple, kwargs: dict):
        self._executor, self._args, self._kwargs = executor, args, kwargs
        self._place, self.options = _transformer_options(args, kwargs)
        self.run: Run | None = self.options.get(RUN)

    def override(
        self, kind: type[AttentionOverride] = AttentionOverride, **more: Any
    ) -> AttentionOverride:
        """What serves the attention calls of this model call; none of them sparse if it is
        unreadable. `more` goes to `kind`."""
        run, options = self.run, self.options
        grid = step = key = None
        goes_on = False
        try:
            named = _by_name(self._executor.original, self._args, self._kwargs)
            # The noise level is the model's second argument as well.
            sigma = options["sigmas"] if options.get("sigmas") is not None else named["t"]
            # Waits for the GPU: samplers keep their sigmas there, and which step this is decides
            # what is launched next. After a sparse call nothing is left to wait for, see `spoiled`;
            # after a dense one the GPU stands still until the next kernels come
            # (benchmarks/NOTES.md, "Waits").
            step = run.current.of_call(float(sigma.max()))
            key = _key(options)
            goes_on = run.goes_on(key, sigma, options)
            grid = _token_grid(run, self._executor.class_obj, named)
        except Interrupt:
            raise
        except Exception as error:  # a call like none in the versions of ComfyUI that we know
            run.step_aside(error)
        previous = options.get(OVERRIDE)
        return kind(run, grid, step, key, previous=previous, goes_on=goes_on, **more)

    def made_without(self) -> Any:
        """The model's output without PSA; to what ComfyUI records the call is like any other."""
        return self.made_with(LeftAlone(self.options.get(OVERRIDE)))

    def made_with(self, override: Callable) -> Any:
        """The model's output with its attention calls served by `override`."""
        options = asked_each_time(self.options) if self.run.graphs else self.options
        # `own`: what lies deeper may put its own override over this one, into a dict of its own
        args, kwargs, place = self._args, self._kwargs, self._place
        with traceable(override, options) as own:
            if isinstance(place, int):
                return self._executor(*args[:place], own, *args[place + 1 :], **kwargs)
            return self._executor(*args, **{**kwargs, place: own})


def _by_name(function: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    """Arguments of a call by the names they have in this version of ComfyUI."""
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    rest = bound.pop("kwargs", {})
    return {**bound, **rest}


def _key(options: dict[str, Any]) -> Any:
    if options.get("context_window") is not None:
        return None
    return tuple(options.get("uuids") or ()), tuple(options.get("cond_or_uncond") or ())


def _transformer_options(args: tuple, kwargs: dict) -> tuple[int | str, dict[str, Any]]:
    """(where it is, the dict) of this call's transformer options, whatever their position."""
    for place, value in (*enumerate(args), *kwargs.items()):
        if isinstance(value, dict) and RUN in value:
            return place, value
    return 0, {}


def _token_grid(run: Run, base_model: Any, named: dict[str, Any]) -> TokenGrid | None:
    diffusion_model = base_model.diffusion_model
    # A compiled model is a wrapper around the one that the table of layouts knows.
    diffusion_model = getattr(diffusion_model, "_orig_mod", diffusion_model)
    call = ModelCall(diffusion_model, named["x"], named)
    try:
        grid = token_grid(call)
    except Interrupt:
        raise
    except Exception as error:  # a model whose attributes are not what the table expects
        if run.first_time("layout"):
            log.warning(
                "PSA cannot read this model's token layout (%s); it stays dense", one_line(error)
            )
        return None
    if grid is None and run.first_time("layout"):
        log.warning(
            "PSA does not know the token layout of %s; it stays dense",
            type(call.diffusion_model).__name__,
        )
    if grid is not None and run.grid is None:
        run.grid = grid.grid, grid.before + grid.after
    if grid is not None and run.first_time("family"):
        for line in contradictions(run.preset, grid, base_model.latent_format):
            log.warning("PSA preset %s: %s; the model's own is used", run.preset.label, line)
    return grid
