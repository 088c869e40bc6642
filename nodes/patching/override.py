"""The attention override of one model call: decide, run, count.

It never raises for a call that the unpatched model would have served: it steps aside, with a
reason, to whatever attention was there before.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ...psa_engines.core.recording.records import CallShape
from ...psa_kernels import NoKernelsError, OrderState, PSAConfig, psa_attention
from ..recording.dense_call import DenseCall
from .attention_call import AttentionCall
from .faults import Interrupt
from .grids import TokenGrid
from .layer_choice import own_attention
from .recorded_models import IN_CUDA_GRAPH, in_cuda_graph, unrecorded
from .run import Run

log = logging.getLogger("PSA")

STEPPED_ASIDE = "PSA stepped aside"


@dataclass
class _Seen:
    """Of a call that is self-attention over the video: which block's, and who else could serve it.

    shape  None where PSA could not: its dense time says nothing of what PSA saves
    """

    block: int | None = None
    shape: CallShape | None = None
    redo: Callable[[], DenseCall] | None = None


class AttentionOverride:
    """Serves the attention calls of one call of the model.

    token_grid  the model's layout, None where unknown
    step        index of the sampler step, None where nothing tells which
    key         identifies the conditions of this model call across steps; None where the next
                step has no such call, since windows of a longer video move
    previous    the override that was on the model without PSA, if any
    goes_on     whether the call takes up the last one of its conditions, see `Run.goes_on`

    It has no `container_function`: newer versions of ComfyUI then empty their tensor containers for
    it. Served as containers, q, k and v could be freed early, and a call in which PSA fails would
    have nothing left for the model's own attention.
    """

    def __init__(
        self,
        run: Run,
        token_grid: TokenGrid | None,
        step: int | None,
        key: Any,
        previous: Callable | None,
        goes_on: bool = True,
    ):
        self.run = run
        self.token_grid = token_grid
        self.step = step
        self.key = key
        self.previous = previous
        self.goes_on = goes_on
        self.video_calls = itertools.count()
        self.in_blocks = False
        self.asked = self.video_seen = 0  # attention calls; those of the video's self-attention
        # (index, sum of the output) of each sparse call: NaN and Inf survive summing.
        self.sums: list[tuple[int, torch.Tensor]] = []

    @unrecorded
    def __call__(self, func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen = _Seen()
        self.asked += 1
        device = _device(args, kwargs)
        func = own_attention(func, self, kwargs.get("transformer_options"))
        try:
            if in_cuda_graph(device):
                self.run.met_cuda_graph()
                # events of a graph cannot be read
                out, reason, device = None, IN_CUDA_GRAPH, None
            else:
                out, reason = self._serve(seen, func, args, kwargs)
        except Interrupt:
            raise
        except Exception as error:
            self.run.step_aside(error)
            out, reason = None, STEPPED_ASIDE
        if out is not None:
            return out
        recorder = self.run.recorder
        begun = recorder.dense(self.step, seen.block, reason, seen.shape, device)
        if self.previous is not None:
            out = self.previous(func, *args, **kwargs)
        else:
            out = func(*args, **kwargs)
        recorder.dense_ended(begun)
        return out

    def _serve(
        self, seen: _Seen, func: Callable, args: tuple, kwargs: dict
    ) -> tuple[torch.Tensor | None, str]:
        """(output, "") of a call that PSA serves, (None, why) of one that stays dense."""
        call = AttentionCall.read(args, kwargs)
        reason = "unknown call signature" if call is None else self._layout_reason(call)
        if reason is not None:
            return None, reason
        # Only the model's own video self-attention calls count as blocks.
        self.in_blocks = True
        index = next(self.video_calls)
        self.video_seen += 1
        self.run.video_call(func, self.previous)
        published = call.block_index()
        seen.block = self.token_grid.block_of(index) if published is None else published
        unsupported = call.unsupported()
        if unsupported is None:
            seen.shape = call.shape()
        config = self.run.of_steps[self.step].for_block(seen.block)
        reason = self._choice_reason(seen.block, config) or unsupported
        self.run.live.tick(self.step, reason)
        if reason is not None:
            if unsupported is None:
                grid = self.token_grid.of_length(call.tokens[0])
                self.run.ahead.saw(call, grid, seen.block)
            return None, reason
        seen.redo = partial(DenseCall.of, func, self.previous, args, kwargs)
        return self._sparse(call, index, seen, config)

    def _layout_reason(self, call: AttentionCall) -> str | None:
        """Why this is not self-attention over video tokens that we know the place of, or None."""
        queries, keys = call.tokens
        grid = self.token_grid
        if queries != keys:
            if call.masked and grid is not None and keys == grid.length:
                # Some of the video's queries at a time, each part with a mask of its own.
                return "masked attention"
            return "cross-attention"
        if grid is None:
            return STEPPED_ASIDE if self.run.failure else "unknown token layout"
        main, grid = grid, grid.of_length(queries)
        # Refiners before a model's first block see as much as what is beside its main layout.
        if queries != grid.length or (grid is not main and not self.in_blocks):
            return "not the video's tokens"
        if queries in grid.other_lengths:
            return "video and text have the same length"
        if call.grid_sizes() not in (None, grid.published or grid.grid):
            return "unknown token layout"
        return None

    def _choice_reason(self, block: int, config: PSAConfig) -> str | None:
        """Why settings keep a call of this block dense, or None."""
        if self.run.failure:
            return STEPPED_ASIDE
        planned = self.run.schedule.steps[self.step].dense
        if planned:
            return planned
        grid = self.token_grid
        if grid.length - grid.before - grid.after < self.run.options.min_tokens:
            return "fewer than min_tokens"
        if block in self.run.options.dense_blocks or config.type == "dense":
            return "dense block"
        return None

    def _sparse(
        self, call: AttentionCall, index: int, seen: _Seen, config: PSAConfig
    ) -> tuple[torch.Tensor | None, str]:
        grid = self.token_grid.of_length(call.tokens[0])
        begun = self.run.recorder.begin(call.q.device)
        q, k, v = call.split_heads()
        try:
            out, stats = psa_attention(
                q, k, v,
                config=config,
                grid=grid.grid,
                extra_tokens=(grid.before, grid.after),
                scale=call.scale,
                return_stats=True,
                state=self._state(index, q.device),
                step=self.step,
                # On a GPU the reference would be slower than the dense attention it replaces.
                need_kernels=q.device.type != "cpu",
            )
        except NoKernelsError as error:
            if self.run.first_time(f"no kernels: {error}"):
                log.warning(
                    "PSA has no kernels for this call and leaves it dense, as others like it: %s. "
                    "PSA Self-test, a node, says how to get what is missing.", str(error),
                )  # fmt: skip
            return None, f"no kernels: {error}"
        if out.shape != (*q.shape[:-1], v.shape[-1]) or out.dtype != q.dtype:
            raise RuntimeError(
                f"PSA's output is {out.dtype} {tuple(out.shape)} for queries {q.dtype} "
                f"{tuple(q.shape)}"
            )
        joined = call.join_heads(out)
        # Read when the model call is over: reading a GPU result waits for it.
        self.sums.append((index, out.sum(dtype=torch.float32)))
        if self.run.preset.config.verbose:
            log.info(
                "step %d, call %d: sparse, density %.3f", self.step + 1, index, stats.density
            )
        # Last: a call that fails on its way here is counted as the dense one it becomes.
        self.run.recorder.sparse(self.step, seen.block, seen.shape, stats, begun, seen.redo)
        return joined, ""

    def _state(self, index: int, device: torch.device) -> OrderState | None:
        """What the calls of one layer and one set of conditions carry from step to step."""
        if not self.key:
            return None
        state = self.run.order_state((self.key, index), device)
        if not self.goes_on:
            state.next_is_apart()
        return state

    def spoiled(self) -> bool:
        """Whether a sparse call gave NaN or Inf; PSA then has stepped aside. Asked at the end.

        Waits for the GPU, once a model call, which nothing can spare: once the sampler has used
        an output, its call cannot be made again. No difference in time was found (NOTES, "Waits").
        """
        sums, self.sums = self.sums, []
        if not sums:
            return False
        try:
            finite = torch.stack([total for _, total in sums]).isfinite().tolist()
            bad = [index for (index, _), good in zip(sums, finite, strict=True) if not good]
            if bad:
                where = f"NaN or Inf in the output of attention call {bad[0]}"
                raise FloatingPointError(where)
        except Interrupt:
            raise
        except Exception as error:  # or the outputs cannot be told: the dense ones can be trusted
            self.run.step_aside(error)
            return True
        return False


def _device(args: tuple, kwargs: dict) -> torch.device | None:
    """Where a call runs, whatever its signature."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            return value.device
    return None
