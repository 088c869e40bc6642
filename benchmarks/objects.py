"""Made-up q, k, v whose statistics are those published of real video attention.

A clip is moving objects with hard borders over a background. Heads are of kinds: they look for like
objects, for the place around, for the same spot of an object in every frame (along its track), for
their own frame or their own place through time, evenly at everything, or at a few sinks. Keys have
few dimensions, in those channel pairs that the rotary embedding turns slowly; places are looked for
by pairs that it turns faster; each head's keys have a large mean. Each kind has a range of
sharpness (std of a query's logits), so that heads differ as a trained model's do.
likeness.md has the figures beside the published ones; `python -m benchmarks.likeness_table`
makes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from .inputs import SHAPES, normed, rotary_angles, rotate, smooth_field

OBJECTS, CODE, SHADING = 14, 8, 4
TOTAL_TURN = 1.2  # radians over the clip: pairs that turn less carry content


@dataclass(frozen=True)
class Kind:
    """How a head looks.

    std      of a query's logits, least and most
    looks    weights of like content, like place and same spot of the object
    reach    of the place, as shares of (frames, height, width); 0: that axis does not matter
    sunk     mass that goes to the sinks, least and most; 0: no sinks
    values   "content", or "track": alike along a track, without regard to place
    """

    std: tuple[float, float]
    looks: tuple[float, float, float]
    reach: tuple[float, float, float] = (0.5, 0.3, 0.3)
    sunk: tuple[float, float] = (0.0, 0.0)
    values: str = "content"


KINDS = {
    "object": Kind((2.0, 6.0), (1.0, 0.8, 0.0), (0.5, 0.25, 0.25)),
    "local": Kind((2.0, 9.0), (0.3, 1.0, 0.0), (0.3, 0.2, 0.2)),
    "correspondence": Kind((1.2, 3.2), (0.2, 0.4, 1.0), values="track"),
    "space": Kind((2.0, 5.0), (0.3, 1.0, 0.0), (0.06, 0.4, 0.4)),
    "time": Kind((2.0, 6.0), (0.3, 1.0, 0.0), (0.0, 0.1, 0.1)),
    "even": Kind((0.7, 1.2), (0.7, 0.7, 0.0), values="track"),
    "sinks": Kind((1.2, 2.5), (0.6, 1.0, 0.0), (0.3, 0.25, 0.25), sunk=(0.1, 0.4)),
}
PROFILES = {
    "objects": ("object", "correspondence", "local", "sinks", "space", "object", "time", "even"),
    "correspondence": ("correspondence",),
    "strips": ("space", "time"),
    "sinks": ("sinks",),
}
WAVES = 10
SINKS = (1, 4)  # keys that everything looks at, least and most
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Scene:
    """object: int64 `[L]`. place: `[L, 2]`, the token's row and column on its object, in tokens.
    spot: int64 `[L]`, the number of that place. content: `[L, channels]`."""

    object: torch.Tensor
    place: torch.Tensor
    spot: torch.Tensor
    content: torch.Tensor


def make(shape, profile="objects", device="cuda", dtype=torch.bfloat16, heads=None, seed=0):
    """q, k, v `[1, H, L, D]` as `inputs.make` gives them; one head at a time, nothing is L x L.

    shape    a name of `inputs.SHAPES`, or (heads, head dim, grid, text tokens in front)
    profile  of `PROFILES`; seed: the same one gives the same bits on the same kind of device
    """
    count, dim, grid, text = SHAPES[shape] if isinstance(shape, str) else shape
    count = heads or count
    length = text + math.prod(grid)
    q, k, v = (
        torch.empty(1, length, count, dim, dtype=dtype, device=device).transpose(1, 2)
        for _ in range(3)
    )
    scene = scene_of(grid, generator(device, seed, 0))
    for head in range(count):
        rng = generator(device, seed, head + 1)
        for x, part in zip((q, k, v), head_of(scene, grid, dim, profile, head, rng), strict=True):
            x[0, head, text:] = part.to(dtype)
            words = torch.randn(text, dim, generator=rng, device=device)
            x[0, head, :text] = normed(words).to(dtype)
    return q, k, v


def generator(device, seed: int, head: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed * 1000 + head)


def scene_of(grid, rng) -> Scene:
    """Objects that drift over the picture, the nearest one at each token; borders are hard."""
    frames, height, width = grid
    device = rng.device

    def drawn(*size):
        return torch.rand(*size, generator=rng, device=device)

    size = torch.tensor((height, width), device=device)
    start, drift = drawn(OBJECTS, 2) * size, (drawn(OBJECTS, 2) - 0.5) * 0.6 * size
    reach = drawn(OBJECTS) * 0.2 * min(height, width)
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    picture = torch.stack((rows, columns), -1).flatten(0, 1).float()
    objects, places = [], []
    for frame in range(frames):
        centres = start + drift * (frame / max(1, frames - 1))
        nearest = (torch.cdist(picture, centres) - reach).argmin(1)
        objects.append(nearest)
        places.append(picture - centres[nearest])
    of, place = torch.cat(objects), torch.cat(places)
    cells = torch.cat((of[:, None], place.round().long()), 1)
    spot = cells.unique(dim=0, return_inverse=True)[1]
    code = torch.randn(OBJECTS, CODE, generator=rng, device=device)
    shading = smooth_field(grid, SHADING, (0.6, 0.6, 0.5), rng)
    return Scene(of, place, spot, torch.cat((code[of], 0.7 * shading), 1))


def head_of(scene: Scene, grid, dim: int, profile: str, head: int, rng):
    """q, k, v `[L, D]` in float32 of one head; which kind it is follows from its number."""
    kinds = PROFILES[profile]
    kind = KINDS[kinds[head % len(kinds)]]
    at = ((head // len(kinds)) * GOLDEN + 0.5 + 0.37 * (head % len(kinds))) % 1
    device, length = rng.device, len(scene.object)

    def noise(*size):
        return torch.randn(*size, generator=rng, device=device)

    angles = rotary_angles(grid, dim, device)
    slow = _slow(angles)
    queries, keys = _look(kind, scene, grid, angles, slow, noise)
    queries, keys = rotate(queries, angles), rotate(keys, angles)
    some = torch.randperm(length, generator=rng, device=device)[:256]
    logits = queries[some] @ keys.T * dim**-0.5
    factor = kind.std[0] * (kind.std[1] / kind.std[0]) ** at / logits.std(1).mean()
    queries *= factor
    values = _values(kind, scene, dim, noise)
    if kind.sunk[1]:
        count = int(torch.randint(SINKS[0], SINKS[1] + 1, (1,), generator=rng, device=device))
        sinks = torch.randperm(length, generator=rng, device=device)[:count]
        mass = kind.sunk[0] + (kind.sunk[1] - kind.sunk[0]) * at
        # a channel of their own, which all queries share and no other key has
        channel = int(slow[-1])
        others = (logits * factor).logsumexp(1).mean()
        wanted = others + math.log(mass / (1 - mass) / count)
        queries[:, channel] = 0.5 * queries.square().sum(1).mean().sqrt()
        keys[:, channel] = 0
        keys[sinks] = 0
        keys[sinks, channel] = wanted * dim**0.5 / queries[0, channel]
        values[sinks] *= 0.1
    return queries, keys, values


def _slow(angles: torch.Tensor) -> torch.Tensor:
    """Channels that turn least; both of a pair are in it, the slowest last."""
    turn = angles.amax(0)
    order = turn.argsort(descending=True, stable=True)
    order = order[turn[order] < TOTAL_TURN]
    return torch.stack((2 * order, 2 * order + 1), 1).flatten()


def _look(kind: Kind, scene: Scene, grid, angles, slow, noise):
    """queries and keys `[L, D]` before the rotary embedding."""
    length, dim = len(angles), 2 * angles.shape[1]
    like, local, spot = kind.looks
    content = scene.content @ noise(scene.content.shape[1], 6)
    content = content / content.std()
    parts = [like * content]
    if spot:
        # random waves over the object's own places: alike only where the place is the same
        waves = 0.9 * noise(2, WAVES)
        phase = scene.place @ waves + 2 * math.pi * noise(OBJECTS, WAVES)[scene.object]
        parts.append(spot * torch.cat((phase.cos(), phase.sin()), 1))
    latent = torch.cat(parts, 1)
    basis = torch.linalg.qr(noise(len(slow) - 2, latent.shape[1]))[0].T
    # the slowest pair stays free for sinks
    shared = torch.zeros(length, dim, device=angles.device)
    shared[:, slow[:-2]] = latent @ basis * (dim / latent.shape[1]) ** 0.5
    around = _around(kind.reach, grid, dim).to(angles.device) * local * dim**0.5
    mean = torch.zeros(dim, device=angles.device)
    mean[slow[:-2]] = functional.normalize(noise(len(slow) - 2), dim=0)
    mean[slow[:2]] = noise(2).sign()
    mean *= (1.1 + 0.2 * noise(1)) * dim**0.5 / mean.norm() * math.hypot(like, local, spot)
    keys = normed(shared + around + mean + 0.15 * noise(length, dim))
    queries = normed(shared + around + 0.2 * noise(length, dim))
    return queries, keys


def _around(reach, grid, dim: int) -> torch.Tensor:
    """`[D]`, of length 1: what both q and k hold so that, once turned, near places match."""
    found = torch.zeros(dim)
    per_axis = 2 * (dim // 6)
    start = 0
    for share, n, channels in zip(
        reach, grid, (dim - 2 * per_axis, per_axis, per_axis), strict=True
    ):
        if share:
            rate = 10000.0 ** (-torch.arange(0, channels, 2) / channels)
            # the fastest pair that turns no more than half a circle within twice the reach
            first = int((rate * share * n * 2 > math.pi).sum())
            for step, weight in enumerate((1.0, 0.8, 0.6)):
                pair = min(first + step, channels // 2 - 1)
                found[start + 2 * pair] += weight
        start += channels
    return found / found.norm()


def _values(kind: Kind, scene: Scene, dim: int, noise) -> torch.Tensor:
    length = len(scene.object)
    if kind.values == "track":
        table = noise(int(scene.spot.max()) + 1, 16)
        seen = table[scene.spot] @ noise(16, dim) / 4
    else:
        width = scene.content.shape[1]
        seen = scene.content @ noise(width, 12) @ noise(12, dim) / (12 * width) ** 0.5
    rough = noise(length, 16) @ noise(16, dim) / 4
    return seen + 0.6 * rough + 0.3 * noise(1, dim)
