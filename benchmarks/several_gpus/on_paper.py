"""What Ulysses on several GPUs should bring for Wan 14B: calculated from three measurements.

    python -m benchmarks.several_gpus.on_paper      the tables of docs/several-gpus.md

On one GPU (H100, benchmarks/results/steps-14b.json) the seconds of one call of the model with
75,600 tokens, and the memory beside the weights; on one and two (H200, several-gpus-h200.json
there) what the exchange takes.
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS, HEADS, DIM, LAYERS, BYTES = 75_600, 40, 5120, 40, 2
GPUS = (1, 2, 4, 8)
# seconds of a call: self-attention, all the rest
CALLS = {"dense": (8.534, 3.364), "balanced": (2.270, 3.313), "fast": (1.467, 3.334)}
# bytes a second that a GPU sends, and those that it copies in its own memory. NVLink: what two
# H200s came to, launches and waiting for each other included, a third of the link's own rate
LINKS = {"NVLink 4": 127e9, "PCIe 4": 22e9}
COPIES = 2.4e12
WEIGHTS, BESIDE = 26.7, 7.5  # GiB: a line through the peaks at 75,600 and 32,760 tokens
RESERVE = 2.0  # GiB for CUDA, NCCL and kernels
FRAME = 3600  # tokens of a latent frame at 1280 x 720, four frames of video


@dataclass(frozen=True)
class Exchange:
    """For one call of the model on one GPU: seconds on each link, bytes sent, seconds of copies."""

    sent: float
    copied: float

    def seconds(self, link: str) -> float:
        return self.sent / LINKS[link] + self.copied / COPIES


def exchange(gpus: int, tokens: int = TOKENS) -> Exchange:
    """q, k, v go out and the output comes back: 4 tensors of tokens / gpus x DIM, of which each GPU
    keeps its own part. Before and after, each is put into another order: read and written."""
    if gpus == 1:
        return Exchange(0.0, 0.0)
    tensors = 4 * LAYERS * (tokens / gpus) * DIM * BYTES
    return Exchange(tensors * (gpus - 1) / gpus, tensors * 2 * 2)


def seconds(way: str, gpus: int, link: str, tokens: int = TOKENS) -> float:
    """Attention grows with the tokens squared (a preset of quotas keeps its density), the rest with
    the tokens; both are shared out evenly."""
    attention, rest = CALLS[way]
    times = tokens / TOKENS
    own = (attention * times**2 + rest * times) / gpus
    return own + exchange(gpus, tokens).seconds(link)


def longest(gpus: int, memory: float, weights: float = WEIGHTS) -> int:
    """Tokens that fit: weights are whole on every GPU, what is beside them is shared out."""
    each = BESIDE / TOKENS
    return int(gpus * (memory - weights - RESERVE) / each)


def frames(tokens: int) -> int:
    """Frames of video at 1280 x 720."""
    return 4 * (tokens // FRAME - 1) + 1


def time_table() -> list[str]:
    rows = []
    for gpus in GPUS:
        cells = [f"{gpus}", f"{HEADS // gpus}", f"{exchange(gpus).sent / 1e9:.1f}"]
        for way in CALLS:
            for link in LINKS:
                one, here = seconds(way, 1, link), seconds(way, gpus, link)
                cells.append(f"{here:.2f} ({one / here:.2f})")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def memory_table() -> list[str]:
    rows = []
    for gpus in GPUS:
        cells = [f"{gpus}", f"{BESIDE / gpus:.1f}"]
        for memory in (79.2, 139.0):
            tokens = longest(gpus, memory)
            cells.append(f"{tokens / 1e3:,.0f}k tokens, {frames(tokens):,} frames")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


if __name__ == "__main__":
    print("\n".join([*time_table(), "", *memory_table()]))
