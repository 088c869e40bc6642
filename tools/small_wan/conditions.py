"""What a clip can be asked to show, in words, and those words as the vectors Wan reads as text.

A prompt has phrases separated by commas: the camera, the place, then one to four objects from the
back to the front:

    camera panning left, mountains, tiger drifting right, red star spinning
    camera orbiting right, brick room wood floor, penguin resting, gravel ball spinning
    camera still, grass field, cow bouncing

A place is a photograph's name, or a field or a room with its textures.  Every phrase becomes one
token of 4096 numbers: the sum of its words' vectors and its place's, both from a table of random
numbers with a fixed seed.  Absent phrases are zeros, and so is an empty prompt.
"""

import functools

import torch

from . import sources

TEXT_DIM = 4096  # fixed by Wan
TABLE_SEED = 20261129

# every camera: how it is said after "camera"
CAMERAS = (
    ("still",),
    *(("panning", way) for way in ("left", "right", "up", "down")),
    *(("zooming", way) for way in ("in", "out")),
    *(("orbiting", way) for way in ("left", "right")),
)
# cameras that only a place with depth can have, and those that only a photograph can have
DEEP_CAMERAS = tuple(camera for camera in CAMERAS if camera[0] == "orbiting")
FLAT_CAMERAS = tuple(camera for camera in CAMERAS if camera[1:] in (("up",), ("down",)))

PHOTOGRAPHS = tuple(sources.PHOTOGRAPHS)
TEXTURES = ("grass", "gravel", "brick", "wood", "tiles", "sand", "carpet")
FIELDS = ("grass", "gravel", "sand")
WALLS = ("brick", "wood", "tiles", "carpet")
FLOORS = ("wood", "tiles", "carpet", "gravel")

CUTOUTS = tuple(sources.CUTOUTS)
COLOURS = {
    "red": (0.90, 0.12, 0.12),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.98, 0.90, 0.15),
    "green": (0.12, 0.72, 0.22),
    "blue": (0.12, 0.30, 0.95),
    "purple": (0.58, 0.18, 0.85),
    "white": (0.96, 0.96, 0.96),
}
SHAPES = ("disc", "square", "triangle", "star", "ring", "cross")  # of one colour, flat
SOLIDS = ("ball", "box")  # of one texture, in three dimensions
OBJECTS = CUTOUTS + SHAPES + SOLIDS

MOTIONS = (
    ("resting",),
    *(("drifting", way) for way in ("left", "right", "up", "down")),
    ("circling",),
    ("spinning",),
    ("pulsing",),
    ("bouncing",),
)

MAX_OBJECTS = 4
TOKENS = 2 + MAX_OBJECTS
WORDS_PER_PHRASE = 4

# row 0 of the table stands for "no word"
VOCABULARY = tuple(
    dict.fromkeys(
        (
            "",
            "camera",
            *(word for camera in CAMERAS for word in camera),
            *PHOTOGRAPHS,
            *TEXTURES,
            "field",
            "room",
            "floor",
            *COLOURS,
            *OBJECTS,
            *(word for motion in MOTIONS for word in motion),
        )
    )
)
WORD_ID = {word: index for index, word in enumerate(VOCABULARY)}


class PromptError(ValueError):
    """The prompt cannot be read; the message says which phrase is wrong and what may be said."""


def parse(prompt: str) -> torch.Tensor:
    """Word ids [TOKENS, WORDS_PER_PHRASE], 0 where there is none.  Raises PromptError."""
    ids = torch.zeros(TOKENS, WORDS_PER_PHRASE, dtype=torch.long)
    if not prompt.strip():
        return ids
    phrases = [tuple(phrase.split()) for phrase in prompt.split(",")]
    if not 3 <= len(phrases) <= TOKENS:
        raise PromptError(
            f"the prompt has {len(phrases)} phrases between commas; it needs a camera, a place and "
            f"one to {MAX_OBJECTS} objects, as in 'camera still, hills, tiger resting'"
        )
    camera, place, *objects = phrases
    _check_camera(camera)
    _check_place(place)
    _check_pair(camera[1:], place)
    for number, phrase in enumerate(objects, start=3):
        split_object(phrase, number)
    for row, phrase in enumerate(phrases):
        for column, word in enumerate(phrase):
            ids[row, column] = WORD_ID[word]
    return ids


def _check_camera(phrase: tuple[str, ...]) -> None:
    if phrase[:1] != ("camera",) or phrase[1:] not in CAMERAS:
        raise PromptError(
            f"phrase 1 is {' '.join(phrase)!r}; it must be 'camera' and one of: "
            + ", ".join(" ".join(camera) for camera in CAMERAS)
        )


def _check_place(phrase: tuple[str, ...]) -> None:
    if len(phrase) == 1 and phrase[0] in PHOTOGRAPHS:
        return
    if len(phrase) == 2 and phrase[0] in FIELDS and phrase[1] == "field":
        return
    if (
        len(phrase) == 4
        and phrase[1::2] == ("room", "floor")
        and phrase[0] in WALLS
        and phrase[2] in FLOORS
    ):
        return
    raise PromptError(
        f"phrase 2 is {' '.join(phrase)!r}; it must be a photograph ({', '.join(PHOTOGRAPHS)}), "
        f"'FIELD field' with FIELD one of {', '.join(FIELDS)}, or 'WALL room FLOOR floor' with "
        f"WALL one of {', '.join(WALLS)} and FLOOR one of {', '.join(FLOORS)}"
    )


def _check_pair(camera: tuple[str, ...], place: tuple[str, ...]) -> None:
    """Nothing turns around in a photograph, and nothing but one has room above and below."""
    wrong = DEEP_CAMERAS if len(place) == 1 else FLAT_CAMERAS
    if camera in wrong:
        allowed = [" ".join(other) for other in CAMERAS if other not in wrong]
        raise PromptError(
            f"the camera cannot be {' '.join(camera)!r} in {' '.join(place)!r}; there it can be: "
            + ", ".join(allowed)
        )


def split_object(phrase: tuple[str, ...], number: int) -> tuple[str, str, tuple[str, ...]]:
    """Colour or texture ('' for a cut-out), name and motion of phrase `number`."""
    kind = phrase[0] if phrase and phrase[0] in (*COLOURS, *TEXTURES) else ""
    rest = phrase[1:] if kind else phrase
    name, motion = (rest[0] if rest else ""), rest[1:]
    if name not in OBJECTS:
        raise PromptError(
            f"phrase {number} is {' '.join(phrase)!r}; no object is called {name!r}; there are: "
            + ", ".join(OBJECTS)
        )
    kinds = COLOURS if name in SHAPES else TEXTURES if name in SOLIDS else ("",)
    if kind not in kinds:
        needs = (
            f"one of these before it: {', '.join(kinds)}"
            if "" not in kinds
            else "no word before it"
        )
        raise PromptError(f"phrase {number} is {' '.join(phrase)!r}; {name!r} needs {needs}")
    if motion not in MOTIONS:
        raise PromptError(
            f"phrase {number} is {' '.join(phrase)!r}; after {name!r} must stand one of: "
            + ", ".join(" ".join(other) for other in MOTIONS)
        )
    return kind, name, motion


def phrases(ids: torch.Tensor) -> list[tuple[str, ...]]:
    """The phrases of word ids [TOKENS, WORDS_PER_PHRASE]."""
    words = (tuple(VOCABULARY[i] for i in row if i) for row in ids.tolist())
    return [phrase for phrase in words if phrase]


@functools.lru_cache(maxsize=4)
def _tables(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(TABLE_SEED)
    words = torch.randn(len(VOCABULARY), TEXT_DIM, generator=generator)
    words[0] = 0
    places = torch.randn(TOKENS, TEXT_DIM, generator=generator)
    return words.to(device), places.to(device)


def embed(ids: torch.Tensor) -> torch.Tensor:
    """Word ids [B, TOKENS, WORDS_PER_PHRASE] -> context [B, TOKENS, 4096], rows of rms 1 or 0."""
    words, places = _tables(ids.device)
    present = (ids > 0).sum(2, keepdim=True)
    summed = words[ids].sum(2) + places * (present > 0)
    return summed / (present + 1).sqrt()


def context(prompt: str) -> torch.Tensor:
    """A prompt -> [1, TOKENS, 4096]."""
    return embed(parse(prompt)[None])
