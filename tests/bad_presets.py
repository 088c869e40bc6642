"""Generated bad presets, each with the exact field paths that a validator must name.

    from .bad_presets import bad_presets
    for bad in bad_presets():
        bad.name, bad.preset, bad.breaches

Everything in a preset is of YAML's plain types (`yaml.safe_dump` writes all of them; a few hold
.nan or .inf). The rules are written out here once more, by hand: nothing comes from the validator.
"""

import copy
import random
from dataclasses import dataclass

NAN, INF = float("nan"), float("inf")
LEVELS = (1, 2, 4, 8, 0)


@dataclass(frozen=True)
class Breach:
    """One thing that is wrong: its path, and the value found there (None: not part of the text)."""

    path: str
    found: object = None

    @property
    def shown(self) -> tuple[str, ...]:
        """What a message may show of the found value: its repr, or a pair with ten digits."""
        if self.found is None:
            return ()
        texts = [repr(self.found)[:190]]
        if isinstance(self.found, list) and all(type(x) in (int, float) for x in self.found):
            texts.append("[" + ", ".join(f"{x:.10g}" for x in self.found) + "]")
        return tuple(texts)


@dataclass(frozen=True)
class BadPreset:
    name: str
    preset: dict
    breaches: tuple[Breach, ...]

    @property
    def paths(self) -> list[str]:
        return sorted(breach.path for breach in self.breaches)


GOOD = {
    "type": "psa",
    "description": "all of it",
    "use_rearrange": True,
    "rearrange_method": "Gilbert",
    "tile_size": [2, 8, 8],
    "block_size": {"m": 128, "n": 128, "tile_n": 32},
    "mask_mode": "thresholdbound",
    "mask_ratios": {1: [0.0, 0.4], 2: [0.4, 0.5], 4: [0.5, 0.6], 8: [0.6, 0.8], 0: [0.8, 1.0]},
    "tail": "none",
    "second_moment": False,
    "importance": "sub_block",
    "attn_impl": "old_mask_type",
    "use_sim_mask": True,
    "sim_thresholds": {"x2": 0.7, "x4": 0.65, "x8": 0.6},
    "warmup_steps": 12,
    "blocks": {"0-1": "dense", 12: {"mask_ratios": {1: [0.0, 0.5], 0: [0.5, 1.0]}}},
    "verbose": False,
    "grouping": "similar",
    "refresh": 6,
    "qk": "int8",
    "value_sums": "float16",
    "steps": {"0-12.5%": "dense", "50-100%": {"second_moment": True, "blocks": {"3-4": "dense"}}},
}

_JUNK = [None, 3, -1, 0.5, NAN, INF, True, "junk", "", [], [1, 2], {}, {"a": 1}]
_BOOLS = [None, 0, 1, 1.0, NAN, "true", "yes", [], [True], {}]
_SIZES = [None, 0, -64, 48, 96, 256, 64.0, 128.5, NAN, True, "64", [64], {"n": 64}]
_THRESHOLDS = [None, 1.5, -1.01, 7, NAN, INF, -INF, True, "0.7", [0.7], {}]

# path -> values that are wrong there whatever the other fields say
WRONG_VALUES = {
    "type": [*_JUNK, "PSA", "sparse"],
    "description": [None, 3, 0.5, True, ["a"], {"a": "b"}],
    "use_rearrange": _BOOLS,
    "rearrange_method": [x for x in _JUNK if x is not None] + ["gilbert", "Hilbert", "none"],
    "tile_size": [
        None,
        8,
        0.5,
        True,
        "2,8,8",
        [],
        [2, 8],
        [2, 8, 8, 8],
        [2, 8, 0],
        [2, -8, 8],
        [2, 8, 8.0],
        [2, True, 8],
        [2, "8", 8],
        [2, 8, 2000],
        [[2], 8, 8],
        {"d": 2},
        [NAN, 8, 8],
    ],
    "block_size.m": [*_SIZES, 32],
    "block_size.n": [*_SIZES, 16],
    "block_size.tile_n": [*_SIZES, 8],
    "mask_mode": [*_JUNK, "top_k", "threshold_bound"],
    "tail": [*_JUNK, 4, 256, 32.0, "32", False],
    "second_moment": _BOOLS,
    "importance": [*_JUNK, "Exact"],
    "attn_impl": [*_JUNK, "new", "old"],
    "use_sim_mask": _BOOLS,
    "sim_thresholds.x2": _THRESHOLDS,
    "sim_thresholds.x4": _THRESHOLDS,
    "sim_thresholds.x8": _THRESHOLDS,
    "warmup_steps": [None, -1, 1001, 2.0, 1.5, NAN, INF, True, False, "12", [12], {}, 10**400],
    "verbose": _BOOLS,
    "grouping": [*_JUNK, "Similar", "likeness"],
    "refresh": [None, 0, 101, 2.0, NAN, True, "4", [4], {}],
    "qk": [*_JUNK, "Int8", "fp8", "bf16"],
    "value_sums": [*_JUNK, "Float16", "half", "fp16", "bfloat16"],
}

# wrong key -> the known path that the message must offer
MISSPELT = {
    "tpye": "type", "descripton": "description", "use_rearange": "use_rearrange",
    "rearrange_methods": "rearrange_method", "tilesize": "tile_size", "mask_modes": "mask_mode",
    "mask_ratio": "mask_ratios", "tails": "tail", "second_momentum": "second_moment",
    "attn_imp": "attn_impl", "use_simmask": "use_sim_mask", "warmup_step": "warmup_steps",
    "verbos": "verbose", "groupings": "grouping", "refreshs": "refresh", "stepss": "steps",
    "value_sum": "value_sums",
    "block_n": "block_size.n", "tile_n": "block_size.tile_n",
    "sim_2x_threshold": "sim_thresholds.x2", "block_size.mm": "block_size.m",
    "block_size.tilen": "block_size.tile_n", "sim_thresholds.x_2": "sim_thresholds.x2",
    "sim_thresholds.x16": "sim_thresholds.x",
}  # fmt: skip


def place(preset: dict, path: str, value) -> None:
    """Sets a dotted path, as a mend's `changes` spell it; `mask_ratios.4` replaces 4 and "4"."""
    section, _, key = path.partition(".")
    if section in ("blocks", "steps") and key:
        entries = preset[section]
        name = next(x for x in entries if f"{key}.".startswith(f"{x}."))  # "12.5-30%" has dots
        if key == str(name):
            entries[name] = value
        else:
            place(entries[name], key.removeprefix(f"{name}."), value)
        return
    if not key:
        preset[section] = value
        return
    inner = preset.setdefault(section, {})
    if section == "mask_ratios":
        inner.pop(key, None)
        key = int(key)
    inner[key] = value


def break_value(rng: random.Random, preset: dict):
    path = rng.choice(list(WRONG_VALUES))
    value = rng.choice(WRONG_VALUES[path])
    place(preset, path, copy.deepcopy(value))
    return {path}, [Breach(path, value)]


def break_name(rng: random.Random, preset: dict):
    path = rng.choice(list(MISSPELT))
    place(preset, path, rng.choice([1, "x", None, [0.5]]))
    return {f"{path} (unknown)"}, [Breach(path)]


def break_section(rng: random.Random, preset: dict):
    path = rng.choice(["block_size", "sim_thresholds"])
    preset[path] = rng.choice([None, 128, "128", [128, 64], True, 0.5, NAN])
    parts = {p for p in [*WRONG_VALUES, *MISSPELT] if p.startswith(f"{path}.")}
    return parts | {f"{p} (unknown)" for p in parts}, [Breach(path, preset[path])]


def break_ratios(rng: random.Random, preset: dict):
    """A valid partition with one thing wrong, or two at levels that are no neighbours."""
    levels = [level for level in LEVELS if rng.random() < 0.8] or [1]
    cuts = [0.0, *sorted(round(rng.uniform(0.1, 0.9), 3) for _ in levels[1:]), 1.0]
    ratios = {level: [cuts[i], cuts[i + 1]] for i, level in enumerate(levels)}
    breaches = []
    for i in rng.choice([(0,), (len(levels) - 1,), (len(levels) // 2,), (0, 2)]):
        if i < len(levels):
            breaches.append(_break_level(rng, ratios, levels, i))
    if rng.random() < 0.25:
        key = rng.choice([3, 16, -1, "x", "1.0", 0.5, None])
        ratios[key] = [0.0, 1.0]
        breaches.append(Breach(f"mask_ratios.{key}", key))
    if rng.random() < 0.1:
        # JSON spells levels as text; the same level in both spellings is given twice
        ratios[str(levels[-1])] = [0.2, 0.3]
        breaches.append(Breach(f"mask_ratios.{levels[-1]}"))
    preset["mask_ratios"] = ratios
    preset["tail"] = 32
    return {"mask_ratios", "tail"}, breaches


def _break_level(rng: random.Random, ratios: dict, levels: list, i: int) -> Breach:
    level = levels[i]
    lower, upper = ratios[level]
    kinds = ["not a pair", "shift"]
    if lower < upper:
        kinds.append("swapped")
    if i == len(levels) - 1:
        kinds += ["end", "above"]
    if i == 0:
        kinds.append("below")
    kind = rng.choice(kinds)
    if kind == "not a pair":
        wrong = [None, 0.5, "0-1", [], [lower], [lower, upper, 1.0], {"lo": lower}, [str(lower), 1]]
        wrong += [[False, True], [NAN, upper], [lower, INF], [lower, None], [[lower], upper]]
        ratios[level] = rng.choice(wrong)
    elif kind == "swapped":
        ratios[level] = [upper, lower]
    elif kind == "end":
        ratios[level] = [lower, (lower + 1.0) / 2 if lower < 1.0 else 1.1]
    elif kind == "above":
        ratios[level] = [lower, 1.25]
    elif kind == "below":
        ratios[level] = [-0.25, upper]
    else:  # the lower bound leaves its neighbour: a gap, or an overlap
        up = (lower + upper) / 2
        ratios[level] = [up if up > lower else lower - 0.05, upper]
    return Breach(f"mask_ratios.{level}", ratios[level])


def break_whole_ratios(rng: random.Random, preset: dict):
    kind = rng.randrange(3)
    if kind == 0:
        preset["mask_ratios"] = rng.choice([None, 0.5, "all", [0.0, 1.0], [], True])
        breach = Breach("mask_ratios", preset["mask_ratios"])
    elif kind == 1:
        preset["mask_ratios"], breach = {}, Breach("mask_ratios")
    else:  # nothing kept and no tail
        preset["mask_ratios"] = rng.choice([{0: [0, 1]}, {1: [0.0, 0.0], 0: [0.0, 1.0]}])
        preset["tail"], breach = "none", Breach("mask_ratios.0")
    return {"mask_ratios", "tail"}, [breach]


def break_together(rng: random.Random, preset: dict):
    """Fields that are right one by one and clash with each other."""
    while True:
        attn = rng.choice(["new_mask_type", "old_mask_type"])
        sim = rng.random() < 0.5
        m, n = rng.choice([64, 128]), rng.choice([32, 64, 128])
        tile, tail = rng.choice([16, 32, 64, 128]), rng.choice(["none", 8, 16, 32, 64, 128])
        breaches = []
        if attn == "new_mask_type" and sim:
            breaches.append(Breach("use_sim_mask", True))
        if attn == "old_mask_type" and m != 128:
            breaches.append(Breach("block_size.m", m))
        if attn == "old_mask_type" and n != 128:
            breaches.append(Breach("block_size.n", n))
        if tile > n:
            breaches.append(Breach("block_size.tile_n", tile))
        if tail != "none" and tail > n:
            breaches.append(Breach("tail", tail))
        if breaches:
            break
    preset.update(attn_impl=attn, use_sim_mask=sim, tail=tail)
    preset["block_size"].update(m=m, n=n, tile_n=tile)
    touched = {"attn_impl", "use_sim_mask", "tail"}
    return touched | {"block_size.m", "block_size.n", "block_size.tile_n"}, breaches


# settings that no block can have of its own
SAME_IN_ALL_BLOCKS = ["type", "description", "warmup_steps", "verbose", "blocks", "steps"]
# settings that no range of steps can have of its own, nor blocks in it
SAME_IN_ALL_STEPS = [
    "type", "description", "warmup_steps", "verbose", "steps", "use_rearrange", "rearrange_method",
    "tile_size", "block_size.m", "block_size.n", "block_size.tile_n", "attn_impl",
]  # fmt: skip
# what a clash of an entry with the rest of a preset reads
CLASHING = {
    "attn_impl", "use_sim_mask", "tail", "mask_ratios", "block_size.m", "block_size.n",
    "block_size.tile_n",
}  # fmt: skip


def break_blocks(rng: random.Random, preset: dict):
    """One thing wrong with single blocks, beside an entry that is right."""
    key = rng.choice([12, "12", "10-11", "4, 6-7"])
    kind = rng.choice(["key", "twice", "clash", *ENTRY_KINDS])
    preset["blocks"] = {"0-1": "dense", 30: {"second_moment": True}}
    if kind == "key":
        key = rng.choice(["x", "", "5-2", "1.5", -1, 10_000, "3-", None])
        preset["blocks"][key] = "dense"
        return {"blocks"}, [Breach(f"blocks.{key}")]
    if kind == "twice":
        key = rng.choice([1, "1-3", "28-31", "30"])
        preset["blocks"][key] = rng.choice(["dense", {"tail": 32}])
        return {"blocks"}, [Breach(f"blocks.{key}")]
    if kind == "clash":  # what `GOOD` has does not work with it
        preset["blocks"][key] = {"block_size": {"n": 64, "tile_n": 16}}
        return {"blocks"} | CLASHING, [Breach(f"blocks.{key}.block_size.n", 64)]
    return {"blocks"}, [_break_entry(rng, preset, "blocks", key, kind, SAME_IN_ALL_BLOCKS)]


def break_steps(rng: random.Random, preset: dict):
    """One thing wrong with ranges of steps, beside entries that are right."""
    key = rng.choice(["20-50%", "12.5-30%", "20% - 33.3%"])
    kinds = ["key", "twice", "clash", "block", "block's own", "block's order", "meet"]
    kind = rng.choice([*kinds, *ENTRY_KINDS])
    preset["steps"] = {"0-12.5%": "dense", "60-100%": {"second_moment": True}}
    if kind == "key":
        key = rng.choice(["x", "", "50-20%", "20-20%", "20-101%", "20-30", "20%", 5, None, "-1-5%"])
        preset["steps"][key] = "dense"
        return {"steps"}, [Breach(f"steps.{key}")]
    if kind == "twice":
        key = rng.choice(["10-13%", "0-60%", "99.5-100%", "60% - 100%"])
        preset["steps"][key] = rng.choice(["dense", {"tail": 32}])
        return {"steps"}, [Breach(f"steps.{key}")]
    if kind in ENTRY_KINDS:
        return {"steps"}, [_break_entry(rng, preset, "steps", key, kind, SAME_IN_ALL_STEPS)]
    settings = preset["steps"][key] = {}
    if kind == "block":
        settings["blocks"] = {"0, 2": {"tail": 5}}
        return {"steps"}, [Breach(f"steps.{key}.blocks.0, 2.tail", 5)]
    if kind == "block's own":
        settings["blocks"] = {7: {"mask_ratios": {0: [0.0, 1.0]}, "tail": "none"}}
        return {"steps"}, [Breach(f"steps.{key}.blocks.7.mask_ratios.0")]
    if kind == "block's order":
        path = rng.choice(SAME_IN_ALL_STEPS)
        settings["blocks"] = {7: {}}
        place(settings["blocks"][7], path, 3)
        return {"steps"}, [Breach(f"steps.{key}.blocks.7.{path}")]
    preset |= {"attn_impl": "new_mask_type", "use_sim_mask": False}
    touched = {"steps", "blocks"} | CLASHING
    if kind == "meet":  # the blocks' keys and the range's tail are right one by one
        preset["blocks"] = {7: {"block_size": {"n": 32}}}
        settings["tail"] = 64
        return touched, [Breach(f"steps.{key}.tail", 64)]
    settings["use_sim_mask"] = True
    return touched, [Breach(f"steps.{key}.use_sim_mask", True)]


# what may be wrong with an entry of either whatever the rest is
ENTRY_KINDS = ["entry", "value", "fixed", "name", "ratios"]


def _break_entry(rng: random.Random, preset: dict, section: str, key, kind: str, fixed) -> Breach:
    if kind == "entry":
        value = preset[section][key] = rng.choice([None, "Dense", 3, True, ["dense"], 0.5])
        return Breach(f"{section}.{key}", value)
    settings = preset[section][key] = {}
    found = None
    if kind == "value":
        path = rng.choice([path for path in WRONG_VALUES if path not in fixed])
        value = found = rng.choice(WRONG_VALUES[path])
    elif kind == "fixed":
        path = rng.choice(fixed)
        value = GOOD.get(path, 3)
    elif kind == "name":
        path, value = rng.choice([path for path in MISSPELT if "." not in path]), 1
    else:
        settings["mask_ratios"] = {1: [0.0, 0.5], 0: [0.6, 1.0]}
        return Breach(f"{section}.{key}.mask_ratios.0", [0.6, 1.0])
    place(settings, path, copy.deepcopy(value))
    return Breach(f"{section}.{key}.{path}", found)


BREAKERS = (
    break_value, break_value, break_value, break_name, break_section,
    break_ratios, break_ratios, break_whole_ratios, break_together, break_together, break_blocks,
    break_steps,
)  # fmt: skip


def bad_presets(count: int = 400, seed: int = 1) -> list[BadPreset]:
    """`count` presets: every second one with a single breaker, the others with two to four."""
    rng = random.Random(seed)
    found = []
    while len(found) < count:
        preset, touched, breaches = copy.deepcopy(GOOD), set(), []
        wanted = 1 if len(found) % 2 else rng.randint(2, 4)
        names = []
        while len(names) < wanted:
            trial = copy.deepcopy(preset)
            breaker = rng.choice(BREAKERS)
            try:
                paths, more = breaker(rng, trial)
            except (AttributeError, TypeError):
                continue  # a section that an earlier breaker has made unusable
            if paths & touched or not more:
                continue
            preset, touched, breaches = trial, touched | paths, breaches + more
            names.append(breaker.__name__)
        name = f"{len(found):03d}-" + "+".join(names)
        found.append(BadPreset(name, preset, tuple(breaches)))
    return found
