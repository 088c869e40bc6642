"""What one attention layer remembers from step to step of a sampling run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from .config import PSAConfig
from .layout import Layout
from .stages import Groups, Plan

CARRIED = ("SemanticAware", "Hybrid")  # orders whose centroids a state carries
# sparse steps at the start of a run that compute everything: the video still changes too much
FIRST_STEPS = 2


class OrderState:
    """Centroids of the semantic orders (section 1); groups of like keys and plans (section 3b).

    One object serves one attention layer in one run. It must not outlive the run, nor be shared by
    two layers or two conditions, whose tokens are unrelated.
    The first call with a fresh state depends on its inputs alone.

    room  asked with "groups" or "plan" and a number of bytes before either is kept for a later
          step; if it refuses, the next step computes it again
    """

    def __init__(self, room: Callable[[str, int], bool] = lambda name, size: True) -> None:
        self._room = room
        self._granted: dict[str, int] = {}
        self._centroids: dict[str, tuple[Layout, torch.Tensor]] = {}
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next call starts a new run."""
        self._centroids.clear()
        self._kept: dict[str, _Item] = {}
        self._step: int | None = None
        self._index = -1
        self._apart = self._next_apart = False

    def begin(self, step: int | None) -> None:
        """A call of sampling step `step` begins; None: of the step after the last call's.

        Dense steps, which have no call, age what is kept like any other step. Some samplers go back
        to an earlier step: that ages nothing.
        """
        if step is None or self._step is None:
            self._index += 1
            self._step = step
        elif step > self._step:
            self._index += step - self._step
            self._step = step
        self._apart, self._next_apart = self._next_apart, False

    def next_is_apart(self) -> None:
        """The next call has other tokens than those before it: it neither uses kept groups and
        plans nor leaves its own."""
        self._next_apart = True

    def centroids(
        self, name: str, layout: Layout, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        """The centroids kept for `name` ("q" or "k"), or None if there are none that fit.

        A call with another size, dtype or device cannot use the old ones and starts afresh.
        """
        made_for, kept = self._centroids.get(name, (None, None))
        if made_for != layout or (kept.dtype, kept.device) != (dtype, device):
            return None
        return kept

    def keep(self, name: str, layout: Layout, centroids: torch.Tensor) -> None:
        self._centroids[name] = layout, centroids

    def recall(self, name: str, what_for: Any, refresh: int) -> Any:
        """What was kept as `name`, for `what_for`, less than `refresh` steps ago, or None."""
        item = None if self._apart else self._kept.get(name)
        if item is None or item.what_for != what_for:
            return None
        return item.value if _serves(item.index, self._index, refresh) else None

    def remember(self, name: str, what_for: Any, value: Any, size: int) -> None:
        """Keeps `value` of `size` bytes, if there is room."""
        if self._apart:
            return
        self._kept.pop(name, None)
        # room granted once may be used again
        granted = self._granted.get(name, 0)
        if size <= granted or self._room(name, size - granted):
            self._granted[name] = max(size, granted)
            self._kept[name] = _Item(what_for, value, self._index)


def steps_anew(what_for: Sequence[Any], refresh: int) -> int:
    """In how many of a run's sparse steps, one after another, a layer makes something anew.

    what_for  of each step
    """
    made = []
    for step, this in enumerate(what_for):
        if not made or what_for[made[-1]] != this or not _serves(made[-1], step, refresh):
            made.append(step)
    return len(made)


def _serves(made: int, step: int, refresh: int) -> bool:
    """Whether what step `made` made serves `step`; both are counted from the first sparse one."""
    return step <= made + (0 if made < FIRST_STEPS - 1 else refresh - 1)


@dataclass(frozen=True)
class _Item:
    what_for: Any
    value: Any
    index: int


class Kept:
    """What one call takes from earlier steps and leaves for later ones."""

    def __init__(self, state: OrderState | None, made_by: tuple, layout: Layout, config: PSAConfig):
        self._state = state
        # places in blocks only mean something in the same token order, and sets are cut to the
        # smallest groups that are read
        self._of_groups = made_by, layout, config.order, config.tile_size, config.pooling_sizes[:1]
        self._of_plan = made_by, layout, config
        self.groups: Groups | None = None
        self.plans: list[Plan] | None = None
        if state is not None:
            self.groups = state.recall("groups", self._of_groups, config.refresh)
            plans = state.recall("plan", self._of_plan, config.refresh)
            self.plans = plans and list(plans)

    @classmethod
    def of(
        cls,
        state: OrderState | None,
        package: ModuleType,
        q: torch.Tensor,
        layout: Layout,
        config: PSAConfig,
    ) -> Kept:
        """Keeps nothing with grouping "order", refresh 1, semantic orders, or in a CUDA graph."""
        keeps = config.grouping == "similar" and config.refresh > 1
        if not keeps or config.order in CARRIED or captured(q.device):
            state = None
        # a plan belongs to the implementation that made it, and depends on the dtype; tensors made
        # in inference mode cannot be part of a gradient
        made_by = package, q.device, q.dtype, torch.is_inference_mode_enabled()
        return cls(state, made_by, layout, config)

    def keep_groups(self, groups: Groups) -> None:
        if self._state is not None:
            self._state.remember("groups", self._of_groups, groups, _bytes(groups))

    def keep_plans(self, plans: list[Plan]) -> None:
        if self._state is not None and self.plans is None:
            self._state.remember("plan", self._of_plan, plans, sum(map(_bytes, plans)))


def captured(device: torch.device) -> bool:
    """Whether the call becomes part of a CUDA graph, which would freeze what it keeps."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _bytes(value: Any) -> int:
    """Bytes of the tensors in a dataclass."""
    fields = (getattr(value, field.name) for field in dataclasses.fields(value))
    return sum(x.numel() * x.element_size() for x in fields if isinstance(x, torch.Tensor))
