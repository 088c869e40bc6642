"""Where the video's tokens are in a model's self-attention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class TokenGrid:
    """`grid` = (frames, height, width) in tokens; extra tokens before and after the video."""

    grid: tuple[int, int, int]
    # What one token spans in the latent, as (frames, height, width).
    patch: tuple[int, int, int]
    before: int = 0
    after: int = 0
    # How many of the extra tokens are text.
    text: int = 0
    # Other token counts in the same call; self-attention of that length looks the same.
    other_lengths: tuple[int, ...] = ()
    # The grid that the model publishes, where it counts extra tokens as frames of it.
    published: tuple[int, int, int] | None = None
    # The transformer block of each video call, where it is not simply the next one.
    blocks: tuple[int, ...] = ()
    # What else the model's blocks attend to over the same video, as the video without its text.
    also: tuple[TokenGrid, ...] = ()

    @cached_property
    def length(self) -> int:
        return self.before + math.prod(self.grid) + self.after

    def of_length(self, tokens: int) -> TokenGrid:
        """The layout of self-attention over so many tokens: this, or one of `also`."""
        if tokens == self.length:
            return self
        return next((grid for grid in self.also if grid.length == tokens), self)

    def block_of(self, video_call: int) -> int:
        """The transformer block of this call's n-th video call, for a model that does not say."""
        return self.blocks[video_call] if video_call < len(self.blocks) else video_call
