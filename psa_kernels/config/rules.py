"""The rules across fields, sections 6b and 7, and where they hold: in a preset, and in each block
and each range of steps that has settings of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from .fields import FIELD_BY_PATH, Field, field_of
from .issues import Issue, Mend

MOST_TRIED = 100  # scopes in which a mend is tried before it is offered


@dataclass(frozen=True)
class Layer:
    """Settings that are given in one place.

    prefix  of their paths: "" in the preset itself, `blocks.12.`, `steps.0-10%.`
    name    of the place in words; "" of the preset
    takes   whether a field can be given here
    own     arguments given here
    """

    prefix: str
    name: str
    takes: Callable[[Field], bool]
    own: frozenset[str]


@dataclass(frozen=True)
class Scope:
    """Values that must fit each other.

    layers  where they come from, each over the ones before; the first is the preset
    full    every argument's value
    broken  arguments whose value is not known, being malformed
    joint   from how many of the last layers a breach must come; others are another scope's
    """

    layers: tuple[Layer, ...]
    full: Mapping[str, Any]
    broken: frozenset[str]
    joint: int = 1

    def inner(self, layer: Layer, good: Mapping[str, Any], joint: int = 1) -> Scope:
        """These values with a layer's well-formed ones, `good`, laid over them."""
        full = {**self.full, **good}
        broken = (self.broken - layer.own) | (layer.own - good.keys())
        return Scope((*self.layers, layer), full, broken, joint)

    @property
    def prefix(self) -> str:
        return self.layers[-1].prefix

    def placed(self, issue: Issue) -> Issue:
        """The issue of a setting in the last layer with its whole path."""
        return _placed(issue, lambda path: self.layers[-1])

    def placed_clash(self, issue: Issue) -> Issue:
        """The issue of a rule with the path of the setting that breaks it, wherever that is."""
        if self.joint > 1:
            where = " and ".join(layer.name for layer in reversed(self.layers[-self.joint :]))
            issue = dataclasses.replace(issue, allowed=f"{issue.allowed}, where {where} meet")
        return _placed(issue, self._home)

    def _home(self, path: str) -> Layer:
        """The layer that has a field, or else the last that can."""
        field = field_of(path)
        given = [layer for layer in self.layers[1:] if field.argument in layer.own]
        return (given or [layer for layer in self.layers if layer.takes(field)])[-1]

    def breaks(self, reads: Iterable[str]) -> bool:
        """Whether a breach of a rule that reads these arguments is this scope's to report."""
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


def clashes(scopes: Iterable[Scope], names: AbstractSet[str] | None = None) -> list[Issue]:
    """Every breach of a rule by well-formed values; what a block shares with the preset once.

    names: only of the rules that read one of these arguments
    """
    rules = [x for x in _RULES if names is None or not names.isdisjoint(x[1])]
    issues = []
    for scope in scopes if rules else ():
        for rule, reads in rules:
            if scope.breaks(reads):
                found = rule(*(scope.full[name] for name in reads))
                issues.extend(map(scope.placed_clash, found))
    return issues


def by_prefix(scopes: Iterable[Scope]) -> dict[str, list[Scope]]:
    """Prefix of a layer -> the scopes that have it."""
    found: dict[str, list[Scope]] = {}
    for scope in scopes:
        for layer in scope.layers:
            found.setdefault(layer.prefix, []).append(scope)
    return found


def reached(placed: Mapping[str, list[Scope]], paths: Iterable[str]) -> list[Scope]:
    """The scopes, `by_prefix`, in which a change of these paths can be seen; at most `MOST_TRIED`.
    """
    prefixes = dict.fromkeys(
        path.removesuffix(field) for path in paths for field in FIELD_BY_PATH
        if path.endswith(field)
    )  # fmt: skip
    return list(islice(chain(*(placed.get(x, ()) for x in prefixes)), MOST_TRIED))


def changed(scopes: Sequence[Scope], changes: Mapping[str, Any]) -> list[Scope]:
    """The scopes with the changes of a mend, path -> value."""
    return [_changed(scope, changes) for scope in scopes]


def _changed(scope: Scope, changes: Mapping[str, Any]) -> Scope:
    layers, known = list(scope.layers), {}
    for i, layer in enumerate(scope.layers):
        given = {
            FIELD_BY_PATH[inside].argument: value
            for path, value in changes.items()
            if path.startswith(layer.prefix)
            and (inside := path.removeprefix(layer.prefix)) in FIELD_BY_PATH
        }
        layers[i] = dataclasses.replace(layer, own=layer.own | given.keys())
        hidden = frozenset[str]().union(*(later.own for later in scope.layers[i + 1 :]))
        known |= {name: value for name, value in given.items() if name not in hidden}
    full = {**scope.full, **known}
    return Scope(tuple(layers), full, scope.broken - known.keys(), scope.joint)


def _sim_mask_needs_old(attn_impl: str, use_sim_mask: bool) -> list[Issue]:
    if not (use_sim_mask and attn_impl == "new_mask_type"):
        return []
    old = {"attn_impl": "old_mask_type", "block_size.m": 128, "block_size.n": 128}
    mends = (
        Mend("drop the mask (use_sim_mask: false)", {"use_sim_mask": False}),
        Mend("switch to attn_impl: old_mask_type with block_size.m = block_size.n = 128", old),
    )
    allowed = "attn_impl new_mask_type does not support the similarity mask"
    return [Issue("use_sim_mask", "use_sim_mask", "True", allowed, mends)]


def _old_wants_128(attn_impl: str, block_m: int, block_n: int) -> list[Issue]:
    if attn_impl != "old_mask_type":
        return []
    issues = []
    for path, argument, value in (
        ("block_size.m", "block_m", block_m),
        ("block_size.n", "block_n", block_n),
    ):
        if value != 128:
            mends = (
                Mend(f"set {path} to 128", {path: 128}),
                Mend("switch to attn_impl: new_mask_type", {"attn_impl": "new_mask_type"}),
            )
            allowed = "attn_impl old_mask_type works with 128 only"
            issues.append(Issue(path, argument, str(value), allowed, mends))
    return issues


def _tile_divides_block(tile_n: int, block_n: int) -> list[Issue]:
    if block_n % tile_n == 0:
        return []
    mend = Mend(f"set block_size.tile_n to {block_n}", {"block_size.tile_n": block_n})
    allowed = f"it must divide block_size.n = {block_n}"
    return [Issue("block_size.tile_n", "tile_n", str(tile_n), allowed, (mend,))]


def _tail_fits_block(tail: int | str, block_n: int) -> list[Issue]:
    if tail == "none" or tail <= block_n:
        return []
    mends = [Mend(f"set tail to {block_n}", {"tail": block_n})]
    if tail in (32, 64, 128):
        mends.append(Mend(f"set block_size.n to {tail}", {"block_size.n": tail}))
    allowed = f"it can be at most block_size.n = {block_n}"
    return [Issue("tail", "tail", str(tail), allowed, tuple(mends))]


def _something_is_kept(mask_ratios: Any, tail: int | str) -> list[Issue]:
    if tail != "none" or any(mask_ratios.width(level) > 0 for level in (1, 2, 4, 8)):
        return []
    mend = Mend("set tail to 32", {"tail": 32})
    allowed = "with every block on level 0 and no tail, nothing is left to attend to"
    return [Issue("mask_ratios.0", "mask_ratios.0", "[0, 1]", allowed, (mend,))]


_RULES = (
    (_sim_mask_needs_old, ("attn_impl", "use_sim_mask")),
    (_old_wants_128, ("attn_impl", "block_m", "block_n")),
    (_tile_divides_block, ("tile_n", "block_n")),
    (_tail_fits_block, ("tail", "block_n")),
    (_something_is_kept, ("mask_ratios", "tail")),
)
