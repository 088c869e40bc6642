"""The mends that an issue offers: none that would break a rule with the other values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from .combinations import Combination, changed, clashes, reached
from .fields import FIELD_BY_PATH, Field
from .guesses import guesses, is_reading
from .issues import Issue, Mend, shown
from .odd_number import OddNumber, advice

ByPrefix = Mapping[str, list[Combination]]  # as `by_prefix` gives them


def issue_of_malformed(
    combination: Combination, field: Field, value: Any, everywhere: ByPrefix
) -> Issue:
    """What is said of a value that its field does not take."""
    allowed = field.allowed + advice(value)
    mends = _mends(combination, field, value, everywhere)
    return combination.placed(Issue(field.path, field.argument, shown(value), allowed, mends))


def with_harmless_mends(issue: Issue, everywhere: ByPrefix, before: AbstractSet[str]) -> Issue:
    """The issue without the mends that would break another rule; `before`: paths of all clashes."""

    def adds_none(mend: Mend) -> bool:
        near = changed(reached(everywhere, mend.changes), mend.changes)
        return {clash.path for clash in clashes(near)} <= before

    return dataclasses.replace(issue, mends=tuple(filter(adds_none, issue.mends)))


def _mends(
    combination: Combination, field: Field, found: Any, everywhere: ByPrefix
) -> tuple[Mend, ...]:
    """The likeliest guess, else the default, unless that would break a rule with the other values
    and another choice would not."""

    def fits(changes: Mapping[str, Any]) -> bool:
        moved = {combination.prefix + path: value for path, value in changes.items()}
        near, names = reached(everywhere, moved), {FIELD_BY_PATH[path].argument for path in changes}
        return len(clashes(changed(near, moved), names)) == len(clashes(near, names))

    guessed = guesses(field, found)
    every = [{field.path: value} for value in (*guessed, field.default, *field.choices)]
    first = guessed[0] if guessed else None
    if (isinstance(first, str) or is_reading(first, found)) and not combination.prefix:
        # what was written stays, if it can; what clashes with it changes
        every.insert(1, _with_what_clashes(field, first, reached(everywhere, [field.path])))
    good = [changes for changes in every if fits(changes)] or [{field.path: field.default}]
    if isinstance(found, OddNumber):  # maybe two readings of it, both of which are offered
        read = [changes for changes in good if is_reading(changes[field.path], found)]
        good = [changes for i, changes in enumerate(read) if changes not in read[:i]] or good[:1]
        return tuple(map(_set, good))
    return (_set(good[0]),)


def _with_what_clashes(
    field: Field, value: Any, combinations: Sequence[Combination]
) -> dict[str, Any]:
    """The value, and what else has to change for it."""
    changes = {field.path: value}
    before = {clash.path for clash in clashes(combinations)}
    for clash in clashes(changed(combinations, changes)):
        ways = [mend.changes for mend in clash.mends if field.path not in mend.changes]
        if clash.path not in before and ways:
            changes = {**ways[0], **changes}
    return changes


def _set(changes: Mapping[str, Any]) -> Mend:
    plain = {path: list(x) if isinstance(x, tuple) else x for path, x in changes.items()}
    labels = []
    for path, value in plain.items():
        label = "null" if value is None else repr(value).replace("'", "") or "an empty text"
        labels.append(f"{path} to {label}")
    return Mend(f"set {' and '.join(reversed(labels))}", plain)
