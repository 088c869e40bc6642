"""Training clips: textured shapes that move over a background that the camera pans across.

Everything is drawn from one seeded generator on the CPU, so a seed gives the same clips on every
machine; pixels are computed in whole batches on any device, with torch alone.
"""

import math
from dataclasses import dataclass, fields

import torch

from . import conditions
from .conditions import CAMERAS, CLASSES, COLOURS, MAX_OBJECTS, MOTIONS, PATTERNS, TEXTURES, WORD_ID

WAVES = 8  # sinusoids a background is made of
EDGE = 1.6  # softness of edges in pixels: the codec cannot carry harder ones

# How a shape is cut out.  The plane is folded into `fold` equal sectors; with u along a sector's
# middle, v >= 0 across it and r the radius, all in units of the object's size, a point is inside
# where both rows (a u + b v + c r - d) are negative.  A fold of 0 leaves u, v unused.
_NEVER = (0.0, 0.0, 0.0, 1.0)


def _star(points: int, inner: float) -> tuple[float, float, float, float]:
    # the line from a tip at radius 1 to a notch at radius `inner`, half a sector further
    angle = math.pi / points
    tip, notch = (1.0, 0.0), (inner * math.cos(angle), inner * math.sin(angle))
    along = (notch[0] - tip[0], notch[1] - tip[1])
    length = math.hypot(*along)
    a, b = along[1] / length, -along[0] / length
    return a, b, 0.0, a * tip[0] + b * tip[1]


_SHAPES = {
    "disc": (0, (0.0, 0.0, 1.0, 0.9), _NEVER),
    "square": (4, (1.0, 0.0, 0.0, 0.8), _NEVER),
    "triangle": (3, (1.0, 0.0, 0.0, 0.6), _NEVER),
    "star": (5, _star(5, 0.45), _NEVER),
    "ring": (0, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, -1.0, -0.5)),
    "cross": (4, (1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.0, 0.34)),
}
# stripes, dots and checks as tanh(gain * (a cos x + b cos y + c cos x cos y))
_TEXTURES = {
    "plain": (0.0, 0.0, 0.0, 0.0),
    "striped": (2.0, 1.0, 0.0, 0.0),
    "dotted": (1.2, 1.0, 1.0, 1.0),
    "checked": (3.0, 0.0, 0.0, 1.0),
}
_CAMERA_STEP = {"still": (0, 0), "left": (1, 0), "right": (-1, 0), "up": (0, 1), "down": (0, -1)}


@dataclass
class Clips:
    """A batch of clips before rendering; the first axis of every tensor is the batch.

    words: [B, TOKENS, WORDS_PER_PHRASE] ids of `conditions`.
    wave_*: [B, WAVES]; pan: [B, 2] pixels a frame; ground: [B, 3] colour.
    Per object, [B, MAX_OBJECTS, ...] from back to front: see `draw`.
    """

    frames: int
    height: int
    width: int
    words: torch.Tensor
    wave_x: torch.Tensor
    wave_y: torch.Tensor
    wave_phase: torch.Tensor
    wave_size: torch.Tensor
    pan: torch.Tensor
    ground: torch.Tensor
    present: torch.Tensor
    colour: torch.Tensor
    texture: torch.Tensor
    pitch: torch.Tensor
    texture_phase: torch.Tensor
    fold: torch.Tensor
    cuts: torch.Tensor
    centre: torch.Tensor
    radius: torch.Tensor
    angle: torch.Tensor
    velocity: torch.Tensor
    orbit: torch.Tensor
    orbit_speed: torch.Tensor
    spin: torch.Tensor
    pulse: torch.Tensor
    pulse_speed: torch.Tensor

    def to(self, device: torch.device | str) -> "Clips":
        values = (getattr(self, field.name) for field in fields(self))
        return Clips(*(v.to(device) if isinstance(v, torch.Tensor) else v for v in values))

    def prompts(self) -> list[str]:
        return [conditions.text(ids) for ids in self.words]


def draw(
    seed: int,
    count: int,
    *,
    frames: int,
    height: int,
    width: int,
    prompts: list[str] | None = None,
) -> Clips:
    """`count` clips of one size in pixels.  With `prompts`, they decide what the words say."""
    generator = torch.Generator().manual_seed(seed)
    objects = (count, MAX_OBJECTS)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    def choose(words, *shape: int) -> torch.Tensor:
        ids = torch.tensor([WORD_ID[word] for word in words])
        return ids[torch.randint(len(ids), shape, generator=generator)]

    words = torch.zeros(count, conditions.TOKENS, conditions.WORDS_PER_PHRASE, dtype=torch.long)
    words[:, 0, 0] = WORD_ID["camera"]
    words[:, 0, 1] = choose(CAMERAS, count)
    words[:, 1, 0] = choose(PATTERNS, count)
    words[:, 1, 1] = choose(COLOURS, count)
    words[:, 1, 2] = WORD_ID["background"]
    number = torch.randint(1, MAX_OBJECTS + 1, (count, 1), generator=generator)
    present = torch.arange(MAX_OBJECTS) < number
    for column, choices in enumerate((COLOURS, TEXTURES, CLASSES, MOTIONS)):
        words[:, 2:, column] = choose(choices, *objects) * present
    if prompts is not None:
        words = torch.stack([conditions.parse(prompt) for prompt in prompts])
        present = words[:, 2:, 0] > 0

    def lookup(ids: torch.Tensor, table: dict[str, object]) -> torch.Tensor:
        """A table by word as a tensor by id, zeros for words it lacks."""
        like = torch.tensor(next(iter(table.values())), dtype=torch.float32)
        rows = torch.zeros(len(conditions.VOCABULARY), *like.shape)
        for word, value in table.items():
            rows[WORD_ID[word]] = torch.tensor(value, dtype=torch.float32)
        return rows[ids]

    def moves(word: str) -> torch.Tensor:
        return (words[:, 2:, 3] == WORD_ID[word]).float()

    waves = _waves(words[:, 1, 0], uniform)
    pan_speed = uniform(1.0, 3.0, count, 1)
    # frame-sized objects would hide everything else, tiny ones the codec cannot carry
    short = min(height, width)
    radius = uniform(0.16, 0.30, *objects).mul(short).clamp(30, 120)
    speed, heading = uniform(1.0, 3.5, *objects), uniform(0, 2 * math.pi, *objects)
    direction = torch.stack([heading.cos(), heading.sin()], dim=-1)
    orbit = uniform(0.10, 0.25, *objects) * short
    turns = torch.where(uniform(-1, 1, *objects) < 0, -1.0, 1.0)
    size = torch.tensor([width, height], dtype=torch.float32)
    return Clips(
        frames=frames,
        height=height,
        width=width,
        words=words,
        **waves,
        pan=lookup(words[:, 0, 1], _CAMERA_STEP) * pan_speed,
        ground=lookup(words[:, 1, 1], COLOURS) * 0.45 + 0.15,
        present=present.float(),
        colour=lookup(words[:, 2:, 0], COLOURS),
        texture=lookup(words[:, 2:, 1], _TEXTURES),
        pitch=2 * math.pi / uniform(26, 40, *objects),
        texture_phase=uniform(0, 2 * math.pi, *objects, 2),
        fold=lookup(words[:, 2:, 2], {name: shape[0] for name, shape in _SHAPES.items()}),
        cuts=lookup(words[:, 2:, 2], {name: shape[1:] for name, shape in _SHAPES.items()}),
        centre=uniform(0.15, 0.85, *objects, 2) * size,
        radius=radius,
        angle=uniform(0, 2 * math.pi, *objects),
        velocity=direction * (speed * moves("drifting"))[..., None],
        orbit=orbit * moves("circling"),
        orbit_speed=turns * speed / orbit,
        spin=turns * uniform(0.04, 0.12, *objects) * moves("spinning"),
        pulse=0.3 * moves("pulsing"),
        pulse_speed=2 * math.pi / uniform(18, 36, *objects),
    )


def _waves(pattern: torch.Tensor, uniform) -> dict[str, torch.Tensor]:
    """Backgrounds: a faint slope, waves of one direction, a plaid of two, or blotches of eight."""
    count = len(pattern)
    heading = uniform(0, 2 * math.pi, count, WAVES)
    number = 2 * math.pi / uniform(36, 110, count, WAVES)
    size = uniform(0.5, 1.0, count, WAVES)

    def where(word: str, then: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
        return torch.where((pattern == WORD_ID[word])[:, None], then, otherwise)

    index = torch.arange(WAVES)
    # waves: all crests across nearly the same way; plaid: along x and y
    heading = where("wavy", heading[:, :1] + 0.25 * (heading - math.pi) / math.pi, heading)
    heading = where("plaid", (index % 2) * (math.pi / 2), heading)
    number = where("plain", number * 0.15, number)
    size = where("wavy", size * (index < 3), size)
    size = where("plaid", size * (index < 4), size)
    size = where("plain", size * (index < 2) * 0.6, size)
    # about the same contrast however many waves there are
    size = 0.55 * size / size.square().sum(1, keepdim=True).sqrt()
    return {
        "wave_x": number * heading.cos(),
        "wave_y": number * heading.sin(),
        "wave_phase": uniform(0, 2 * math.pi, count, WAVES),
        "wave_size": size,
    }


def render(clips: Clips, *, lead: int = 0) -> torch.Tensor:
    """Pixels [B, 3, lead + frames, H, W] in 0..1; the first frame is shown 1 + lead times."""
    device = clips.pan.device
    time = (torch.arange(lead + clips.frames, device=device) - lead).clamp(min=0).float()
    x = torch.arange(clips.width, device=device) + 0.5
    y = torch.arange(clips.height, device=device) + 0.5
    light = 1 + _background(clips, time, x, y)
    pixels = clips.ground[:, :, None, None, None] * light[:, None]
    for index in range(MAX_OBJECTS):
        alpha, light = _object(clips, index, time, x, y)
        colour = clips.colour[:, index, :, None, None, None] * light[:, None]
        pixels.lerp_(colour, alpha[:, None])
    return pixels.clamp_(0, 1)


def _background(clips: Clips, time, x, y) -> torch.Tensor:
    """[B, F, H, W].  A wave of x and y is a sum of two products of their own waves: one matmul."""
    shift = clips.wave_x * clips.pan[:, :1] + clips.wave_y * clips.pan[:, 1:]
    phase = clips.wave_phase[:, None] + shift[:, None] * time[:, None]
    across = x[:, None] * clips.wave_x[:, None, None] + phase[:, :, None]
    down = y[:, None] * clips.wave_y[:, None]
    size = clips.wave_size[:, None]
    # cos(a + b) = cos a cos b - sin a sin b
    right = torch.cat([across.cos(), -across.sin()], dim=-1)
    left = torch.cat([size * down.cos(), size * down.sin()], dim=-1)
    return torch.einsum("bhk,bfwk->bfhw", left, right)


def _object(clips: Clips, index: int, time, x, y) -> tuple[torch.Tensor, torch.Tensor]:
    """Coverage and brightness of one object of every clip, both [B, F, H, W]."""
    centre, radius, angle = _pose(clips, index, time)

    def spread(values: torch.Tensor) -> torch.Tensor:
        """[B] or [B, F] over pixels."""
        return values.reshape(*values.shape, *[1] * (4 - values.ndim))

    dx = x[None, None, None, :] - spread(centre[..., 0])
    dy = y[None, None, :, None] - spread(centre[..., 1])
    turn_x, turn_y = spread(angle.cos()), spread(angle.sin())
    along = turn_x * dx + turn_y * dy
    across = turn_x * dy - turn_y * dx
    alpha = _coverage(clips, index, along, across, spread(radius), spread)
    pitch, phase = spread(clips.pitch[:, index]), clips.texture_phase[:, index]
    gain, a, b, c = (spread(column) for column in clips.texture[:, index].unbind(1))
    # the texture grows and turns with its object
    zoom = pitch * spread(clips.radius[:, index, None] / radius)
    wave_u = (along * zoom + spread(phase[:, 0])).cos_()
    wave_v = (across * zoom + spread(phase[:, 1])).cos_()
    light = (gain * (a * wave_u + b * wave_v + c * wave_u * wave_v)).tanh_()
    return alpha, light.mul_(0.33).add_(0.67 + 0.33 * (gain == 0))


def _pose(clips: Clips, index: int, time) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Centre [B, F, 2], radius [B, F] and angle [B, F] over time."""
    size = torch.tensor([clips.width, clips.height], device=time.device, dtype=torch.float32)
    margin = 0.12 * size
    room = size - 2 * margin
    moved = clips.centre[:, index, None] + clips.velocity[:, index, None] * time[:, None]
    # bounce: the path unfolded is a straight line
    folded = torch.remainder(moved - margin, 2 * room)
    centre = margin + torch.where(folded > room, 2 * room - folded, folded)
    turn = clips.orbit_speed[:, index, None] * time + clips.angle[:, index, None]
    circle = torch.stack([turn.cos(), turn.sin()], dim=-1)
    centre = centre + clips.orbit[:, index, None, None] * circle
    angle = clips.angle[:, index, None] + clips.spin[:, index, None] * time
    beat = (clips.pulse_speed[:, index, None] * time).sin()
    radius = clips.radius[:, index, None] * (1 + clips.pulse[:, index, None] * beat)
    return centre, radius, angle


def _coverage(clips: Clips, index: int, along, across, radius, spread) -> torch.Tensor:
    fold = spread(clips.fold[:, index])
    distance = torch.hypot(along, across)
    sector = 2 * math.pi / fold.clamp(min=1)
    theta = torch.atan2(across, along)
    theta = (torch.remainder(theta + sector / 2, sector) - sector / 2).abs_()
    u, v = theta.cos() * distance, theta.sin_() * distance
    first, second = clips.cuts[:, index].unbind(1)

    def cut(row: torch.Tensor) -> torch.Tensor:
        a, b, c, d = (spread(column) for column in row.unbind(1))
        return a * u + b * v + c * distance - d * radius

    outside = torch.maximum(cut(first), cut(second))
    return torch.sigmoid_(outside.mul_(-1 / EDGE)).mul_(spread(clips.present[:, index]))
