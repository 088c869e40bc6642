"""What ComfyUI's samplers say about their steps: the noise that they add, and a callback."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ...psa_engines.core.current_step import MOST_CHURN


def known_churn(sampler: Any, sigmas: Sequence[float]) -> float:
    """The factor by which one of ComfyUI's samplers raises the sigma of a step."""
    churn = (getattr(sampler, "extra_options", None) or {}).get("s_churn", 0.0)
    if not isinstance(churn, int | float) or not churn > 0.0:
        return 1.0
    return 1.0 + min(churn / max(1, len(sigmas) - 1), MOST_CHURN - 1.0)


def with_listener(
    sample: Callable, args: tuple, kwargs: dict, listener: Callable[[int], None]
) -> tuple[tuple, dict]:
    """The arguments of `sample`, its callback one that tells `listener` of each step as well."""
    names = list(inspect.signature(sample).parameters)
    if "callback" not in names:
        return args, kwargs
    place = names.index("callback")
    theirs = args[place] if place < len(args) else kwargs.get("callback")

    def callback(step: int, *rest: Any, **more: Any) -> Any:
        listener(step)
        return theirs(step, *rest, **more) if theirs is not None else None

    if place < len(args):
        return (*args[:place], callback, *args[place + 1 :]), kwargs
    return args, {**kwargs, "callback": callback}
