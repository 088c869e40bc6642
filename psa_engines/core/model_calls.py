"""PSA around the calls of one model: it reads each beforehand, and repeats one that gave NaN."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from .deciding import AttentionCalls
from .last_run import LastRun
from .preset_value import PresetValue
from .uncompiled import uncompiled


class OnModels(LastRun):
    """The runs of one `apply_psa`, which hooks the calls of one model or several."""

    def __init__(self, preset: PresetValue, note: str | None):
        super().__init__(preset, note)
        self._models: list[ModelCalls] = []

    def __deepcopy__(self, memo: dict) -> OnModels:
        return self  # a copied model takes no part in the runs

    def take_off(self) -> None:
        """Undoes what was done to the models, and logs what the last run did."""
        for on_model in self._models:
            on_model.take_off()
        self._models.clear()
        self.end()


class ModelCalls:
    """The hooks of one model. An engine derives a class of its own, which reads the calls.

    applied  has the runs that the model's calls belong to
    serving  what the model's attention asks; its `calls` are those of the current call of the
             model, None outside of one
    """

    def __init__(self, applied: LastRun, model: torch.nn.Module, serving: Any):
        self.applied, self.model, self.serving = applied, model, serving
        self._signature = inspect.signature(type(model).forward)
        self._hooks: list[Any] = []

    def __deepcopy__(self, memo: dict) -> ModelCalls:
        return self  # a copied model has the same hooks, which ignore it

    def listen(self) -> None:
        """Hooks the model's calls."""
        self._hooks = [
            self.model.register_forward_pre_hook(self.before, with_kwargs=True),
            self.model.register_forward_hook(self.after, with_kwargs=True, always_call=True),
        ]

    def take_off(self) -> None:
        for hook in self._hooks:
            hook.remove()

    # --- what an engine defines

    def check(self) -> None:
        """Raises errors that the user has to see before a call begins."""

    def begin(self, call: Mapping[str, Any]) -> AttentionCalls:
        """What serves the attention of a call with these named arguments.

        If this raises, the call stays dense.
        """
        raise NotImplementedError

    def ended(self, calls: AttentionCalls) -> None:
        """The call is over."""

    def spoiled(self, calls: AttentionCalls | None) -> bool:
        """Whether the call has to be repeated, dense. None: it could not be read."""
        return calls is not None and calls.spoiled()

    def before_again(self, call: Mapping[str, Any]) -> None:
        """Undoes what the first try did to the arguments."""

    # --- the hooks

    @uncompiled
    def before(self, model: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if model is not self.model:
            return
        self.serving.calls = None
        self.check()
        try:
            self.serving.calls = self.begin(self._named(args, kwargs))
        except Exception as error:  # a call that is unlike those of the known versions
            self.applied.could_not_read(model, error)

    @uncompiled
    def after(self, model: torch.nn.Module, args: tuple, kwargs: dict, out: Any) -> Any:
        """Replaces the model's output if PSA gave NaN or Inf."""
        if model is not self.model:
            return None
        calls = self.serving.calls
        try:
            if out is None or not self.spoiled(calls):
                return None
            # PSA has stepped aside: the same call, dense, loses nothing
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
        """What the model is called with, including what it only passes on."""
        return self._signature.bind(self.model, *args, **kwargs).arguments | kwargs
