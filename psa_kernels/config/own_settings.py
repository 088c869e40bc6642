"""Reading `blocks` and `steps`: their settings, what these must fit, what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .block_list import bits_of, bits_text, block_ranges, blocks_of
from .block_overrides import DENSE, BlockOverrides, Override
from .combinations import Combination, Layer
from .fields import FIELDS, Field
from .issues import MOST, Issue, Mend, shown
from .odd_number import OddNumber
from .preset_keys import key_text
from .step_ranges import StepRanges, parse_range, range_text

ABSENT = object()


@dataclass(frozen=True)
class Given:
    """The settings of one place.

    good    well-formed ones by argument, in their own types
    wrong   the malformed ones
    own     arguments of all of them
    blocks  what `blocks` holds there, `ABSENT` where it is not
    issues  what is wrong beside the malformed ones
    """

    good: dict[str, Any]
    wrong: list[tuple[Field, Any]]
    own: frozenset[str]
    blocks: Any
    issues: list[Issue]


Reader = Callable[[Mapping[Any, Any], Callable[[Field], str | None]], Given]


@dataclass
class Found:
    """What `blocks` or `steps` holds.

    value         only of use where there are neither malformed values nor issues
    combinations  in which its settings must fit
    malformed     values that no field takes, and where
    given         (the combination of an entry with settings, its well-formed ones, whether its
                  `blocks` replace the preset's)
    """

    value: Any = None
    combinations: list[Combination] = field(default_factory=list)
    malformed: list[tuple[Combination, Field, Any]] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    given: list[tuple[Combination, dict[str, Any], bool]] = field(default_factory=list)

    def add(self, combination: Combination, given: Given) -> None:
        self.combinations.append(combination)
        self.malformed += [(combination, *pair) for pair in given.wrong]
        self.issues += map(combination.placed, given.issues)
        self.given.append((combination, given.good, given.blocks is not ABSENT))


def _no_block(field: Field) -> str | None:
    why = "a block cannot have its own; set it for the whole preset"
    return None if field.per_block else why


def _no_range(field: Field) -> str | None:
    why = "it is the same in all steps; set it outside of steps"
    return None if field.per_range else why


def _neither(field: Field) -> str | None:
    return _no_block(field) or _no_range(field)


def read_blocks(value: Any, outer: Combination, read: Reader) -> Found:
    """`blocks` of a preset, or of a range of steps: `outer` is what they are laid over."""
    in_range = len(outer.layers) > 1
    place = f"{outer.prefix}blocks"
    value = value.to_preset() if isinstance(value, BlockOverrides) else value
    if not isinstance(value, Mapping):
        allowed = "a mapping from block numbers, like 12 or 0-1, to dense or to settings"
        return Found(issues=[Issue(place, place, shown(value), allowed)])
    found, overrides, named = Found(), {}, {}
    for key, settings in value.items():
        if len(found.issues) > MOST:
            break
        name = key_text(key)
        path = f"{place}.{name}"
        blocks, breaches = _block_numbers(path, key, named)
        found.issues += breaches
        if not _is_settings(path, settings, found):
            overrides |= dict.fromkeys(blocks, DENSE)
            continue
        refuses = _neither if in_range else _no_block
        given = read(settings, refuses)
        where = f"blocks {name}" + (f" in {outer.layers[-1].name}" if in_range else "")
        found.add(outer.inner(Layer(f"{path}.", where, refuses, given.own), given.good), given)
        if pairs := _pairs(given.good):
            overrides |= dict.fromkeys(blocks, pairs)
    found.value = BlockOverrides(overrides)
    return found


def read_steps(value: Any, whole: Combination, read: Reader) -> Found:
    """`steps` of a preset, whose own values are `whole`."""
    value = value.to_preset() if isinstance(value, StepRanges) else value
    if not isinstance(value, Mapping):
        allowed = "a mapping from ranges of the run, like 0-10%, to dense or to settings"
        return Found(issues=[Issue("steps", "steps", shown(value), allowed)])
    found, ranges = Found(), {}
    for key, settings in value.items():
        if len(found.issues) > MOST:
            break
        name = key_text(key)
        path = f"steps.{name}"
        try:
            range_ = parse_range(name)
        except ValueError as error:
            found.issues.append(Issue(path, path, shown(key), str(error)))
            range_ = None
        else:
            found.issues += _overlaps(path, range_, ranges)
        if not _is_settings(path, settings, found):
            ranges |= {range_: DENSE}
            continue
        given = read(settings, _no_range)
        layer = Layer(f"{path}.", f"steps {name}", _no_range, given.own)
        combination = whole.inner(layer, given.good)
        found.add(combination, given)
        good = given.good
        if given.blocks is not ABSENT:
            inside = read_blocks(given.blocks, combination, read)
            found.combinations += inside.combinations
            found.malformed += inside.malformed
            found.issues += inside.issues
            good = {**good, "blocks": inside.value}
        ranges |= {range_: _pairs(good)}
    ranges.pop(None, None)
    found.value = StepRanges({range_: own for range_, own in ranges.items() if own})
    return found


def meetings(steps: Found, blocks: Found) -> Iterator[Combination]:
    """Where the settings of a range and those of the preset's blocks are laid over each other."""
    for range_, _, has_blocks in steps.given:
        for block, good, _ in () if has_blocks else blocks.given:
            yield range_.inner(block.layers[-1], good, joint=2)


_NOT_DENSE = ("psa", "sparse", "false", "no", "off")


def _is_settings(path: str, settings: Any, found: Found) -> bool:
    """Whether an entry has settings; False for a dense one, and for one that is neither."""
    if isinstance(settings, Mapping):
        return True
    if settings != DENSE:
        mends = (Mend(f"set {path} to {DENSE}", {path: DENSE}),)
        allowed = f"{DENSE}, or a mapping of settings"
        if str(settings)[:20].strip().lower() in _NOT_DENSE:
            mends, allowed = (), f"{allowed}; blocks and steps like the rest need no entry"
        found.issues.append(Issue(path, path, shown(settings), allowed, mends))
    return False


def _pairs(good: Mapping[str, Any]) -> Override:
    return tuple((f.path, good[f.argument]) for f in FIELDS if f.argument in good)


def _block_numbers(
    path: str, key: Any, named: dict[str, int]
) -> tuple[frozenset[int], list[Issue]]:
    """The blocks that a key names, entered into `named`: key -> its blocks, as bits of a number;
    "" -> those of all keys."""
    if isinstance(key, OddNumber):
        numbers = " or ".join(f"{x:g}" for x in key.readings)
        likely = key.replace(":", "-") if ":" in key else numbers
        allowed = f"did you mean {likely}? Write it {key.advice}"
        return frozenset(), [Issue(path, path, shown(key), allowed)]
    try:
        ranges = block_ranges(key_text(key))
    except ValueError as error:
        return frozenset(), [Issue(path, path, shown(key), str(error))]
    if not ranges:
        allowed = "block numbers and ranges separated by commas, like 0, 1, 38-39"
        return frozenset(), [Issue(path, path, "no block number", allowed)]
    bits, taken = bits_of(ranges), named.pop("", 0)
    issues = []
    for other, others in named.items() if bits & taken else ():
        if both := bits & others:
            twice = bits_text(both)
            what = f"block {twice} once more" if twice.isdigit() else f"blocks {twice} once more"
            allowed = f"{other} names it too; each block is in one entry"
            issues.append(Issue(path, path, what, allowed))
    named |= {key_text(key): bits & ~taken, "": bits | taken}
    return blocks_of(ranges), issues


def _overlaps(path: str, range_: tuple[float, float], others: Mapping[Any, Any]) -> list[Issue]:
    issues = []
    for other in others:
        if other is None:
            continue
        start, end = max(range_[0], other[0]), min(range_[1], other[1])
        if start < end:
            found = f"{range_text((start, end))} once more"
            allowed = f"{range_text(other)} covers it too; ranges do not overlap"
            issues.append(Issue(path, path, found, allowed))
    return issues
