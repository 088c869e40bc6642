"""The objects of a batch of clips and where each of them is in every frame."""

import math
from dataclasses import dataclass, fields

import torch

from .assets import CUTOUT_NAMES, FLAT_NAMES, Assets
from .conditions import COLOURS, MAX_OBJECTS, SHAPES, SOLIDS
from .places import FOCAL, Places, _uniform

ABSENT, CUTOUT, BALL, BOX = range(4)
# size of an object, in short sides of the picture, by how many there are
SIZES = {1: (0.40, 0.54), 2: (0.33, 0.45), 3: (0.27, 0.35), 4: (0.24, 0.30)}
CONTENT = 104 / 128  # of a cut-out's cell that its picture fills
BACK_DEPTH, FRONT_DEPTH = 3.1, 2.0


@dataclass
class Objects:
    """Up to MAX_OBJECTS a clip, [B, MAX_OBJECTS, ...] from back to front.

    kind: ABSENT, CUTOUT, BALL or BOX; cell: its picture, of `cutouts` or, for solids, of `flat`.
    tint: [.., 3].  pose: [.., F, 4] centre x, y and half side of the cell in pixels, angle.
    roll: [.., F] how far a solid has turned about its upright axis.
    shadow: [.., F, 5] centre x, y, half width, half height in pixels, strength.
    """

    kind: torch.Tensor
    cell: torch.Tensor
    tint: torch.Tensor
    pose: torch.Tensor
    roll: torch.Tensor
    shadow: torch.Tensor

    def to(self, device: torch.device | str) -> "Objects":
        return Objects(*(getattr(self, field.name).to(device) for field in fields(self)))


def draw(
    wanted: list[list[tuple[str, str, tuple[str, ...]]]],
    place: Places,
    generator: torch.Generator,
    *,
    height: int,
    width: int,
    assets: Assets,
) -> Objects:
    """For every clip its objects as (colour or texture, name, motion)."""
    count, frames, short = len(wanted), place.yaw.shape[1], min(height, width)
    uniform = _uniform(generator, count, MAX_OBJECTS)
    kind, cell, tint, foot = _looks(wanted, assets)
    number = (kind > 0).sum(1, keepdim=True).clamp(min=1)
    extent = _extent(number, uniform) * short
    content = torch.where(kind == CUTOUT, CONTENT, 1.0)
    motion = _motions(wanted, uniform, frames)
    scale = motion["scale"]
    half = (extent / content / 2)[..., None] * scale

    across = _columns(number, generator, count) + uniform(-0.15, 0.15) / number
    target = torch.stack([across.clamp(0, 1) * width, uniform(0.25, 0.75) * height], -1)
    margin = (extent * 0.46)[..., None]
    flat = torch.stack([motion["x"], -motion["y"] - motion["swing"] - motion["hop"]], -1) * short
    # solids and cut-outs over a photograph
    span = torch.tensor([width, height]) - 2 * margin
    flat_centre = _fit(flat, target, margin, span)
    offset = 0.05 * extent[..., None, None] * torch.tensor([1.0, 1.4])
    drop = torch.cat(
        [
            flat_centre + offset,
            half[..., None].expand(*half.shape, 2),
            torch.full_like(half, 0.45)[..., None],
        ],
        -1,
    )

    # on the ground: the same paths in the world
    order = (torch.arange(MAX_OBJECTS) + 0.5) / number
    depth = BACK_DEPTH + (FRONT_DEPTH - BACK_DEPTH) * order.clamp(max=1) + uniform(-0.08, 0.08)
    unit = (depth / FOCAL)[..., None]  # one short side there, in the world
    world = torch.stack(
        [
            motion["x"] * unit,
            torch.zeros(count, MAX_OBJECTS, frames),
            depth[..., None] + motion["z"] * unit,
        ],
        -1,
    )
    for _ in range(2):  # as wide as the view: once for the place, once for what a turn changes
        seen, _, away = place.project(world, width)
        wish = _fit(seen[..., None], target[..., :1], margin, span[..., :1])[..., 0]
        shift = (wish - seen).mean(-1, keepdim=True) * away.mean(-1, keepdim=True)
        world[..., 0] = world[..., 0] + shift / place.focal[:, None, None]
    ground_x, ground_y, away = place.project(world, width)
    near = depth[..., None] / away
    deep_half = half * near
    # how far the lowest point is over the ground
    spins = motion["angle"].abs().amax(-1, keepdim=True) > 0
    reach = torch.where(spins, 1.05 * content[..., None], foot[..., None])
    lift = (motion["hop"] + motion["y"] - motion["y"].amin(-1, keepdim=True)) * short * near
    deep_centre = torch.stack([ground_x, ground_y - reach * deep_half - lift], -1)
    high = (lift / extent[..., None]).clamp(0, 1)
    wide = deep_half * content[..., None] * (0.95 - 0.3 * high)
    contact = torch.stack([ground_x, ground_y, wide, 0.27 * wide, 0.6 - 0.35 * high], -1)

    deep = place.deep[:, None, None, None]
    centre = torch.where(deep, deep_centre, flat_centre)
    sides = torch.where(deep[..., 0], deep_half, half)
    return Objects(
        kind=kind,
        cell=cell,
        tint=tint,
        pose=torch.cat([centre, sides[..., None], motion["angle"][..., None]], -1),
        roll=motion["roll"],
        shadow=torch.where(deep, contact, drop),
    )


def _looks(wanted, assets: Assets) -> tuple[torch.Tensor, ...]:
    """kind, cell [B, N], tint [B, N, 3] and foot [B, N]."""
    shape = (len(wanted), MAX_OBJECTS)
    kind, cell = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    tint, foot = torch.ones(*shape, 3), torch.ones(shape)
    for clip, objects in enumerate(wanted):
        for slot, (first, name, _) in enumerate(objects):
            place = clip, slot
            if name in SOLIDS:
                kind[place] = BALL if name == "ball" else BOX
                cell[place] = FLAT_NAMES.index(first)
                foot[place] = 1.0 if name == "ball" else 0.72
                continue
            kind[place] = CUTOUT
            cell[place] = CUTOUT_NAMES.index(name)
            foot[place] = assets.foot[cell[place]]
            if name in SHAPES:
                tint[place] = torch.tensor(COLOURS[first])
    return kind, cell, tint, foot


def _extent(number: torch.Tensor, uniform) -> torch.Tensor:
    low = torch.tensor([0.0, *(low for low, _ in SIZES.values())])[number]
    high = torch.tensor([0.0, *(high for _, high in SIZES.values())])[number]
    return low + (high - low) * uniform(0, 1)


def _columns(number: torch.Tensor, generator: torch.Generator, count: int) -> torch.Tensor:
    """[B, N] the middle of a column of its own for every present object, in a random order."""
    ranks = torch.rand(count, MAX_OBJECTS, generator=generator)
    ranks = ranks + (torch.arange(MAX_OBJECTS) >= number) * 2.0  # absent ones last
    return (ranks.argsort(1).argsort(1) + 0.5) / number


def _fit(path: torch.Tensor, target: torch.Tensor, margin, span) -> torch.Tensor:
    """Paths [B, N, F, K] around the target [B, N, K], moved and shrunk to stay in view."""
    low, high = path.amin(2), path.amax(2)
    shrink = (span / (high - low).clamp(min=1e-6)).clamp(max=1)
    reach = (high - low) * shrink / 2
    middle = torch.maximum(torch.minimum(target, margin + span - reach), margin + reach)
    around = (path - ((low + high) / 2)[:, :, None]) * shrink[:, :, None]
    return middle[:, :, None] + around


def _motions(wanted, uniform, frames: int) -> dict[str, torch.Tensor]:
    """By name [B, N, F]: offsets x, y (up), swing, z and hop in short sides, scale, angle, roll."""

    def when(*motion: str) -> torch.Tensor:
        table = torch.zeros(len(wanted), MAX_OBJECTS, 1)
        for clip, objects in enumerate(wanted):
            for slot, (_, _, said) in enumerate(objects):
                table[clip, slot] = float(said[: len(motion)] == motion)
        return table

    time = torch.arange(frames) - (frames - 1) / 2
    sign = torch.where(uniform(-1, 1, 1) < 0, -1.0, 1.0)
    speed = uniform(0.005, 0.011, 1) * time
    right = when("drifting", "right") - when("drifting", "left")
    up = when("drifting", "up") - when("drifting", "down")
    circling, bouncing = when("circling"), when("bouncing")
    turn = sign * uniform(0.10, 0.22, 1) * time + uniform(0, 2 * math.pi, 1)
    radius = uniform(0.09, 0.15, 1) * circling
    beat = (2 * math.pi / uniform(14, 26, 1) * time + uniform(0, 6, 1)).sin()
    hop = (math.pi / uniform(9, 16, 1) * time + uniform(0, 3, 1)).sin().abs()
    spin = sign * uniform(0.07, 0.16, 1) * time + uniform(0, 6, 1)
    spinning = when("spinning")
    solid = torch.tensor(
        [
            [slot < len(clip) and clip[slot][1] in SOLIDS for slot in range(MAX_OBJECTS)]
            for clip in wanted
        ]
    )[..., None].float()
    return {
        "x": right * speed + radius * turn.cos(),
        "y": up * speed,
        # a circle upright over a photograph, on the ground elsewhere
        "swing": radius * turn.sin(),
        "z": 0.6 * radius * turn.sin(),
        "hop": bouncing * uniform(0.14, 0.24, 1) * hop,
        "scale": 1 + 0.28 * when("pulsing") * beat,
        "angle": spinning * (1 - solid) * spin,
        # solids turn when they spin and roll when they drift
        "roll": uniform(0, 6, 1) + solid * (spinning * spin + right * speed * 5),
    }
