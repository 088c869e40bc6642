"""The attention calls of one model call: each is decided on, served or left dense, and counted.

Nothing here raises for a call that the model would have served without PSA: it stays dense, with a
reason.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import torch

from ..ground import NoKernelsError, OrderState, PSAConfig, psa_attention
from .attention_call import AttentionCall
from .recording.records import CallShape
from .run import Run
from .token_grid import TokenGrid

log = logging.getLogger("PSA")

STEPPED_ASIDE = "PSA stepped aside"
UNKNOWN_STEP = "unknown step"


class Asked:
    """One attention call on its way, as a host has it; a host derives its own.

    device  where it runs, None where it is not to be timed
    block   found by the core: the transformer block, None for what is not self-attention over the
            video
    shape   found by the core, None where PSA could not serve such a call: its dense time says
            nothing of what PSA saves
    layer   tells this layer from the others in every step; None: that it is the n-th of the calls
    redo    gives what would serve one like it densely, for timing after the run; None: it is not
            timed
    """

    device: torch.device | None = None
    block: int | None = None
    shape: CallShape | None = None
    layer: Any = None
    redo: Callable[[], Any] | None = None

    def read(self) -> AttentionCall | str:
        """The call, or why it stays dense."""
        raise NotImplementedError

    def dense(self) -> torch.Tensor:
        """What the model gets without PSA."""
        raise NotImplementedError

    def met_video(self) -> None:
        """It is self-attention over the video."""

    def left_dense(self, call: AttentionCall, grid: TokenGrid) -> None:
        """It stays dense, though PSA could serve it: one like it may be sparse in a later step."""


class AttentionCalls:
    """Serves the attention calls of one call of the model.

    token_grid  the model's layout, None where unknown
    step        index of the sampler step, None where nothing tells which
    key         identifies the conditions of this model call across steps; None where the next
                step has no such call, since windows of a longer video move
    goes_on     whether the call takes up the last one of its conditions, see `Run.goes_on`
    """

    def __init__(
        self, run: Run, token_grid: TokenGrid | None, step: int | None, key: Any,
        goes_on: bool = True,
    ):  # fmt: skip
        self.run = run
        self.token_grid = token_grid
        self.step = step
        self.key = key
        self.goes_on = goes_on
        self.video_calls = itertools.count()
        self.in_blocks = False
        self.asked = self.video_seen = 0  # attention calls; those of the video's self-attention
        # (index, sum of the output) of each sparse call: NaN and Inf survive summing.
        self.sums: list[tuple[int, torch.Tensor]] = []

    def attend(self, asked: Asked) -> torch.Tensor:
        """The output of a call: PSA's where it serves it, else the dense one."""
        self.asked += 1
        try:
            call = asked.read()
            out, reason = (None, call) if isinstance(call, str) else self._serve(call, asked)
        except self.run.host.stops:
            raise
        except Exception as error:
            self.run.step_aside(error)
            out, reason = None, STEPPED_ASIDE
        if out is not None:
            return out
        recorder = self.run.recorder
        begun = recorder.dense(self.step, asked.block, reason, asked.shape, asked.device)
        out = asked.dense()
        recorder.dense_ended(begun)
        return out

    def _serve(self, call: AttentionCall, asked: Asked) -> tuple[torch.Tensor | None, str]:
        """(output, "") of a call that PSA serves, (None, why) of one that stays dense."""
        reason = self._layout_reason(call)
        if reason is not None:
            return None, reason
        # Only the model's own video self-attention calls count as blocks.
        self.in_blocks = True
        index = next(self.video_calls)
        self.video_seen += 1
        asked.met_video()
        published = call.block_index()
        asked.block = self.token_grid.block_of(index) if published is None else published
        unsupported = call.unsupported()
        if unsupported is None:
            asked.shape = call.shape()
        if self.step is None:
            return None, STEPPED_ASIDE if self.run.failure else UNKNOWN_STEP
        config = self.run.of_steps[self.step].for_block(asked.block)
        reason = self._choice_reason(asked.block, config) or unsupported
        self.run.live.tick(self.step, reason)
        if reason is not None:
            if unsupported is None:
                asked.left_dense(call, self.token_grid.of_length(call.tokens[0]))
            return None, reason
        return self._sparse(call, index, asked, config)

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
        if grid.length - grid.before - grid.after < self.run.min_tokens:
            return "fewer than min_tokens"
        if block in self.run.dense_blocks or config.type == "dense":
            return "dense block"
        return None

    def _sparse(
        self, call: AttentionCall, index: int, asked: Asked, config: PSAConfig
    ) -> tuple[torch.Tensor | None, str]:
        grid = self.token_grid.of_length(call.tokens[0])
        q, k, v = call.split_heads()
        begun = self.run.recorder.begin(q.device)
        layer = index if asked.layer is None else asked.layer
        try:
            out, stats = psa_attention(
                q,
                k,
                v,
                config=config,
                grid=grid.grid,
                extra_tokens=(grid.before, grid.after),
                causal=call.causal,
                scale=call.scale,
                return_stats=True,
                state=self._state(layer, q.device),
                step=self.step,
                # On a GPU the reference would be slower than the dense attention it replaces.
                need_kernels=q.device.type != "cpu",
            )
        except NoKernelsError as error:
            if self.run.first_time(f"no kernels: {error}"):
                log.warning(
                    "PSA has no kernels for calls like this one and leaves them dense: %s. "
                    "%s says how to get what is missing.", str(error), self.run.host.self_test,
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
            log.info("step %d, call %d: sparse, density %.3f", self.step + 1, index, stats.density)
        # Last: a call that fails on its way here is counted as the dense one it becomes.
        self.run.recorder.sparse(self.step, asked.block, asked.shape, stats, begun, asked.redo)
        return joined, ""

    def _state(self, layer: Any, device: torch.device) -> OrderState | None:
        """What the calls of one layer and one set of conditions carry from step to step."""
        if not self.key:
            return None
        state = self.run.order_state((self.key, layer), device)
        if not self.goes_on:
            state.next_is_apart()
        return state

    def again(self) -> AttentionCalls:
        """For the same call of the model, made once more."""
        return AttentionCalls(self.run, self.token_grid, self.step, self.key, self.goes_on)

    def spoiled(self) -> bool:
        """Whether a sparse call gave NaN or Inf; PSA then has stepped aside. Asked at the end.

        Waits for the GPU, once a model call, which nothing can spare: once the sampler has used
        an output, its call cannot be made again. No difference in time was found
        (benchmarks/NOTES.md, "Waits").
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
        except self.run.host.stops:
            raise
        except Exception as error:  # or the outputs cannot be told: the dense ones can be trusted
            self.run.step_aside(error)
            return True
        return False
