"""How many FLOPs one evaluation of a model takes, from the sizes of its blocks."""

from __future__ import annotations

from dataclasses import dataclass

from .density import Tokens
from .models import Model, Sound

COUNTED = (
    "counted from the model's sizes: two FLOPs for each product of a matrix multiplication in its "
    "blocks; embeddings, norms and activations left out"
)


@dataclass(frozen=True)
class Work:
    """FLOPs of one evaluation, batch 1: of self-attention over the video's sequence, and of the
    rest. `note`: what is counted.
    """

    attention: float
    rest: float
    note: str

    @property
    def total(self) -> float:
        return self.attention + self.rest


def work_of(model: Model | None, tokens: Tokens) -> Work | str:
    """The work, or why it is not known."""
    if model is None or not (model.blocks and model.ffn):
        return "the family's blocks and their sizes are not known"
    length, width = tokens.total, model.width
    attention = attention_flops(length, model.dim)
    rest = _around(length, width, model.dim, model.ffn, model.cross)
    if model.sound:
        rest += _beside(model.sound, tokens, width, model.cross)
    note = "; ".join(filter(None, (COUNTED, model.assumed)))
    return Work(model.blocks * attention, model.blocks * rest, note)


def attention_flops(length: float, dim: int) -> float:
    """Of self-attention: two products, a multiplication and an addition each."""
    return 4.0 * length**2 * dim


def _around(length: float, width: int, inner: int, ffn: int, text: int) -> float:
    """Of a block but for its self-attention, which is `inner` wide where the block is `width`."""
    # q, k, v, out; two layers of the feed-forward net
    flops = 2.0 * length * (4 * width * inner + 2 * width * ffn)
    if text:
        # q and out for the video, k and v for the text, and the attention itself
        flops += 2.0 * (length + text) * 2 * width * inner + 4.0 * length * text * inner
    return flops


def _beside(sound: Sound, tokens: Tokens, width: int, text: int) -> float:
    """Of the sound in a block, and of the attention from it to the video and back."""
    length, video = sound.tokens * tokens.grid[0], tokens.total
    own = attention_flops(length, sound.width)
    own += _around(length, sound.width, sound.width, sound.ffn, text)
    # each way q and out on one side, k and v on the other: four matrices a token of either
    weights = video * 4 * width * sound.width + length * 4 * sound.width**2
    return own + 2.0 * weights + 2 * 4.0 * video * length * sound.width
