"""Every profile of made-up q, k, v by its name: the smooth fields and the objects."""

from __future__ import annotations

import torch

from . import inputs, objects

ALL = (*objects.PROFILES, *inputs.PROFILES)


class Source:
    """Inputs of one shape, `inputs.make`'s or a file's; the smooth fields are made once.

    shape  a name of `inputs.SHAPES`, (heads, head dim, grid, text tokens), or an `inputs.Captured`
    """

    def __init__(self, shape, device="cuda", dtype: torch.dtype = torch.bfloat16, seed: int = 0):
        self.shape, self.device, self.dtype, self.seed = shape, device, dtype, seed
        self._shared: tuple[torch.Tensor, ...] | None = None

    def of(self, profile: str) -> tuple[torch.Tensor, ...]:
        """q, k, v `[1, H, L, D]` of a profile of `ALL`, or `inputs.CAPTURED` for a file's."""
        if profile in objects.PROFILES:
            return objects.make(self.shape, profile, self.device, self.dtype, seed=self.seed)
        if self._shared is None:
            self._shared = (
                self.shape.load(self.device)
                if isinstance(self.shape, inputs.Captured)
                else inputs.make(self.shape, self.device, self.dtype, seed=self.seed)
            )
        q, k, v = self._shared
        return q * inputs.gain_for(q, k, profile), k, v
