"""The one description of every field: type, range, default, help.

Python's validator, the nodes' widgets, the web editor and the docs are all fed from `FIELDS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .block_overrides import NO_OVERRIDES
from .mask_ratios import MaskRatios
from .step_ranges import NO_RANGES

DEFAULT_MASK_RATIOS = MaskRatios(
    {1: (0.0, 0.1), 2: (0.1, 0.15), 4: (0.15, 0.15), 8: (0.15, 0.35), 0: (0.35, 1.0)}
)


@dataclass(frozen=True)
class Field:
    """One field of a configuration.

    path       its place in a preset's mapping, dotted
    argument   its name as a `PSAConfig` argument
    kind       "bool", "int", "float", "text", "choice", "ints" (a list), "mask_ratios",
               "block_overrides" or "step_ranges"
    choices    for kind "choice": every accepted value
    low, high  for numbers, and for the ends of levels in kind "mask_ratios": the inclusive range;
               `step` is what an arrow key moves by
    length     for kind "ints": how many
    group      which part of an editor it belongs to: a key of `GROUPS`
    unit       what its numbers count; may be empty
    per_block  whether a transformer block can have a value of its own
    per_range  whether a range of steps can: not what decides the blocks and their order
    quiet      left out of a preset file at its default, so that an older pack can read the file
    """

    path: str
    argument: str
    kind: str
    default: Any
    label: str
    help: str
    group: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    length: int | None = None
    unit: str = ""
    per_block: bool = True
    per_range: bool = True
    quiet: bool = False

    def choice_help(self, help: str | None = None) -> list[tuple[Any, str]]:
        """(choice, its own line) of the choices that the help explains by "choice: line."

        `help` may be the field's help in another language; choices keep their names there.
        """
        text = self.help if help is None else help
        names = {"null" if c is None else str(c): c for c in self.choices}
        if not names:
            return []
        # also with the full stop and the colon of Chinese
        mark = "(?:^|(?<=[.] )|(?<=。))(" + "|".join(map(re.escape, names)) + ")[:\uff1a] ?"
        parts = re.split(mark, text)[1:]
        return [
            (names[name], line.strip()) for name, line in zip(parts[::2], parts[1::2], strict=True)
        ]

    @property
    def allowed(self) -> str:
        """What is accepted, in words."""
        if self.kind == "choice":
            shown = ["null" if c is None else str(c) for c in self.choices]
            return "allowed: " + ", ".join(shown)
        if self.kind == "int":
            return f"allowed: a whole number from {self.low:g} to {self.high:g}"
        if self.kind == "float":
            return f"allowed: a number from {self.low:g} to {self.high:g}"
        if self.kind == "ints":
            return (
                f"allowed: a list of {self.length} whole numbers from {self.low:g} to {self.high:g}"
            )
        return {"bool": "allowed: true or false", "text": "allowed: text"}[self.kind]


GROUPS = {
    "general": "General",
    "order": "Rearrangement",
    "blocks": "Blocks",
    "pyramid": "Pyramid",
    "similarity": "Similarity",
    "schedule": "Schedule",
}

FIELDS: tuple[Field, ...] = (
    Field(
        "type", "type", "choice", "psa", "Type",
        "psa: pyramid sparse attention. dense: the model's own attention, untouched.",
        "general", choices=("psa", "dense"), per_block=False, per_range=False,
    ),
    Field(
        "description", "description", "text", "", "Description",
        "What this preset is for. Shown in lists; no effect on the result.",
        "general", per_block=False, per_range=False,
    ),
    Field(
        "use_rearrange", "use_rearrange", "bool", True, "Reorder tokens",
        "Put tokens that are close in the video close in memory before blocks are cut. "
        "Tokens of a block are then more alike, so that pooling and skipping cost less accuracy.",
        "order", per_range=False,
    ),
    Field(
        "rearrange_method", "rearrange_method", "choice", None, "Order",
        "Gilbert: a space-filling curve over (frames, height, width). STA: small 3D tiles. "
        "SemanticAware: clusters of similar queries and keys, for heads that look at similar "
        "things wherever they are; a head whose clusters do not bring like keys together stays on "
        "the curve. Hybrid: the same for keys, Gilbert for queries. Both cost time in each call: "
        "start with Gilbert. null: the model's own raster order.",
        "order", per_range=False, choices=(None, "Gilbert", "STA", "SemanticAware", "Hybrid"),
    ),
    Field(
        "tile_size", "tile_size", "ints", (2, 8, 8), "Tile (depth, height, width)",
        "Size of a tile in tokens; only the STA order reads it.",
        "order", per_range=False, low=1, high=1024, step=1, length=3, unit="tokens",
    ),
    Field(
        "block_size.m", "block_m", "choice", 128, "Query block",
        "How many consecutive queries share one selection. old_mask_type: 128 only.",
        "blocks", per_range=False, choices=(64, 128), unit="tokens",
    ),
    Field(
        "block_size.n", "block_n", "choice", 64, "Key block",
        "How many consecutive keys get one pyramid level. Smaller blocks choose more finely and "
        "cost more to choose. old_mask_type: 128 only.",
        "blocks", per_range=False, choices=(32, 64, 128), unit="tokens",
    ),
    Field(
        "block_size.tile_n", "tile_n", "choice", 32, "Kernel tile",
        "Keys per inner step, a tuning hint of published presets. The kernels here choose their "
        "own and do not read it. At most the key block.",
        "blocks", per_range=False, choices=(16, 32, 64, 128), unit="tokens",
    ),
    Field(
        "mask_mode", "mask_mode", "choice", "topk", "Mode",
        "topk: each level gets a fixed share of the key blocks. thresholdbound: each level takes "
        "blocks until a share of the attention mass is covered.",
        "pyramid", choices=("topk", "thresholdbound"),
    ),
    Field(
        "mask_ratios", "mask_ratios", "mask_ratios", DEFAULT_MASK_RATIOS, "Pyramid levels",
        "Which part of the key blocks, most important first, is seen at full resolution (1), "
        "pooled 2x, 4x, 8x, or skipped (0). Pairs [from, to] that join up from 0 to 1.",
        "pyramid", low=0.0, high=1.0, step=0.01,
    ),
    Field(
        "tail", "tail", "choice", "none", "Tail",
        "What happens to level 0: none skips it; 8 to 128 keeps it, pooled over that many keys, so "
        "that nothing leaves the softmax. At most the key block.",
        "pyramid", choices=("none", 8, 16, 32, 64, 128), unit="keys",
    ),
    Field(
        "second_moment", "second_moment", "bool", False, "Second moment",
        "Correct each pooled key for the spread of the keys behind it. Costs one number per pooled "
        "key.",
        "pyramid",
    ),
    Field(
        "importance", "importance", "choice", "sub_block", "Importance",
        "How blocks are ranked. sub_block: cheap estimate from means of 16 queries against keys "
        "pooled 8x. exact: the true attention mass; as slow as dense attention, for studies.",
        "pyramid", choices=("sub_block", "exact"),
    ),
    Field(
        "attn_impl", "attn_impl", "choice", "new_mask_type", "Implementation",
        "Which rules hold; the speed is the same. new_mask_type: key blocks of 128, 64 or 32. "
        "old_mask_type: blocks of 128 only, allows the similarity mask and causal attention.",
        "similarity", per_range=False, choices=("new_mask_type", "old_mask_type"),
    ),
    Field(
        "use_sim_mask", "use_sim_mask", "bool", False, "Similarity mask",
        "Forbid pooling where neighbouring keys differ. Needs old_mask_type.",
        "similarity",
    ),
    *(
        Field(
            f"sim_thresholds.x{level}", f"sim_{level}x_threshold", "float", default,
            f"Similarity for {level}x",
            f"Keys may be pooled {level}x only where the cosine of the first and the last key of a "
            f"group of {level} is above this, on average over the block. Read with the similarity "
            "mask on.",
            "similarity", low=-1.0, high=1.0, step=0.05,
        )
        for level, default in ((2, 0.0), (4, 0.0), (8, -1.0))
    ),
    Field(
        "warmup_steps", "warmup_steps", "int", 0, "Warm-up steps",
        "The first sampler steps that stay dense. They set the layout of the video. The plain "
        "Python call has no steps and does not read it.",
        "schedule", low=0, high=1000, step=1, unit="steps", per_block=False, per_range=False,
    ),
    Field(
        "blocks", "blocks", "block_overrides", NO_OVERRIDES, "Single blocks",
        "Transformer blocks that differ from the rest, by number: dense, or settings that replace "
        "the preset's for them. Written in YAML, like 0-1: dense, or 12: {tail: 64}. The plain "
        "Python call has no blocks and does not read it.",
        "schedule", per_block=False, quiet=True,
    ),
    Field(
        "verbose", "verbose", "bool", False, "Verbose",
        "Log every decision instead of one line a run.",
        "general", per_block=False, per_range=False,
    ),
    # New fields go at the end: saved workflows know widgets by their place.
    Field(
        "grouping", "grouping", "choice", "order", "Pooled together",
        "Which keys of a block are averaged with each other. order: neighbours in the token order. "
        "similar: like keys, put together in each block first; closer to dense attention at the "
        "same density.",
        "pyramid", choices=("order", "similar"), quiet=True,
    ),
    Field(
        "refresh", "refresh", "int", 4, "Refresh every",
        "With similar: for how many sampling steps the groups and the levels of the blocks are "
        "kept. 1: they are made again in each step, as always in the first two sparse steps.",
        "pyramid", low=1, high=100, step=1, unit="steps", quiet=True,
    ),
    Field(
        "steps", "steps", "step_ranges", NO_RANGES, "Budgets by step",
        "Ranges of the sampling run that differ from the rest, in percent of its steps: dense, or "
        "settings that replace the preset's there. Written in YAML, like 0-10%: dense, or "
        "60-100%: {tail: 64}. The plain Python call has no steps and does not read it.",
        "schedule", per_block=False, per_range=False, quiet=True,
    ),
    Field(
        "qk", "qk", "choice", "half", "Query-key products",
        "The precision of these products. half: the model's own. int8: 8-bit "
        "integers, faster on many GPUs; adds up to 0.8% of error. auto: int8 where a measurement "
        "on this GPU says that it is faster, else half.",
        "pyramid", choices=("half", "int8", "auto"), quiet=True,
    ),
    Field(
        "value_sums", "value_sums", "choice", "float32", "Sums of values",
        "The precision in which weighted values are summed, up to 128 keys at a time. float16: at "
        "twice the rate on GeForce RTX GPUs; adds less than 0.1% of error. auto: float16 where a "
        "measurement on this GPU says that it is faster, else float32.",
        "pyramid", choices=("float32", "float16", "auto"), quiet=True,
    ),
)  # fmt: skip

FIELD_BY_PATH = {field.path: field for field in FIELDS}
FIELD_BY_ARGUMENT = {field.argument: field for field in FIELDS}


def field_of(path: str) -> Field | None:
    """The field that a path in a preset belongs to: `mask_ratios` for `mask_ratios.4`."""
    while path and path not in FIELD_BY_PATH:
        path = path.rpartition(".")[0]
    return FIELD_BY_PATH.get(path)
