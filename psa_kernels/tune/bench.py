"""What the search measures: the attention and the importance kernel in one call of PSA.

The configuration is like those of shipped presets: a part of the blocks in full, a part pooled by
8, a tail of 64 with the second moment, in Gilbert order. A small call, whose outputs are all
compared with the float32 reference, and larger ones, which are timed, use the same compilations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import torch

from .. import reference, triton
from ..attention import made_current
from ..config import PSAConfig
from ..layout import Layout
from ..selftest.agreement import TOLERANCE, exact_matmuls
from ..selftest.diagnosis import diagnose
from ..triton.gpus import out_of_memory
from .candidates import Variant
from .search import TuneError
from .timing import Clock, Timing, alternate

Grid = tuple[int, int, int]

CONFIG = PSAConfig(
    block_n=128, tail=64, second_moment=True, rearrange_method="Gilbert",
    mask_ratios={1: (0, 0.11), 8: (0.11, 0.44), 0: (0.44, 1)},
)  # fmt: skip
WIDTH = 1536  # elements of all heads of the large call: 12 heads of 128
# heads of the other calls; all calls have a multiple of it: with other numbers a pointer is aligned
# differently, which compiles the kernel again
HEADS = 4
# factor of the queries of every other head of the small call: with them the attention needs a
# running maximum (`BOUND` of the kernels), for which it has loops of its own
LONGER = 4.0
SMALL: Grid = (5, 20, 21)  # 2,100 tokens: the last block is short
LARGE: Grid = (21, 30, 52)  # 32,760: 480p
LONG: Grid = (21, 45, 80)  # 75,600: 720p


def heads_of(width: int, head_dim: int) -> int:
    """Heads of the large call: as many as fit in `width` elements, a multiple of HEADS."""
    return max(1, width // head_dim // HEADS) * HEADS


def made_up(
    tokens: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """q, k and v `[1, heads, tokens, head_dim]`: fields that change from place to place, and noise.

    Their values hardly change the time.
    """
    generator = torch.Generator(device).manual_seed(0)

    def draw() -> torch.Tensor:
        shape = (1, heads, -(-tokens // 16), head_dim)
        coarse = torch.randn(shape, generator=generator, device=device)
        fine = coarse.repeat_interleave(16, 2)[:, :, :tokens]
        noise = torch.randn(fine.shape, generator=generator, device=device)
        return (fine + 0.7 * noise).to(dtype)

    return draw(), draw(), draw()


class Call:
    """One call, with the inputs that earlier stages give the two kernels.

    longer: what the queries of every other head are times
    """

    def __init__(
        self, grid: Grid, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device,
        longer: float = 1.0,
    ):  # fmt: skip
        tokens = grid[0] * grid[1] * grid[2]
        self.q, self.k, self.v = made_up(tokens, heads, head_dim, dtype, device)
        self.q[:, 1::2] *= longer
        self.config, self.scale = CONFIG, head_dim**-0.5
        self.layout = Layout.of(self.q, self.k, self.v, CONFIG, grid=grid)
        with torch.no_grad():
            self.orders = triton.reorder(self.q, self.k, self.layout, CONFIG)
            self.pyramid = triton.build_pyramid(
                self.k, self.v, self.orders, self.layout, CONFIG, None
            )
            mass = self._importance()
            self.plan = triton.assign_levels(mass, self.pyramid, self.layout, CONFIG)

    def run(self, variant: Variant, launched: list | None = None) -> torch.Tensor:
        """The output of the variant's kernel; of the attention with the pyramid before it, which
        takes longer in int8."""
        with torch.no_grad():
            if variant.kernel == "importance":
                return self._importance(variant.settings, launched)
            config = self.config.replace(qk=variant.qk, value_sums=variant.sums)
            pyramid = triton.build_pyramid(self.k, self.v, self.orders, self.layout, config, None)
            return triton.attend(
                self.q, pyramid, self.plan, self.orders, self.layout, config, self.scale,
                variant.settings, launched=launched,
            )  # fmt: skip

    def _importance(self, tune=None, launched: list | None = None) -> torch.Tensor:
        return triton.importance(
            self.q, self.pyramid, self.orders, self.layout, self.config, self.scale, tune, launched
        )

    @cached_property
    def right(self) -> Mapping[str, torch.Tensor]:
        """The reference's outputs, on the levels of this call's own plan."""
        q, k, v = (x.float() for x in (self.q, self.k, self.v))
        with torch.no_grad(), exact_matmuls():
            pyramid = reference.build_pyramid(k, v, self.orders, self.layout, self.config)
            rest = self.orders, self.layout, self.config, self.scale
            return {
                "importance": reference.importance(q, pyramid, *rest),
                "attention": reference.attend(q, pyramid, self.plan, *rest),
                "attention on int8": reference.attend(
                    q, pyramid, self.plan, self.orders, self.layout,
                    self.config.replace(qk="int8"), self.scale,
                ),
            }  # fmt: skip


class CallBench:
    """A `Bench` for one head size and dtype on one device."""

    def __init__(
        self, device: torch.device, head_dim: int, dtype: torch.dtype,
        small: Grid = SMALL, large: Grid = LARGE, long: Grid = LONG, width: int = WIDTH,
    ):  # fmt: skip
        self.device, self.dtype = device, dtype
        heads = heads_of(width, head_dim)
        self._make_long = partial(Call, long, HEADS, head_dim, dtype, device)
        with made_current(device):
            try:
                self.small = Call(small, HEADS, head_dim, dtype, device, LONGER)
                self.large = Call(large, heads, head_dim, dtype, device)
                self.clock = Clock(device)
                _ = self.small.right  # before threads ask for it
            except Exception as error:
                raise _diagnosed(error) from error
        self.spills: dict[str, int] = {}  # of the table's settings, which come first

    def prepare(self, variant: Variant) -> str:
        launched: list = []
        with made_current(self.device):
            try:
                out = self.small.run(variant, launched)
                self.large.run(variant)  # if it needs another compilation, then here
                off = self._error(variant, out)  # waits for both: a fault of theirs comes up here
            except Exception as error:
                if out_of_memory(error):
                    raise _diagnosed(error) from error
                reason = _first_line(error)
                self._see_whether_the_gpu_lives(variant, reason)
                return reason
        if not off <= self._most(variant):
            return f"wrong numbers, rel-L2 {off:.1e}"
        spills = getattr(launched[0], "n_spills", 0) or 0
        if spills > self.spills.setdefault(variant.kernel, spills):
            return f"{spills} registers spill"
        return ""

    @cached_property
    def long(self) -> Call:
        with made_current(self.device):
            return self._make_long()

    def time(self, variants: Sequence[Variant], seconds: float) -> Mapping[Variant, Timing]:
        try:
            return self._time(self.large, variants, seconds)
        except Exception as error:
            if out_of_memory(error):
                raise _diagnosed(error) from error
            raise

    def time_long(self, variants: Sequence[Variant], seconds: float) -> Mapping[Variant, Timing]:
        try:
            return self._time(self.long, variants, seconds)
        except Exception as error:
            if out_of_memory(error):
                return self.time(variants, seconds)
            raise

    def _time(
        self, one: Call, variants: Sequence[Variant], seconds: float
    ) -> Mapping[Variant, Timing]:
        with made_current(self.device):
            calls = {x: partial(one.run, x) for x in variants}
            for call in calls.values():
                call()
            return alternate(calls, self.clock, seconds_each=seconds)

    def _error(self, variant: Variant, out: torch.Tensor) -> float:
        """rel-L2 of the worst head: those with long queries have larger outputs than others."""
        right = self.small.right[replace(variant, sums="float32").kernel]  # it has no other sums
        off, norm = (x.flatten(2).norm(dim=2) for x in (out.float() - right, right))
        return float((off / norm).max())

    def _most(self, variant: Variant) -> float:
        """The largest error that is rounding.

        Of outputs by what values are multiplied in: with long queries few keys make up a row, and
        their rounding does not average out.
        """
        if variant.kernel == "importance":
            return TOLERANCE[self.dtype].importance
        from ..triton import tuning  # here: hosts import this module, and Triton may be broken

        half_sums = variant.sums == "float16"
        return TOLERANCE[tuning.values_dtype(self.device, self.dtype, half_sums)].output

    def _see_whether_the_gpu_lives(self, variant: Variant, reason: str) -> None:
        if self.device.type != "cuda":
            return
        try:
            torch.cuda.synchronize(self.device)
        except Exception as error:
            raise TuneError(f"{variant.kernel}, {variant}, broke the GPU: {reason}") from error


def _diagnosed(error: Exception) -> TuneError:
    found = diagnose(error)
    return TuneError(f"{found.what}; {found.remedy}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
