"""PSA around the calls of one model: each is read before it, and made again where it gave NaN."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from .deciding import AttentionCalls
from .last_run import LastRun
from .uncompiled import uncompiled


class ModelCalls:
    """The hooks of one model. An engine derives its own, which says how a call is read.

    applied  whose runs the model's calls belong to
    serving  what the model's attention asks; its `calls` are those of the model call that lasts,
             None outside of one
    """

    def __init__(self, applied: LastRun, model: torch.nn.Module, serving: Any):
        self.applied, self.model, self.serving = applied, model, serving
        self._signature = inspect.signature(type(model).forward)
        self._hooks: list[Any] = []

    def __deepcopy__(self, memo: dict) -> ModelCalls:
        return self  # the hooks of a copied model find that it is not theirs

    def listen(self) -> None:
        """From now on the model's calls are PSA's."""
        self._hooks = [
            self.model.register_forward_pre_hook(self.before, with_kwargs=True),
            self.model.register_forward_hook(self.after, with_kwargs=True, always_call=True),
        ]

    def take_off(self) -> None:
        for hook in self._hooks:
            hook.remove()

    # --- what an engine says

    def check(self) -> None:
        """Raises what the user has to see before a call begins."""

    def begin(self, call: Mapping[str, Any]) -> AttentionCalls:
        """What serves the attention of a call with these arguments, by name.

        What it raises leaves the call dense.
        """
        raise NotImplementedError

    def ended(self, calls: AttentionCalls) -> None:
        """The call is over."""

    def spoiled(self, calls: AttentionCalls | None) -> bool:
        """Whether the call has to be made again, dense. None: it could not be read."""
        return calls is not None and calls.spoiled()

    def before_again(self, call: Mapping[str, Any]) -> None:
        """Undoes what the first try has left in the arguments."""

    # --- the hooks

    @uncompiled
    def before(self, model: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if model is not self.model:
            return
        self.serving.calls = None
        self.check()
        try:
            self.serving.calls = self.begin(self._named(args, kwargs))
        except Exception as error:  # a call like none in the version that we know
            self.applied.could_not_read(model, error)

    @uncompiled
    def after(self, model: torch.nn.Module, args: tuple, kwargs: dict, out: Any) -> Any:
        """The model's output; made again without PSA where that gave NaN or Inf."""
        if model is not self.model:
            return None
        calls = self.serving.calls
        try:
            if out is None or not self.spoiled(calls):
                return None
            # PSA has stepped aside by then: the same call again, dense, loses nothing
            if calls is not None:
                calls.run.repeated()
                self.serving.calls = calls.again()
            self.before_again(self._named(args, kwargs))
            return model.forward(*args, **kwargs)
        finally:
            self.serving.calls = None
            if calls is not None:
                self.ended(calls)

    def _named(self, args: tuple, kwargs: dict) -> Mapping[str, Any]:
        """What the model is called with, also what it passes on without knowing it."""
        return self._signature.bind(self.model, *args, **kwargs).arguments | kwargs
