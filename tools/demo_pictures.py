"""Pictures of two latents beside each other, by ComfyUI's own linear preview: there is no VAE."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

PANEL = 256  # pixels of one frame in the animation
STILL = 128  # pixels of one frame in the strip
GAP, LABEL_HEIGHT, LABEL_WIDTH = 8, 30, 150
BACKGROUND, INK = (24, 24, 28), (235, 235, 235)
FRAMES_PER_SECOND = 4  # one latent frame is four video frames
DIFFERENCE_GAIN = 2


def to_rgb(latent: torch.Tensor, latent_format) -> torch.Tensor:
    """[1, C, T, H, W] as saved -> [T, H, W, 3], unscaled."""
    factors = torch.tensor(latent_format.latent_rgb_factors)
    bias = torch.tensor(latent_format.latent_rgb_factors_bias)
    model_space = latent_format.process_in(latent.float())
    return torch.einsum("cthw,cr->thwr", model_space[0], factors) + bias


def panels(dense: torch.Tensor, sparse: torch.Tensor) -> dict[str, torch.Tensor]:
    """Label -> frames in 0..1.  Both results share one scale, the dense one's."""
    low, high = torch.quantile(dense, 0.01), torch.quantile(dense, 0.99)
    difference = (sparse - dense).abs() / (high - low) * DIFFERENCE_GAIN
    return {
        "dense": (dense - low) / (high - low),
        "PSA": (sparse - low) / (high - low),
        f"difference x{DIFFERENCE_GAIN}": difference,
    }


def write_animation(frames: dict[str, torch.Tensor], path: Path) -> None:
    """All panels side by side, as an animated WebP."""
    count = len(next(iter(frames.values())))
    width = len(frames) * (PANEL + GAP) + GAP
    pictures = []
    for index in range(count):
        sheet = Image.new("RGB", (width, PANEL + LABEL_HEIGHT + GAP), BACKGROUND)
        for column, (label, panel) in enumerate(frames.items()):
            left = GAP + column * (PANEL + GAP)
            _write(sheet, label, left, LABEL_HEIGHT // 2)
            sheet.paste(_picture(panel[index], PANEL), (left, LABEL_HEIGHT))
        pictures.append(sheet)
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=1000 // FRAMES_PER_SECOND,
        loop=0,
        quality=90,
    )


def write_strip(frames: dict[str, torch.Tensor], path: Path) -> None:
    """One row a panel, one column a frame, as a PNG."""
    count = len(next(iter(frames.values())))
    size = (LABEL_WIDTH + count * (STILL + GAP), len(frames) * (STILL + GAP) + GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    for row, (label, panel) in enumerate(frames.items()):
        top = GAP + row * (STILL + GAP)
        _write(sheet, label, GAP * 2, top + STILL // 2)
        for index in range(count):
            sheet.paste(_picture(panel[index], STILL), (LABEL_WIDTH + index * (STILL + GAP), top))
    sheet.save(path)


def _write(sheet: Image.Image, text: str, left: int, middle: int) -> None:
    font = ImageFont.load_default(size=17)
    ImageDraw.Draw(sheet).text((left, middle), text, fill=INK, font=font, anchor="lm")


def _picture(frame: torch.Tensor, size: int) -> Image.Image:
    pixels = (frame.clamp(0, 1) * 255).round().byte().numpy()
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    shape = (round(width * scale), round(height * scale))
    return Image.fromarray(pixels).resize(shape, Image.Resampling.BICUBIC)
