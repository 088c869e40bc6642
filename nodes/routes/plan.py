"""POST /psa/plan: which steps of a sampler run would be dense, and how dense the others, before it
is run."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import comfy.model_base
import comfy.samplers
import comfy.supported_models
from aiohttp import web

from ...psa_engines.core.schedule import Schedule
from ...psa_kernels.config import PSAConfig
from ..apply_psa import END, SCHEDULE_PERCENT, SCHEDULE_PRESET, START, window_of
from ..estimate.calls import calls_of_run
from ..estimate.density import USUAL, Tokens, density
from ..estimate.models import MODELS
from ..patching.known_schedules import OWN
from ..patching.planning import in_window, nothing_sparse, plan_run
from .bodies import Body, bad_request
from .drafts import take_draft
from .errors import Refusal
from .figures import dense_blocks_of, tokens_of, video_size
from .users import store_of

MOST_STEPS = 1000
SCHEDULER = "simple"


def schedulers() -> list[str]:
    """ComfyUI's schedulers that a plan can be made for, in its order."""
    return [name for name in comfy.samplers.SCHEDULER_NAMES if name in OWN]


def plan(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, body = store_of(request), Body(content)
    config = take_draft(body, store).config()
    family = body.take("family", str)
    steps = body.number("steps", int, 1, MOST_STEPS)
    scheduler = body.choice("scheduler", schedulers(), SCHEDULER)
    sampler = body.choice("sampler", comfy.samplers.SAMPLER_NAMES, "euler")
    denoise = body.number("denoise", float, 0.0, 1.0, 1.0)
    first = body.number("start_step", int, 0, 10_000, 0)
    last = body.number("end_step", int, 0, 10_000, None)
    shift = body.number("shift", float, 0.0, 100.0, None)
    window = _window(body)
    video, dense_blocks = video_size(body, None), dense_blocks_of(body)
    body.done()
    if steps > MOST_STEPS * denoise:
        least = f"at least {steps / MOST_STEPS:g} for {steps} steps"
        raise body.wrong("denoise", denoise, f"allowed: {least}")
    if shift == 0:  # which makes every sigma nothing
        raise body.wrong("shift", 0, "allowed: above 0 to 100")

    sampling = model_sampling(family, shift)
    # ComfyUI's own sampler makes the noise schedule; it asks its model for nothing else.
    model = SimpleNamespace(get_model_object=lambda name: sampling)
    try:
        sigmas = comfy.samplers.KSampler(model, steps, "cpu", sampler, scheduler, denoise).sigmas
        if not sigmas.isfinite().all():
            raise ValueError("it is not finite")
    except Exception as error:  # not every scheduler fits every model and number of steps
        what = f"scheduler: {scheduler} gives no schedule of {steps} steps for {family} ({error})"
        raise bad_request(what) from error
    sigmas = sigmas[: last + 1] if last is not None else sigmas
    sigmas = sigmas[first:]
    schedule = plan_run(sampling, sigmas.tolist(), config.warmup_steps, window, config.steps)
    tokens = USUAL if None in video else tokens_of(store.get_family(family), video)
    densities = _densities(schedule, in_window(config, window), dense_blocks, tokens, family)
    planned = schedule_json(schedule, first, config.type, densities)
    if not schedule.steps:
        given = [f"start_step {first}"] if first else []
        given += [f"end_step {last}"] if last is not None else []
        what = " and ".join(given) + (" leaves" if len(given) == 1 else " leave")
        planned["warning"] = f"{what} none of {steps} steps to sample"
    return {
        **planned,
        "schedule": {"name": scheduler, "shift": getattr(sampling, "shift", None)},
    }


def _densities(
    schedule: Schedule,
    config: PSAConfig,
    dense_blocks: frozenset[int],
    tokens: Tokens,
    family: str,
) -> list[float]:
    """For each step, the share of dense attention's query-key products."""
    model = MODELS.get(family)

    @functools.cache
    def of(range_: str | None) -> float:
        blocks = model.blocks if model else 0
        calls = calls_of_run(config.in_range(range_), blocks, dense_blocks=dense_blocks)
        return density(calls, tokens).value

    return [1.0 if step.dense else of(step.range) for step in schedule.steps]


def schedule_json(
    schedule: Schedule, first: int, kind: str, densities: Sequence[float]
) -> dict[str, Any]:
    """The plan as JSON; `first` steps come before its own, `kind` is the preset's type."""
    dense = "a dense preset" if kind == "dense" else None
    steps = [
        {
            "step": first + i + 1, "sigma": step.sigma,
            "dense": bool(dense or step.dense), "reason": dense or step.dense,
            "range": step.range, "density": 1.0 if dense else share,
        }
        for i, (step, share) in enumerate(zip(schedule.steps, densities, strict=True))
    ]  # fmt: skip
    ranges = Counter(step["range"] for step in steps if step["range"] and not step["dense"])
    return {
        "steps": steps,
        "text": f"{len(steps)} steps: dense, as the preset says" if dense else schedule.describe(),
        "sparse_steps": 0 if dense else schedule.sparse_steps,
        "ranges": dict(ranges),
        "density": sum(step["density"] for step in steps) / len(steps) if steps else None,
        "goes_on": schedule.goes_on,
        "warning": None if dense else nothing_sparse(schedule),
    }


def model_sampling(family: str, shift: float | None) -> Any:
    """The noise schedule of a family's model, as ComfyUI makes it. Raises `Refusal`."""
    model = MODELS.get(family)
    known = model and getattr(comfy.supported_models, model.comfy, None)
    kind = getattr(comfy.model_base.ModelType, model.kind, None) if model else None
    if known is None or kind is None:
        here = (name for name, m in MODELS.items() if hasattr(comfy.supported_models, m.comfy))
        what = f"the noise schedule of {family[:60]!r} is not known to this ComfyUI"
        raise Refusal(422, "unknown_model", f"{what}; known: " + ", ".join(here))
    settings = dict(known.sampling_settings)
    if shift is not None:
        if "shift" not in settings:
            raise bad_request(f"shift: {family} has none")
        settings["shift"] = shift
    stub = SimpleNamespace(sampling_settings=settings)
    return comfy.model_base.model_sampling(stub, kind)


def _window(body: Body) -> tuple[float, float] | None:
    schedule = body.choice("schedule", (SCHEDULE_PRESET, SCHEDULE_PERCENT), SCHEDULE_PRESET)
    start = body.number("start_percent", float, 0.0, 1.0, START)
    end = body.number("end_percent", float, 0.0, 1.0, END)
    try:
        return window_of(schedule, start, end)
    except ValueError as error:
        raise bad_request(str(error)) from None
