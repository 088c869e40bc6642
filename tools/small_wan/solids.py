"""Balls and boxes of one texture, seen from afar: no perspective within one object."""

import math

import torch

from .assets import Atlas
from .atlas_reads import levels, sample

TILT = 0.42  # how far one sees their top
EDGE = 0.60  # half an edge of a box, in half sides of its cell
REPEATS = 0.75  # of the texture over a ball's front and a box's side
LIGHT = (-0.40, -0.65, 0.65)  # towards it, x right, y down, z to the viewer


def _turned(x, y, z, roll: torch.Tensor):
    """A direction of the picture as one of the solid, which is tilted and has turned by `roll`."""
    cos, sin = math.cos(TILT), math.sin(TILT)
    y, z = cos * y + sin * z, cos * z - sin * y
    cos, sin = roll.cos(), roll.sin()
    return cos * x - sin * z, y, sin * x + cos * z


def _lit(x, y, z) -> torch.Tensor:
    light = x * LIGHT[0] + y * LIGHT[1] + z * LIGHT[2]
    return 0.55 + 0.55 * light.clamp(min=0)


def _over(values: torch.Tensor) -> torch.Tensor:
    return values[..., None, None]


def ball(atlas: Atlas, cell, u, v, half, roll) -> torch.Tensor:
    """[4, B, F, H, W] of balls; u, v: -1..1 in their cells, half: their radius in pixels."""
    square = u * u + v * v
    z = (1 - square).clamp(min=0).sqrt()
    x, y, ahead = _turned(u, v, z, _over(roll))
    across = torch.atan2(x, ahead) * (REPEATS / math.pi * 2)
    down = y.clamp(-1, 1).asin() * (REPEATS / math.pi * 2)
    lod = levels(atlas.size * REPEATS / math.pi * 2 / half)
    colour = _textured(atlas, cell, across, down, lod) * _lit(u, v, z)
    alpha = ((1 - square.sqrt()) * half).clamp_(0, 1)
    return torch.cat([colour * alpha, alpha[None]])


def box(atlas: Atlas, cell, u, v, half, roll) -> torch.Tensor:
    """[4, B, F, H, W] of boxes, as `ball`."""
    roll = _over(roll)
    zero, one = torch.zeros_like(roll), torch.ones_like(roll)
    start = _turned(u, v, zero, roll)
    ray = _turned(zero, zero, -one, roll)
    ray = [torch.where(r.abs() < 1e-4, 1e-4, r) for r in ray]
    enter = [(-r.sign() * EDGE - s) / r for s, r in zip(start, ray, strict=True)]
    leave = [(r.sign() * EDGE - s) / r for s, r in zip(start, ray, strict=True)]
    first = torch.maximum(torch.maximum(enter[0], enter[1]), enter[2])
    last = torch.minimum(torch.minimum(leave[0], leave[1]), leave[2])
    x, y, z = (s + first * r for s, r in zip(start, ray, strict=True))
    on_x, on_y = first == enter[0], first == enter[1]
    across = torch.where(on_x, z, x) * (REPEATS / 2 / EDGE)
    down = torch.where(on_y, z, y) * (REPEATS / 2 / EDGE)
    # a side's light: of the three directions of the solid that face the viewer
    towards = _sides(ray, roll)
    light = torch.where(on_y, towards[1], torch.where(on_x, towards[0], towards[2]))
    lod = levels(atlas.size * REPEATS / 2 / EDGE / half)
    colour = _textured(atlas, cell, across, down, lod) * light
    alpha = ((last - first) * half * 0.6).clamp_(0, 1)
    return torch.cat([colour * alpha, alpha[None]])


def _sides(ray, roll: torch.Tensor) -> list[torch.Tensor]:
    """Light on the x, y and z sides that one sees, each [B, F, 1, 1]."""
    light = _turned(*(torch.full_like(roll, part) for part in LIGHT), roll)
    return [0.5 + 0.6 * (-r.sign() * part).clamp(min=0) for r, part in zip(ray, light, strict=True)]


def _textured(atlas: Atlas, cell, across, down, lod) -> torch.Tensor:
    def mirrored(values: torch.Tensor) -> torch.Tensor:
        return 1 - (torch.remainder(values + 0.5, 2) - 1).abs()

    return sample(atlas, cell[:, None, None, None], mirrored(across), mirrored(down), lod)
