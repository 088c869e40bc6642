"""What a clip can be asked to show, in words, and those words as the vectors Wan reads as text.

A prompt has phrases separated by commas, at most six:

    camera left, plaid green background, red striped disc drifting, blue plain star spinning

The camera first, the background second, then up to four objects from the back to the front.  Every
phrase becomes one token of 4096 numbers: the sum of its words' vectors and its place's, both from
a table of random numbers with a fixed seed.  Absent phrases are zeros, and so is an empty prompt.
"""

import functools

import torch

TEXT_DIM = 4096  # fixed by Wan
TABLE_SEED = 20261122

CAMERAS = ("still", "left", "right", "up", "down")
PATTERNS = ("plain", "wavy", "plaid", "blotchy")
COLOURS = {
    "red": (0.90, 0.15, 0.15),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.95, 0.90, 0.20),
    "green": (0.15, 0.75, 0.25),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.15, 0.30, 0.95),
    "purple": (0.60, 0.20, 0.85),
    "pink": (0.95, 0.50, 0.75),
    "white": (0.95, 0.95, 0.95),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
CLASSES = ("disc", "square", "triangle", "star", "ring", "cross")
MOTIONS = ("resting", "drifting", "circling", "spinning", "pulsing")

CAMERA_PHRASE = (("camera",), CAMERAS)
BACKGROUND_PHRASE = (PATTERNS, tuple(COLOURS), ("background",))
OBJECT_PHRASE = (tuple(COLOURS), TEXTURES, CLASSES, MOTIONS)
MAX_OBJECTS = 4
PHRASES = (CAMERA_PHRASE, BACKGROUND_PHRASE) + (OBJECT_PHRASE,) * MAX_OBJECTS
TOKENS = len(PHRASES)
WORDS_PER_PHRASE = 4

# row 0 of the table stands for "no word"
VOCABULARY = (
    "",
    *dict.fromkeys(word for phrase in PHRASES for choices in phrase for word in choices),
)
WORD_ID = {word: index for index, word in enumerate(VOCABULARY)}


class PromptError(ValueError):
    """The prompt cannot be read; the message says which word is wrong and what may stand there."""


def parse(prompt: str) -> torch.Tensor:
    """Word ids [TOKENS, WORDS_PER_PHRASE], 0 where there is none."""
    ids = torch.zeros(TOKENS, WORDS_PER_PHRASE, dtype=torch.long)
    if not prompt.strip():
        return ids
    phrases = [phrase.split() for phrase in prompt.split(",")]
    if len(phrases) > TOKENS:
        raise PromptError(f"{len(phrases)} phrases in {prompt!r}; at most {TOKENS} fit")
    for row, (words, slots) in enumerate(zip(phrases, PHRASES, strict=False)):
        if len(words) != len(slots):
            raise PromptError(
                f"phrase {row + 1} is {' '.join(words)!r}; it needs {len(slots)} words: "
                + " ".join("|".join(choices) for choices in slots)
            )
        for column, (word, choices) in enumerate(zip(words, slots, strict=True)):
            if word not in choices:
                raise PromptError(
                    f"{word!r} in phrase {row + 1} of the prompt; here may stand: "
                    + ", ".join(choices)
                )
            ids[row, column] = WORD_ID[word]
    return ids


def text(ids: torch.Tensor) -> str:
    """The prompt of word ids [TOKENS, WORDS_PER_PHRASE]."""
    phrases = (" ".join(VOCABULARY[i] for i in row if i) for row in ids.tolist())
    return ", ".join(phrase for phrase in phrases if phrase)


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
