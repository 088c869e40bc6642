"""q, k, v of a model's own attention calls in a file, an input profile for the kernel bench.

The file holds `q`, `k`, `v` `[1, H, L, D]` in bf16: the heads of all captured calls side by side,
in raster order of the tokens. Its metadata: `grid`, and `heads`, a (step, layer, head) for each.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from .watch import Seen


class NothingCaptured(Exception):  # noqa: N818 - what was asked for does not occur
    """No call was of the chosen steps and layers, or none had room."""


class Capture:
    """Collects calls of chosen steps and layers, up to a size."""

    def __init__(self, grid: tuple[int, int, int], steps: set[int], layers: set[int], most: int):
        """`most`: bytes. Layers and steps count from 0."""
        self.grid, self.steps, self.layers, self.most = grid, steps, layers, most
        self.heads: list[tuple[int, int, int]] = []
        self.parts: list[tuple[torch.Tensor, ...]] = []
        self.left_out = 0

    def visit(self, seen: Seen) -> None:
        if seen.step not in self.steps or seen.layer not in self.layers:
            return
        each = 3 * 2 * seen.q.shape[2] * seen.q.shape[3]
        for head in range(seen.q.shape[1]):
            if (len(self.heads) + 1) * each > self.most:
                self.left_out += 1
                continue
            self.heads.append((seen.step, seen.layer, head))
            self.parts.append(
                tuple(
                    x[:, head : head + 1].to("cpu", torch.bfloat16)
                    for x in (seen.q, seen.k, seen.v)
                )
            )

    def save(self, path: Path, note: dict) -> None:
        """`note`: what the file's metadata says beside the grid and the heads, plain types."""
        if not self.parts:
            raise NothingCaptured(
                f"nothing captured: {self.left_out} heads had no room; otherwise there is no such "
                "step or layer (both count from 0)"
            )
        tensors = {
            name: torch.cat(heads, 1).contiguous()
            for name, heads in zip("qkv", zip(*self.parts, strict=True), strict=True)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"grid": self.grid, "heads": self.heads, **note}
        save_file(tensors, path, {name: json.dumps(value) for name, value in metadata.items()})
