"""Clips as pictures: a strip of frames (PNG) and an animation (WebP)."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

FRAMES_PER_SECOND = 12
GAP, LABEL = 6, 22
BACKGROUND, INK = (24, 24, 28), (235, 235, 235)


def picture(frame: torch.Tensor) -> Image.Image:
    """[3, H, W] in 0..1."""
    pixels = frame.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def write_strips(rows: dict[str, torch.Tensor], path: Path, *, columns: int = 6) -> None:
    """One row a clip [3, F, H, W], its label above it, `columns` frames spread over its length."""
    height = max(clip.shape[2] for clip in rows.values())
    width = max(clip.shape[3] for clip in rows.values())
    sheet = Image.new(
        "RGB", (columns * (width + GAP) + GAP, len(rows) * (height + LABEL) + GAP), BACKGROUND
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for row, (label, clip) in enumerate(rows.items()):
        top = row * (height + LABEL)
        pen.text((GAP, top + LABEL // 2), label, fill=INK, font=font, anchor="lm")
        chosen = torch.linspace(0, clip.shape[1] - 1, columns).round().long().tolist()
        for column, frame in enumerate(chosen):
            sheet.paste(picture(clip[:, frame]), (GAP + column * (width + GAP), top + LABEL))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


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
