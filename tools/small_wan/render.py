"""The pixels of scenes, in whole batches on any device, with torch alone.

Behind the objects every pixel's ray runs to the wall of the box it starts in; objects are laid over
that one slot after the other, each slot on the clips that have an object of a kind there.
"""

import torch

from . import solids
from .assets import Assets, Atlas
from .atlas_reads import levels, sample
from .places import BACK, CEILING, FLOOR, SIDE, Places
from .scenes import Scenes
from .tracks import BALL, BOX, CUTOUT

CHUNK = {"cpu": 2**21, "cuda": 2**25}  # pixels at a time: what temporary tensors may take
HAZE = (0.80, 0.88, 0.96)
HAZE_REACH = 14.0  # in units of the world
SHADE = {FLOOR: 1.0, SIDE: 0.82, BACK: 0.94, CEILING: 0.72}
BLUR = 3.5  # levels above its own from which a cut-out's shadow is read


def render(scenes: Scenes, assets: Assets, *, lead: int = 0) -> torch.Tensor:
    """Pixels [B, 3, lead + frames, H, W] in 0..1; the first frame is shown 1 + lead times.

    Scenes and assets must be on one device.
    """
    count = len(scenes.words)
    device = scenes.words.device
    shape = (count, 3, lead + scenes.frames, scenes.height, scenes.width)
    pixels = torch.empty(shape, device=device)
    size = scenes.frames * scenes.height * scenes.width
    step = max(1, CHUNK.get(device.type, CHUNK["cuda"]) // size)
    for start in range(0, count, step):
        clips = slice(start, start + step)
        canvas = _canvas(scenes, assets, clips).clamp_(0, 1).transpose(0, 1)
        pixels[clips, :, lead:] = canvas
        pixels[clips, :, :lead] = canvas[:, :, :1]
    return pixels


def _canvas(scenes: Scenes, assets: Assets, clips: slice) -> torch.Tensor:
    """[3, clips, F, H, W], clips one after the other of the batch."""
    device = scenes.words.device
    place = Places(*(value[clips] for value in vars(scenes.place).values()))
    x = torch.arange(scenes.width, device=device) + 0.5
    y = torch.arange(scenes.height, device=device) + 0.5
    canvas = _background(place, assets.flat, x, y)
    objects = scenes.objects
    kind = objects.kind[clips].cpu()
    deep = place.deep.cpu()

    def each(slot: int, chosen: torch.Tensor):
        """The clips chosen, and of their object in this slot cell, tint, pose, roll, shadow."""
        rows = chosen.nonzero()[:, 0].to(device)
        names = ("cell", "tint", "pose", "roll", "shadow")
        return rows, [getattr(objects, name)[clips][rows, slot] for name in names]

    slots = range(kind.shape[1])
    # shadows on the ground lie under all objects
    for slot in slots:
        rows, (_, _, _, _, shadow) = each(slot, (kind[:, slot] > 0) & deep)
        if len(rows):
            _darken(canvas, rows, _contact(shadow, x, y))
    for slot in slots:
        hanging = (kind[:, slot] > 0) & ~deep
        rows, (cell, _, pose, _, shadow) = each(slot, hanging & (kind[:, slot] == CUTOUT))
        if len(rows):
            _darken(canvas, rows, _dropped(assets.cutouts, cell, pose, shadow, x, y))
        rows, (_, _, _, _, shadow) = each(slot, hanging & (kind[:, slot] != CUTOUT))
        if len(rows):
            _darken(canvas, rows, _contact(shadow, x, y))
        rows, (cell, tint, pose, _, _) = each(slot, kind[:, slot] == CUTOUT)
        if len(rows):
            colour = _cutout(assets.cutouts, cell, pose, x, y)
            colour[:3] *= tint.T[:, :, None, None, None]
            _cover(canvas, rows, colour)
        for solid, drawn in ((BALL, solids.ball), (BOX, solids.box)):
            rows, (cell, _, pose, roll, _) = each(slot, kind[:, slot] == solid)
            if len(rows):
                u, v = _local(pose, x, y)
                _cover(canvas, rows, drawn(assets.flat, cell, u, v, _over(pose[..., 2]), roll))
    return canvas.mul_(_over(place.gain))


def _over(values: torch.Tensor) -> torch.Tensor:
    """[B] or [B, F] over frames and pixels."""
    return values.reshape(*values.shape, *[1] * (4 - values.ndim))


def _background(place: Places, flat: Atlas, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[3, B, F, H, W] the inside of every clip's box, without objects."""
    # rays: through x = const all lie in one upright plane, so walls depend on columns alone
    across = (x[None] - len(x) / 2) / place.focal[:, None]
    down = (y[None] - place.horizon[:, None]) / place.focal[:, None]
    cos, sin = place.yaw.cos()[..., None], place.yaw.sin()[..., None]
    ray_x = cos * across[:, None] + sin
    ray_z = cos - sin * across[:, None]
    ray_y = -down[:, None].expand(-1, place.yaw.shape[1], -1)
    to_side = _exit(ray_x, place.eye[..., 0], place.low[:, 0], place.high[:, 0])
    to_back = _exit(ray_z, place.eye[..., 2], place.low[:, 2], place.high[:, 2])
    to_level = _exit(ray_y, place.eye[..., 1], place.low[:, 1], place.high[:, 1])
    side = to_side < to_back
    to_wall = torch.minimum(to_side, to_back)

    eye_x, eye_y, eye_z = (place.eye[..., axis][..., None] for axis in range(3))
    wall, ground = side.long() * (SIDE - BACK) + BACK, (ray_y > 0).long() * (CEILING - FLOOR)

    def chosen(table: torch.Tensor, face: torch.Tensor) -> torch.Tensor:
        """A table [B, 4] by face [B, F, K]."""
        return table.gather(1, face.flatten(1)).reshape(face.shape)

    along = torch.where(side, eye_z + to_wall * ray_z, eye_x + to_wall * ray_x)
    wall_u = along * chosen(place.scale[..., 0], wall) + chosen(place.offset[..., 0], wall)
    wall_scale = chosen(place.scale[..., 1], wall)
    wall_v = (eye_y * wall_scale + chosen(place.offset[..., 1], wall))[:, :, None]
    wall_v = wall_v + (to_wall * wall_scale)[:, :, None] * ray_y[..., None]
    on_ground = to_level[..., None] < to_wall[:, :, None]
    scale, offset = chosen(place.scale[..., 0], ground), chosen(place.offset[..., 0], ground)
    ground_u = (eye_x * scale + offset)[..., None]
    ground_u = ground_u + (to_level * scale)[..., None] * ray_x[:, :, None]
    scale, offset = chosen(place.scale[..., 1], ground), chosen(place.offset[..., 1], ground)
    ground_v = (eye_z * scale + offset)[..., None]
    ground_v = ground_v + (to_level * scale)[..., None] * ray_z[:, :, None]
    u = torch.where(on_ground, ground_u, wall_u[:, :, None])
    v = torch.where(on_ground, ground_v, wall_v)

    # how many texels a pixel covers, larger where the surface is seen at an angle
    texels = flat.size / place.focal[:, None, None]
    slant = torch.where(side, ray_x, ray_z).abs() / (ray_x**2 + ray_z**2).sqrt()
    wall_lod = levels(texels * to_wall * chosen(place.scale[..., 0], wall).abs() / slant**0.6)
    slant = ray_y.abs() / (1 + ray_y**2).sqrt()
    ground_lod = levels(texels * to_level * scale.abs() / slant.clamp(min=1e-3) ** 0.6)
    lod = torch.where(on_ground, ground_lod[..., None], wall_lod[:, :, None])
    cell = torch.where(
        on_ground, chosen(place.cells, ground)[..., None], chosen(place.cells, wall)[:, :, None]
    )
    colour = sample(flat, cell, _mirrored(u), _mirrored(v), lod)

    shades = torch.tensor([SHADE[face] for face in range(4)], device=x.device)
    deep = place.deep[:, None, None]
    # a photograph keeps its light, a sky too
    lit = deep & (place.haze == 0)[:, None, None]
    wall_shade = torch.where(lit, shades[wall], 1.0)
    light = torch.where(on_ground, shades[ground][..., None], wall_shade[:, :, None])
    colour *= light
    haze = place.haze[:, None, None] * (1 - (-to_level / HAZE_REACH).exp())
    haze = torch.where(on_ground, haze[..., None], 0.0)
    for channel, value in enumerate(HAZE):
        colour[channel] += (value - colour[channel]) * haze
    return colour


def _exit(ray: torch.Tensor, eye: torch.Tensor, low: torch.Tensor, high: torch.Tensor):
    """Distance [B, F, K] from inside a slab to its side ahead, along one axis."""
    wall = torch.where(ray > 0, high[:, None, None], low[:, None, None])
    ray = torch.where(ray.abs() < 1e-6, torch.where(ray < 0, -1e-6, 1e-6), ray)
    return (wall - eye[..., None]) / ray


def _mirrored(values: torch.Tensor) -> torch.Tensor:
    """Into 0..1, every other repetition turned over."""
    return 1 - (torch.remainder(values, 2) - 1).abs_()


def _local(pose: torch.Tensor, x: torch.Tensor, y: torch.Tensor, squash=None):
    """Where pixels lie in an object's cell, -1..1 to the right and down, both [B, F, H, W].

    pose: [B, F, 4]; `squash`: [B, F, 2] half width and height in place of the half side.
    """
    centre_x, centre_y, half, angle = pose.unbind(-1)
    wide, high = (half, half) if squash is None else squash.unbind(-1)
    dx = (x - centre_x[..., None]) / wide[..., None]
    dy = (y - centre_y[..., None]) / high[..., None]
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    u = (cos * dx)[:, :, None] + (sin * dy)[..., None]
    v = (cos * dy)[..., None] - (sin * dx)[:, :, None]
    return u, v


def _inside(u: torch.Tensor, v: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """1 within the cell, 0 outside, over one pixel."""
    return ((1 - torch.maximum(u.abs(), v.abs())) * half).clamp_(0, 1)


def _cutout(atlas: Atlas, cell, pose, x, y) -> torch.Tensor:
    """[4, B, F, H, W], colours times alpha."""
    u, v = _local(pose, x, y)
    half = _over(pose[..., 2])
    # one level for the whole clip: a change of level would show
    lod = (levels(atlas.size / 2 / half.mean(1, keepdim=True)) + 0.35).floor()
    colour = sample(atlas, _over(cell), u * 0.5 + 0.5, v * 0.5 + 0.5, lod, smooth=False)
    return colour.mul_(_inside(u, v, half))


def _dropped(atlas: Atlas, cell, pose, shadow, x, y) -> torch.Tensor:
    """[B, F, H, W] darkness of the shadow that a cut-out drops on what hangs behind it."""
    moved = torch.cat([shadow[..., :2], pose[..., 2:]], -1)
    u, v = _local(moved, x, y, shadow[..., 2:4])
    lod = torch.full_like(u[:, :1, :1, :1], BLUR)
    alpha = sample(atlas, _over(cell), u * 0.5 + 0.5, v * 0.5 + 0.5, lod, channels=slice(3, 4))[0]
    return alpha * _inside(u, v, _over(pose[..., 2]) * 0.3) * _over(shadow[..., 4])


def _contact(shadow, x, y) -> torch.Tensor:
    """[B, F, H, W] darkness of a soft ellipse."""
    dx = (x - shadow[..., 0, None]) / shadow[..., 2, None]
    dy = (y - shadow[..., 1, None]) / shadow[..., 3, None]
    square = (dx**2)[:, :, None] + (dy**2)[..., None]
    return (1.25 - square).clamp_(0, 1).mul_(_over(shadow[..., 4]))


def _darken(canvas: torch.Tensor, rows: torch.Tensor, darkness: torch.Tensor) -> None:
    canvas[:, rows] = canvas[:, rows] * (1 - darkness)


def _cover(canvas: torch.Tensor, rows: torch.Tensor, colour: torch.Tensor) -> None:
    canvas[:, rows] = canvas[:, rows] * (1 - colour[3]) + colour[:3]
