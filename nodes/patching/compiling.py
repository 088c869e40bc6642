"""Kernels compiled before the model call that first needs them, not in the midst of one.

ComfyUI may record a model call's memory, and a compiler's must not be part of that; a step that
waits for the compiler also looks hung. The sizes of attention calls are known from the first dense
step on. So a run without dense steps still compiles in its first sparse call, as does a kernel that
only the budget of a later step needs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import comfy.model_management
import torch

from ...psa_engines.core.faults import one_line
from ...psa_engines.core.token_grid import TokenGrid
from ...psa_kernels import NoKernelsError, OrderState, PSAConfig, psa_attention
from ..recording.dense_call import TensorSpec
from .attention_call import AttentionCall
from .faults import Interrupt, let_go

log = logging.getLogger("PSA")

# in this process: (sizes, the settings that kernels are compiled for)
_compiled: set[tuple] = set()
_NOT_COMPILED_FOR = ("mask_ratios", "warmup_steps", "description", "verbose", "refresh")


@dataclass(frozen=True)
class _Sizes:
    """What a call's kernels are compiled for, beside its settings."""

    tensors: tuple[TensorSpec, TensorSpec, TensorSpec]
    grid: tuple[int, int, int]
    extra_tokens: tuple[int, int]
    scale: float | None


class CompileAhead:
    """One run's dense calls so far, and the kernels that sparse ones like them will need.

    min_tokens, dense_blocks  see `PatchOptions`
    """

    def __init__(self, min_tokens: int, dense_blocks: frozenset[int]) -> None:
        self.min_tokens, self.dense_blocks = min_tokens, dense_blocks
        self._lock = threading.Lock()
        self._seen: dict[_Sizes, set[int]] = {}

    def saw(self, call: AttentionCall, grid: TokenGrid, block: int) -> None:
        """A call that stays dense; one like it may be sparse in a later step."""
        short = grid.length - grid.before - grid.after < self.min_tokens
        if short or block in self.dense_blocks or not compiles(call.q.device):
            return
        sizes = _Sizes(
            tuple(map(TensorSpec.of, call.split_heads())), tuple(grid.grid),
            (grid.before, grid.after), call.scale,
        )  # fmt: skip
        with self._lock:
            self._seen.setdefault(sizes, set()).add(block)

    def compile(
        self, configs: Iterable[PSAConfig], say: Callable[[str], None] = lambda text: None
    ) -> None:
        """Compiles what the calls seen so far need to run sparse.

        configs  of the sparse steps to come
        say      gets a line of progress
        Nothing is lost where it fails: the call that needs a kernel compiles it.
        """
        with self._lock:
            seen, self._seen = self._seen, {}
        wanted = {}
        for sizes, blocks in seen.items():
            for config in configs:
                for block in sorted(blocks):
                    own = config.for_block(block)
                    key = sizes, _kernels_of(own)
                    if own.type != "dense" and key not in _compiled:
                        wanted.setdefault(key, (sizes, own))
        for number, (key, (sizes, config)) in enumerate(wanted.items(), 1):
            say(f"compiling kernels, {number} of {len(wanted)}")
            try:
                _call(sizes, config)
            except Interrupt:
                raise
            except NoKernelsError:
                return  # said when the first call finds it
            except Exception as error:
                log.info(
                    "PSA compiles kernels in the first sparse call, not ahead of it (%s)",
                    one_line(error),
                )
                let_go(error)
                return
            if len(_compiled) >= 1024:
                _compiled.clear()
            _compiled.add(key)


def compiles(device: torch.device) -> bool:
    """Whether calls on `device` wait for a compiler."""
    return device.type == "cuda"


def _kernels_of(config: PSAConfig) -> tuple:
    """The settings that kernels are compiled for; of the budget, only which levels it has."""
    levels = frozenset(level for level, (low, high) in config.mask_ratios.items() if high > low)
    others = tuple(
        (name, repr(value)) for name, value in sorted(vars(config).items())
        if name not in _NOT_COMPILED_FOR and not name.startswith("_")
    )  # fmt: skip
    return levels, others


def _call(sizes: _Sizes, config: PSAConfig) -> None:
    """A call like those to come, on random numbers; nobody reads its result."""
    device = sizes.tensors[0].device
    needed = 3 * sum(spec.bytes for spec in sizes.tensors)
    if needed > comfy.model_management.get_free_memory(device):
        raise MemoryError("no memory to compile ahead")
    # a generator of its own: the sampler's random numbers stay the same
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = (spec.make(generator) for spec in sizes.tensors)
    psa_attention(
        q, k, v, config=config, grid=sizes.grid, extra_tokens=sizes.extra_tokens,
        scale=sizes.scale, return_stats=True, state=OrderState(), step=0,
        need_kernels=device.type != "cpu",
    )  # fmt: skip
