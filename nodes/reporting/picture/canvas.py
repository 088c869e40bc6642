"""Drawing with PIL: text, boxes, hatching, heat maps. ComfyUI has no matplotlib."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACK = (24, 26, 31)
CARD = (33, 36, 43)
TEXT = (232, 234, 239)
MUTED = (158, 164, 176)
ACCENT = (92, 170, 255)
GOOD = (112, 200, 120)
WARN = (228, 165, 70)
BAD = (238, 98, 96)
DENSE = (86, 91, 103)
TAIL = (92, 58, 108)
# those of the editor's bar
LEVELS = {
    "1": (242, 211, 75), "2": (108, 196, 112), "4": (38, 150, 144), "8": (96, 113, 200),
    "0": (64, 68, 78),
}  # fmt: skip
# dark to bright, each step as far from the last to the eye
RAMP = np.array(
    [(38, 42, 74), (45, 74, 124), (40, 112, 142), (48, 150, 138), (104, 188, 110), (190, 214, 82),
     (250, 226, 96)], float
)  # fmt: skip


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


class Canvas:
    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (width, height), BACK)
        self.draw = ImageDraw.Draw(self.image)

    def crop(self, height: int) -> Image.Image:
        return self.image.crop((0, 0, self.image.width, height))

    def text(
        self, at: tuple[float, float], text: str, size: int = 20, color: tuple = TEXT,
        anchor: str = "la",
    ) -> None:  # fmt: skip
        self.draw.text(at, text, fill=color, font=font(size), anchor=anchor)

    def card(self, box: tuple[float, float, float, float], title: str = "") -> None:
        self.draw.rounded_rectangle(box, 12, fill=CARD)
        if title:
            self.text((box[0] + 20, box[1] + 16), title, 20, MUTED)

    def hatch(self, box: tuple[int, int, int, int], color: tuple = DENSE, gap: int = 6) -> None:
        """What was dense."""
        left, top, right, bottom = map(round, box)
        width, height = right - left, bottom - top
        if width < 1 or height < 1:
            return
        y, x = np.mgrid[top:bottom, left:right]
        lines = ((x + y) % gap < 1.5)[..., None]
        pixels = np.where(lines, np.array(color), np.array(color) * 0.55)
        self.image.paste(Image.fromarray(pixels.astype(np.uint8)), (left, top))

    def heat(self, at: tuple[int, int], values: np.ndarray, cell: tuple[int, int], top: float):
        """`values` `[rows, columns]` from 0 to `top`; NaN is hatched. A gap between large cells."""
        left, upper = at
        width, height = cell
        gap = 1 if min(cell) >= 12 else 0
        rows, columns = values.shape
        self.hatch((left, upper, left + columns * width - gap, upper + rows * height - gap))
        for row, column in np.argwhere(np.isfinite(values)):
            x, y = left + column * width, upper + row * height
            # with the gap, which shows the card
            self.draw.rectangle((x, y, x + width - 1, y + height - 1), fill=CARD)
            self.draw.rectangle(
                (x, y, x + width - 1 - gap, y + height - 1 - gap),
                fill=ramp(values[row, column] / top if top else 0.0),
            )

    def scale(self, box: tuple[int, int, int, int], top: float, label: str) -> None:
        """What the colours of `heat` mean."""
        left, upper, right, lower = box
        for x in range(left, right):
            color = ramp((x - left) / max(1, right - left - 1))
            self.draw.line((x, upper, x, lower), fill=color)
        self.text((left - 8, (upper + lower) / 2), "0%", 15, MUTED, "rm")
        self.text((right + 8, (upper + lower) / 2), label, 15, MUTED, "lm")

    def stack(
        self, box: tuple[float, float, float, float], parts: list[tuple[float, tuple]]
    ) -> None:
        """A bar of (share, colour) from left to right."""
        left, upper, right, lower = box
        total = sum(share for share, _ in parts) or 1.0
        x = left
        for share, color in parts:
            end = x + (right - left) * share / total
            if round(end) > round(x):
                self.draw.rectangle((round(x), upper, round(end) - 1, lower), fill=color)
            x = end


def ramp(share: float) -> tuple[int, int, int]:
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    color = RAMP[low] + (place - low) * (RAMP[low + 1] - RAMP[low])
    return tuple(round(x) for x in color)


def nice_top(largest: float) -> float:
    """A round number a little above `largest`, at most 1."""
    for top in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8):
        if 1.1 * largest <= top:
            return top
    return 1.0


def wrap(text: str, size: int, width: float) -> list[str]:
    """Lines of at most `width` pixels, broken between words."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font(size).getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def fitted(text: str, size: int, width: float) -> str:
    """`text`, its end replaced by an ellipsis where it is too long."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
