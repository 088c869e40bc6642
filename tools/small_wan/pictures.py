"""Clips as an animation (WebP)."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

FRAMES_PER_SECOND = 12
GAP = 6
BACKGROUND, INK = (24, 24, 28), (235, 235, 235)


def picture(frame: torch.Tensor) -> Image.Image:
    """[3, H, W] in 0..1."""
    pixels = frame.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def write_animation(clips: list[torch.Tensor], path: Path, *, columns: int = 4) -> None:
    """Clips [3, F, H, W] of one size in a grid."""
    _, frames, height, width = clips[0].shape
    rows = -(-len(clips) // columns)
    sheets = []
    for index in range(frames):
        size = (min(columns, len(clips)) * (width + GAP) + GAP, rows * (height + GAP) + GAP)
        sheet = Image.new("RGB", size, BACKGROUND)
        for number, clip in enumerate(clips):
            row, column = divmod(number, columns)
            place = (GAP + column * (width + GAP), GAP + row * (height + GAP))
            sheet.paste(picture(clip[:, index]), place)
        sheets.append(sheet)
    save_animation(sheets, path, quality=80)


def save_animation(sheets: list[Image.Image], path: Path, *, quality: int) -> None:
    """Pictures one after the other, for ever; `quality`: of WebP, up to 100."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets[0].save(
        path,
        save_all=True,
        append_images=sheets[1:],
        duration=1000 // FRAMES_PER_SECOND,
        loop=0,
        quality=quality,
    )
