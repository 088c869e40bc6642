"""What is in a batch of clips: words, camera, place, objects and their paths, all at random.

Everything is drawn from one seeded generator on the CPU, so a seed gives the same scenes on every
machine; `render` makes the pixels.
"""

import random
from dataclasses import dataclass, fields

import torch

from . import conditions, places, tracks
from .assets import Assets
from .conditions import (
    CAMERAS,
    COLOURS,
    CUTOUTS,
    DEEP_CAMERAS,
    FIELDS,
    FLAT_CAMERAS,
    FLOORS,
    MOTIONS,
    PHOTOGRAPHS,
    SHAPES,
    SOLIDS,
    TEXTURES,
    WALLS,
)

NUMBERS = (1, 1, 1, 2, 2, 2, 2, 3, 3, 4)  # of objects, as often as they stand here
DEEP_SHARE = 0.5  # of scenes with depth
CUTOUT_SHARE = 0.84  # of objects; the rest are shapes and solids
STILL_SHARE = 0.15  # of cameras


@dataclass
class Scenes:
    """A batch of clips before rendering; the first axis of every tensor is the batch.

    words: [B, TOKENS, WORDS_PER_PHRASE] ids of `conditions`.
    place: where the camera is and what it sees behind the objects.
    objects: up to MAX_OBJECTS of every clip, from back to front.
    """

    frames: int
    height: int
    width: int
    words: torch.Tensor
    place: places.Places
    objects: tracks.Objects

    def to(self, device: torch.device | str) -> "Scenes":
        values = [getattr(self, field.name) for field in fields(self)]
        return Scenes(*(v if isinstance(v, int) else v.to(device) for v in values))


def draw(
    seed: int,
    count: int,
    *,
    frames: int,
    height: int,
    width: int,
    assets: Assets,
) -> Scenes:
    """`count` scenes of one size in pixels."""
    generator = torch.Generator().manual_seed(seed)
    chooser = random.Random(seed)
    words = torch.stack([conditions.parse(_prompt(chooser)) for _ in range(count)])
    phrases = [conditions.phrases(ids) for ids in words]
    place = places.draw(
        [(phrase[0][1:], phrase[1]) for phrase in phrases],
        generator,
        frames=frames,
        height=height,
        width=width,
        assets=assets,
    )
    objects = tracks.draw(
        [
            [conditions.split_object(phrase, row) for row, phrase in enumerate(clip[2:], 3)]
            for clip in phrases
        ],
        place,
        generator,
        height=height,
        width=width,
        assets=assets,
    )
    return Scenes(frames, height, width, words, place, objects)


def prompt(seed: int) -> str:
    """A prompt drawn as training draws them."""
    return _prompt(random.Random(seed))


def _prompt(chooser: random.Random) -> str:
    deep = chooser.random() < DEEP_SHARE
    unfit = FLAT_CAMERAS if deep else DEEP_CAMERAS
    cameras = [camera for camera in CAMERAS[1:] if camera not in unfit]
    camera = CAMERAS[0] if chooser.random() < STILL_SHARE else chooser.choice(cameras)
    if not deep:
        place = (chooser.choice(PHOTOGRAPHS),)
    elif chooser.random() < 0.4:
        place = (chooser.choice(FIELDS), "field")
    else:
        wall = chooser.choice(WALLS)
        floors = [floor for floor in FLOORS if floor != wall]
        place = (wall, "room", chooser.choice(floors), "floor")
    phrases = [("camera", *camera), place]
    seen: set[str] = set()
    for _ in range(chooser.choice(NUMBERS)):
        if chooser.random() < CUTOUT_SHARE:
            name = (chooser.choice([cutout for cutout in CUTOUTS if cutout not in seen]),)
        elif chooser.random() < 0.6:
            name = (chooser.choice(list(COLOURS)), chooser.choice(SHAPES))
        else:
            name = (chooser.choice(TEXTURES), chooser.choice(SOLIDS))
        seen.add(name[-1])
        # one motion in four is a drift, though four motions of nine are
        motion = chooser.choice([m for m in MOTIONS if m[0] != "drifting"] + ["drifting"] * 2)
        if motion == "drifting":
            motion = chooser.choice([m for m in MOTIONS if m[0] == "drifting"])
        phrases.append((*name, *motion))
    return ", ".join(" ".join(phrase) for phrase in phrases)
