"""Pictures of clips side by side."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

BACKGROUND, INK = (24, 24, 28), (235, 235, 235)
FRAMES_PER_SECOND = 12
GAP, LABEL_HEIGHT, LABEL_WIDTH = 8, 30, 130
STILL = 200  # pixels of a frame's longer side in the strip
STILLS = 5
DIFFERENCE_GAIN = 4


def panels(dense: torch.Tensor, sparse: torch.Tensor) -> dict[str, torch.Tensor]:
    """Label -> frames [F, 3, H, W] in 0..1."""
    return {
        "dense": dense,
        "PSA": sparse,
        f"difference x{DIFFERENCE_GAIN}": ((sparse - dense).abs() * DIFFERENCE_GAIN).clamp(0, 1),
    }


def write_animation(frames: dict[str, torch.Tensor], path: Path) -> None:
    """All panels side by side, as an animated WebP."""
    count, _, height, width = next(iter(frames.values())).shape
    size = (len(frames) * (width + GAP) + GAP, height + LABEL_HEIGHT + GAP)
    pictures = []
    for index in range(count):
        sheet = Image.new("RGB", size, BACKGROUND)
        for column, (label, panel) in enumerate(frames.items()):
            left = GAP + column * (width + GAP)
            _write(sheet, label, left, LABEL_HEIGHT // 2)
            sheet.paste(_picture(panel[index]), (left, LABEL_HEIGHT))
        pictures.append(sheet)
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=1000 // FRAMES_PER_SECOND,
        loop=0,
        quality=85,
    )


def write_strip(frames: dict[str, torch.Tensor], path: Path) -> None:
    """One row a panel, one column a frame, as a PNG."""
    count, _, height, width = next(iter(frames.values())).shape
    scale = STILL / max(height, width)
    still = round(width * scale), round(height * scale)
    chosen = torch.linspace(0, count - 1, min(STILLS, count)).round().long().tolist()
    size = (
        LABEL_WIDTH + len(chosen) * (still[0] + GAP),
        len(frames) * (still[1] + GAP) + GAP,
    )
    sheet = Image.new("RGB", size, BACKGROUND)
    for row, (label, panel) in enumerate(frames.items()):
        top = GAP + row * (still[1] + GAP)
        _write(sheet, label, GAP * 2, top + still[1] // 2)
        for column, index in enumerate(chosen):
            small = _picture(panel[index]).resize(still, Image.Resampling.LANCZOS)
            sheet.paste(small, (LABEL_WIDTH + column * (still[0] + GAP), top))
    sheet.save(path)


def _picture(frame: torch.Tensor) -> Image.Image:
    """[3, H, W] in 0..1."""
    pixels = frame.float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _write(sheet: Image.Image, text: str, left: int, middle: int) -> None:
    font = ImageFont.load_default(size=17)
    ImageDraw.Draw(sheet).text((left, middle), text, fill=INK, font=font, anchor="lm")
