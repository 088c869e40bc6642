"""The values that must fit each other: a preset's, and those of each block and each range of steps
with settings of its own laid over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from .fields import FIELD_BY_PATH, Field, field_of
from .issues import Issue, Mend
from .rules import RULES

MOST_TRIED = 100  # combinations in which a mend is tried before it is offered


@dataclass(frozen=True)
class Layer:
    """Settings that are given in one place.

    prefix   of their paths: "" for the preset itself, `blocks.12.`, `steps.0-10%.`
    name     the place in words; "" for the preset
    refuses  why a field cannot be given here, or None
    own      arguments given here
    """

    prefix: str
    name: str
    refuses: Callable[[Field], str | None]
    own: frozenset[str]


@dataclass(frozen=True)
class Combination:
    """Values that must fit each other.

    layers  where they come from, each laid over the ones before; the first is the preset
    full    every argument's value
    broken  malformed arguments, whose value is not known
    joint   how many of the last layers a breach must involve; others belong to other combinations
    """

    layers: tuple[Layer, ...]
    full: Mapping[str, Any]
    broken: frozenset[str]
    joint: int = 1

    def inner(self, layer: Layer, good: Mapping[str, Any], joint: int = 1) -> Combination:
        """These values with a layer's well-formed ones, `good`, laid over them."""
        full = {**self.full, **good}
        broken = (self.broken - layer.own) | (layer.own - good.keys())
        return Combination((*self.layers, layer), full, broken, joint)

    @property
    def prefix(self) -> str:
        return self.layers[-1].prefix

    def placed(self, issue: Issue) -> Issue:
        """The issue of a setting in the last layer with its whole path."""
        return _placed(issue, lambda path: self.layers[-1])

    def placed_clash(self, issue: Issue) -> Issue:
        """The issue of a rule, at the path of the setting that breaks it, in whichever layer."""
        if self.joint > 1:
            where = " and ".join(layer.name for layer in reversed(self.layers[-self.joint :]))
            issue = dataclasses.replace(issue, allowed=f"{issue.allowed}, where {where} meet")
        return _placed(issue, self._home)

    def _home(self, path: str) -> Layer:
        """The layer that has a field, or else the last that can."""
        field = field_of(path)
        given = [layer for layer in self.layers[1:] if field.argument in layer.own]
        return (given or [layer for layer in self.layers if not layer.refuses(field)])[-1]

    def breaks(self, reads: Iterable[str]) -> bool:
        """Whether a breach of a rule that reads these arguments is this combination's to report."""
        return self.broken.isdisjoint(reads) and all(
            not layer.own.isdisjoint(reads) for layer in self.layers[-self.joint :]
        )


def _placed(issue: Issue, home: Callable[[str], Layer]) -> Issue:
    mends = []
    for mend in issue.mends:
        homes = {path: home(path) for path in mend.changes}
        changes = {homes[path].prefix + path: value for path, value in mend.changes.items()}
        names = dict.fromkeys(layer.name for layer in homes.values() if layer.name)
        where = f" for {' and '.join(names)}" if names else ""
        mends.append(Mend(mend.label + where, changes))
    prefix = home(issue.path).prefix
    path = prefix + issue.path
    # what is in blocks and steps is written as in a preset file
    argument = path if prefix else issue.argument
    return dataclasses.replace(issue, path=path, argument=argument, mends=tuple(mends))


def clashes(
    combinations: Iterable[Combination], names: AbstractSet[str] | None = None
) -> list[Issue]:
    """Every breach of a rule by well-formed values; one that blocks share with the preset, once.

    names: only rules that read one of these arguments
    """
    rules = [x for x in RULES if names is None or not names.isdisjoint(x[1])]
    issues = []
    for combination in combinations if rules else ():
        for rule, reads in rules:
            if combination.breaks(reads):
                found = rule(*(combination.full[name] for name in reads))
                issues.extend(map(combination.placed_clash, found))
    return issues


def by_prefix(combinations: Iterable[Combination]) -> dict[str, list[Combination]]:
    """Prefix of a layer -> the combinations that have it."""
    found: dict[str, list[Combination]] = {}
    for combination in combinations:
        for layer in combination.layers:
            found.setdefault(layer.prefix, []).append(combination)
    return found


def reached(placed: Mapping[str, list[Combination]], paths: Iterable[str]) -> list[Combination]:
    """The combinations, `by_prefix`, in which a change of these paths can be seen; `MOST_TRIED` at
    most."""
    prefixes = dict.fromkeys(
        path.removesuffix(field) for path in paths for field in FIELD_BY_PATH
        if path.endswith(field)
    )  # fmt: skip
    return list(islice(chain(*(placed.get(x, ()) for x in prefixes)), MOST_TRIED))


def changed(combinations: Sequence[Combination], changes: Mapping[str, Any]) -> list[Combination]:
    """The combinations with the changes of a mend, path -> value."""
    return [_changed(combination, changes) for combination in combinations]


def _changed(combination: Combination, changes: Mapping[str, Any]) -> Combination:
    layers, known = list(combination.layers), {}
    for i, layer in enumerate(combination.layers):
        given = {
            FIELD_BY_PATH[inside].argument: value
            for path, value in changes.items()
            if path.startswith(layer.prefix)
            and (inside := path.removeprefix(layer.prefix)) in FIELD_BY_PATH
        }
        layers[i] = dataclasses.replace(layer, own=layer.own | given.keys())
        hidden = frozenset[str]().union(*(later.own for later in combination.layers[i + 1 :]))
        known |= {name: value for name, value in given.items() if name not in hidden}
    full = {**combination.full, **known}
    return Combination(tuple(layers), full, combination.broken - known.keys(), combination.joint)
