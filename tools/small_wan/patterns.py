"""Pictures that are computed for packing: flat shapes, brick, tiles, sand, carpet, sky."""

import math

import numpy as np
from PIL import Image, ImageDraw

SEED = 20261129


def _noise(size: int, cells: int, generator: np.random.Generator) -> np.ndarray:
    """Smooth noise [size, size] in 0..1 that repeats at its borders."""
    grid = generator.random((cells, cells)).astype(np.float32)
    grid = np.pad(grid, ((0, 1), (0, 1)), mode="wrap")
    position = np.linspace(0, cells, size, endpoint=False)
    low = position.astype(int)
    part = position - low
    part = part * part * (3 - 2 * part)
    top = grid[low][:, low] * (1 - part) + grid[low][:, low + 1] * part
    bottom = grid[low + 1][:, low] * (1 - part) + grid[low + 1][:, low + 1] * part
    return top * (1 - part[:, None]) + bottom * part[:, None]


def _cloudy(size: int, start: int, octaves: int, generator: np.random.Generator) -> np.ndarray:
    total = sum(0.5**i * _noise(size, start * 2**i, generator) for i in range(octaves))
    return total / sum(0.5**i for i in range(octaves))


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def sky(size: int) -> Image.Image:
    generator = np.random.default_rng(SEED)
    height = np.linspace(1, 0, size)[:, None, None]
    blue = np.array([0.25, 0.50, 0.90]) * height + np.array([0.75, 0.87, 0.97]) * (1 - height)
    cloud = np.clip((_cloudy(size, 5, 5, generator) - 0.5) * 5, 0, 1)[..., None]
    return _image(blue * (1 - 0.85 * cloud) + 0.85 * cloud)


def sand(size: int) -> Image.Image:
    generator = np.random.default_rng(SEED + 1)
    y = np.linspace(0, 1, size, endpoint=False)[:, None]
    ripples = 0.5 + 0.5 * np.sin(2 * math.pi * (14 * y + 1.2 * _cloudy(size, 4, 3, generator)))
    light = 0.72 + 0.16 * ripples + 0.12 * _cloudy(size, 32, 3, generator)
    return _image(light[..., None] * np.array([1.0, 0.86, 0.58]))


def tiles(size: int) -> Image.Image:
    generator = np.random.default_rng(SEED + 2)
    count, joint = 8, 0.05
    place = np.linspace(0, count, size, endpoint=False)
    index = place.astype(int)
    dark = (index[:, None] + index) % 2
    colour = np.where(dark[..., None], [0.16, 0.30, 0.50], [0.92, 0.92, 0.88])
    light = 0.9 + 0.2 * generator.random((count, count))[index][:, index]
    gap = np.minimum(place % 1, 1 - place % 1)
    gap = np.minimum(gap[:, None], gap) < joint / 2
    return _image(np.where(gap[..., None], 0.6, colour * light[..., None]))


def brick(size: int) -> Image.Image:
    generator = np.random.default_rng(SEED + 4)
    rows, columns, joint = 16, 6, 0.1
    y = np.linspace(0, rows, size, endpoint=False)
    row = y.astype(int)
    x = np.linspace(0, columns, size, endpoint=False)[None] + 0.5 * (row % 2)[:, None]
    colour = np.array([0.68, 0.29, 0.20]) * (0.75 + 0.5 * generator.random((rows, columns, 1)))
    colour = colour[row[:, None], x.astype(int) % columns]
    ends = np.minimum(x % 1, 1 - x % 1) < joint * columns / rows
    beds = (np.minimum(y % 1, 1 - y % 1) < joint)[:, None]
    colour = np.where((ends | beds)[..., None], [0.80, 0.77, 0.72], colour)
    return _image(colour * (0.82 + 0.3 * _cloudy(size, 48, 3, generator))[..., None])


def carpet(size: int) -> Image.Image:
    generator = np.random.default_rng(SEED + 3)
    x = np.linspace(0, 1, size, endpoint=False)
    u = (4 * (x[:, None] + x)) % 1 - 0.5
    v = (4 * (x[:, None] - x)) % 1 - 0.5
    ring = np.maximum(abs(u), abs(v))
    colour = np.where((ring < 0.14)[..., None], [0.95, 0.80, 0.35], [0.62, 0.10, 0.16])
    colour = np.where(((ring > 0.3) & (ring < 0.38))[..., None], [0.90, 0.86, 0.76], colour)
    return _image(colour * (0.8 + 0.3 * _cloudy(size, 64, 2, generator))[..., None])


COMPUTED = {"brick": brick, "tiles": tiles, "sand": sand, "carpet": carpet, "sky": sky}


def _polygon(points: int, inner: float) -> list[tuple[float, float]]:
    count = points * 2 if inner else points
    corners = []
    for i in range(count):
        radius = inner if inner and i % 2 else 1.0
        turn = 2 * math.pi * i / count - math.pi / 2
        corners.append((radius * math.cos(turn), radius * math.sin(turn)))
    return corners


def shape(name: str, size: int) -> Image.Image:
    """A white shape with a soft light from the top left, RGBA, within 0.8 of the picture."""
    scale = 4 * size
    mask = Image.new("L", (scale, scale), 0)
    pen = ImageDraw.Draw(mask)

    def corners(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(scale * (0.5 + 0.4 * x), scale * (0.5 + 0.4 * y)) for x, y in points]

    def disc(radius: float, fill: int) -> None:
        pen.ellipse(corners([(-radius, -radius), (radius, radius)]), fill=fill)

    if name == "disc":
        disc(1.0, 255)
    elif name == "ring":
        disc(1.0, 255)
        disc(0.52, 0)
    elif name == "square":
        pen.rectangle(corners([(-0.85, -0.85), (0.85, 0.85)]), fill=255)
    elif name == "triangle":
        pen.polygon(corners(_polygon(3, 0)), fill=255)
    elif name == "star":
        pen.polygon(corners(_polygon(5, 0.45)), fill=255)
    elif name == "cross":
        pen.rectangle(corners([(-1, -0.34), (1, 0.34)]), fill=255)
        pen.rectangle(corners([(-0.34, -1), (0.34, 1)]), fill=255)
    else:
        raise ValueError(f"no shape is called {name!r}")
    place = np.linspace(0, 1, size)
    light = 1.0 - 0.25 * (place[:, None] + place) / 2
    picture = _image(np.repeat(light[..., None], 3, axis=2))
    picture.putalpha(mask.resize((size, size), Image.Resampling.LANCZOS))
    return picture
