"""The camera's path and the box that it looks at from inside: a photograph, a field or a room.

World: x to the right, y up, z away from the camera, the ground at y = 0.  A photograph is the
box's back wall, so large in view that nothing else is seen; a field is a box so wide that only its
ground and the sky on its back wall are; a room is a box with textured walls.
"""

from dataclasses import dataclass, fields

import torch

from .assets import FLAT_NAMES, SKY, Assets

FOCAL = 1.1  # of cameras in a place with depth, in short sides of the picture
HORIZON = 0.36  # its height from the top there
EYE = 0.96  # the camera's height over the ground
MIDDLE = 2.6  # where objects stand, about: what an orbiting camera looks at
FAR = 400.0
ROOM_WIDTH, ROOM_HEIGHT, ROOM_DEPTH = 1.9, 2.5, 4.6
FLOOR, SIDE, BACK, CEILING = range(4)
# sizes of textures in the world: one picture of it is that wide
TILE = {"grass": 1.6, "gravel": 1.2, "brick": 1.6, "wood": 1.5, "tiles": 2.4, "sand": 1.8}
DEFAULT_TILE = 1.6


@dataclass
class Places:
    """eye: [B, F, 3]; yaw: [B, F] to the right; focal, horizon: [B] in pixels; gain: [B, F] light.

    deep: [B] whether it has depth; low, high: [B, 3] the box's corners; haze: [B] share of the sky
    at the horizon.  cells: [B, 4] the pictures on floor, sides, back and ceiling; a point's place
    on a picture is scale times the point plus offset, both [B, 4, 2], 0..1 and mirrored outside.
    """

    eye: torch.Tensor
    yaw: torch.Tensor
    focal: torch.Tensor
    horizon: torch.Tensor
    gain: torch.Tensor
    deep: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    haze: torch.Tensor
    cells: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor

    def to(self, device: torch.device | str) -> "Places":
        return Places(*(getattr(self, field.name).to(device) for field in fields(self)))

    def project(self, point: torch.Tensor, width: int) -> tuple[torch.Tensor, ...]:
        """Points [B, N, F, 3] as x, y in pixels and depth, each [B, N, F]."""
        x, y, z = (point - self.eye[:, None]).unbind(-1)
        cos, sin = self.yaw.cos()[:, None], self.yaw.sin()[:, None]
        across, depth = cos * x - sin * z, sin * x + cos * z
        scale = self.focal[:, None, None] / depth
        return width / 2 + across * scale, self.horizon[:, None, None] - y * scale, depth


def draw(
    wanted: list[tuple[tuple[str, ...], tuple[str, ...]]],
    generator: torch.Generator,
    *,
    frames: int,
    height: int,
    width: int,
    assets: Assets,
) -> Places:
    """For every clip its camera's words and its place's words."""
    count, short = len(wanted), min(height, width)
    uniform = _uniform(generator, count)
    cameras = [camera for camera, _ in wanted]
    deep = torch.tensor([len(place) > 1 for _, place in wanted])
    time = torch.arange(frames) - (frames - 1) / 2

    def ways(verb: str, minus: str, plus: str) -> torch.Tensor:
        """[B] -1, 0 or 1."""
        signs = {(verb, minus): -1.0, (verb, plus): 1.0}
        return torch.tensor([signs.get(camera, 0.0) for camera in cameras])

    across, up = ways("panning", "left", "right"), ways("panning", "down", "up")
    inward, around = ways("zooming", "out", "in"), ways("orbiting", "left", "right")

    # places with depth
    step = uniform(0.008, 0.018)
    angle = -(around * uniform(0.006, 0.013))[:, None] * time
    turned = MIDDLE * torch.stack([-angle.sin(), torch.zeros_like(angle), 1 - angle.cos()], -1)
    ahead = torch.stack([across * step, torch.zeros(count), inward * step], -1)
    sway = 0.02 * (0.11 * time + uniform(0, 6)[:, None]).sin()  # a hand-held camera's
    sway = sway * torch.tensor([camera != ("still",) for camera in cameras])[:, None]
    eye = ahead[:, None] * time[:, None] + turned
    eye[..., 1] = EYE + sway

    # photographs: the half height of what is seen of it, of 1, at the middle of the clip
    names = [place[0] for _, place in wanted]
    aspect = assets.aspect[torch.tensor([FLAT_NAMES.index(name) for name in names])]
    whole = torch.minimum(torch.ones(count), aspect * height / width)
    moves = (across.abs() + up.abs()) > 0
    share = torch.where(moves, uniform(0.5, 0.68), uniform(0.62, 0.75)) * whole
    focal = torch.full((count,), float(short))
    seen = share[:, None] * (-(inward * uniform(0.006, 0.013))[:, None] * time).exp()
    away = seen * 2 * short / height
    room = torch.stack([aspect - share * width / height, 1 - share], -1).clamp(min=0)
    # what zooming out or a pan needs of the room at the photograph's border
    largest = seen.amax(dim=1, keepdim=True)
    border = torch.stack([aspect[:, None] - largest * width / height, 1 - largest], -1)[:, 0]
    border = border.clamp(min=0)
    pixels = uniform(0.9, 2.6) * short / 256 * max(frames - 1, 0)
    travel = torch.stack([across, up], -1) * (pixels * 2 * share / height)[:, None]
    travel = torch.maximum(torch.minimum(travel, 2 * room), -2 * room)
    free = (border - travel.abs() / 2).clamp(min=0)
    start = torch.stack([uniform(-1, 1), uniform(-1, 1)], -1) * free
    part = time / max(frames - 1, 1)
    flat_eye = torch.cat(
        [start[:, None] + travel[:, None] * part[:, None], (away.amax() + 1 - away)[..., None]], -1
    )
    end = away.amax() + 1

    gain = uniform(0.88, 1.12)[:, None] + (
        uniform(0.0, 0.16)[:, None]
        * (uniform(0.08, 0.3)[:, None] * time + uniform(0, 6)[:, None]).sin()
    )
    low, high, haze, cells, scale, offset = _boxes(wanted, aspect, float(end), uniform)
    return Places(
        eye=torch.where(deep[:, None, None], eye, flat_eye),
        yaw=torch.where(deep[:, None], angle, 0.0),
        focal=torch.where(deep, FOCAL * short, focal),
        horizon=torch.where(deep, HORIZON * height, height / 2),
        gain=gain,
        deep=deep,
        low=low,
        high=high,
        haze=haze,
        cells=cells,
        scale=scale,
        offset=offset,
    )


def _uniform(generator: torch.Generator, *first: int):
    def uniform(low: float, high: float, *more: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*first, *more, generator=generator)

    return uniform


def _boxes(wanted, aspect: torch.Tensor, end: float, uniform) -> tuple[torch.Tensor, ...]:
    """Corners, haze and pictures of every clip's box; `end`: where photographs hang."""
    shift = uniform(0, 1, 4, 2)
    corners, haze, cells, scales, offsets = [], [], [], [], []
    for index, (_, place) in enumerate(wanted):
        own = shift[index]
        if len(place) == 1:
            wide = float(aspect[index])
            corners.append([(-wide, -1.0, -FAR), (wide, 1.0, end)])
            names = place * 4
            scale = [(1.0, 1.0)] * BACK + [(0.5 / wide, -0.5)] + [(1.0, 1.0)]
            own = torch.full_like(own, 0.5)
            haze.append(0.0)
        elif place[1] == "field":
            corners.append([(-FAR, 0.0, -FAR), (FAR, FAR, FAR)])
            names = (place[0], SKY, SKY, SKY)
            tile = 1 / TILE.get(place[0], DEFAULT_TILE)
            # the sky's lower border at the horizon, one picture of it a bit more than a view wide
            wide = 1 / (1.4 * FAR)
            scale = [(tile, tile), (wide, -wide * 1.5), (wide, -wide * 1.5), (tile, tile)]
            own = own.clone()
            own[1:3, 1] = 0.98
            haze.append(0.55)
        else:
            corners.append([(-ROOM_WIDTH, 0.0, -ROOM_DEPTH), (ROOM_WIDTH, ROOM_HEIGHT, ROOM_DEPTH)])
            names = (place[2], place[0], place[0], place[0])
            floor, wall = (1 / TILE.get(name, DEFAULT_TILE) for name in (place[2], place[0]))
            scale = [(floor, floor), (wall, wall), (wall, wall), (wall, wall)]
            haze.append(0.0)
        cells.append([FLAT_NAMES.index(name) for name in names])
        scales.append(scale)
        offsets.append(own)
    corners = torch.tensor(corners)
    return (
        corners[:, 0],
        corners[:, 1],
        torch.tensor(haze),
        torch.tensor(cells),
        torch.tensor(scales),
        torch.stack(offsets),
    )
