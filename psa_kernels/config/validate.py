"""The one validator. It reads values by argument name and reports every breach at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from numbers import Integral
from typing import Any

from .fields import FIELD_BY_ARGUMENT, FIELD_BY_PATH, FIELDS, Field
from .issues import MOST, Issue, Mend, first_of, shown
from .mask_ratios import WRONG, check_mask_ratios, is_number, within
from .meant import is_reading, meant
from .odd_number import OddNumber, advice
from .own_settings import ABSENT, Given, key_text, meetings, read_blocks, read_steps
from .rules import Layer, Scope, by_prefix, changed, clashes, reached

Placed = Mapping[str, list[Scope]]  # `by_prefix`

# Pairs of a range of steps and an entry of `blocks`: each must fit together.
MOST_MEETINGS = 4096


def check_preset(mapping: Any, *, partial: bool = False) -> tuple[dict[str, Any], list[Issue]]:
    """(arguments for `PSAConfig`, issues) of a preset's nested mapping, as the YAML file has it.

    partial: the mapping will be laid over another preset, so absent fields have no default yet and
    a rule across fields speaks only where all of its fields are there.
    """
    if not isinstance(mapping, Mapping):
        return {}, [Issue("preset", "preset", shown(mapping), "a preset is a mapping of settings")]
    values, unreadable, issues = _flat(mapping)
    if partial:
        unreadable |= FIELD_BY_ARGUMENT.keys() - values.keys()
    checked, more = check_arguments(values, unreadable)
    return checked, first_of(issues + more)


def _flat(mapping: Mapping[Any, Any]) -> tuple[dict[str, Any], set[str], list[Issue]]:
    """(values by argument, arguments given in a form that cannot be read, issues)"""
    values: dict[str, Any] = {}
    issues: list[Issue] = []
    unreadable: set[str] = set()
    for key, value in mapping.items():
        if len(issues) > MOST:
            break
        if key in _SECTIONS:
            inside = [field for field in FIELDS if field.path.startswith(f"{key}.")]
            if not isinstance(value, Mapping):
                names = ", ".join(field.path.split(".")[1] for field in inside)
                issues.append(Issue(key, key, shown(value), f"a mapping with {names}"))
                unreadable.update(field.argument for field in inside)
                continue
            for inner, inner_value in value.items():
                if len(issues) > MOST:
                    break
                path = f"{key}.{key_text(inner)}"
                if path in FIELD_BY_PATH:
                    values[FIELD_BY_PATH[path].argument] = inner_value
                else:
                    issues.append(_unknown(path))
        elif key in FIELD_BY_PATH and "." not in key:
            values[FIELD_BY_PATH[key].argument] = value
        elif key != "<<" and isinstance(value, Mapping) and not _TOP_KEYS.isdisjoint(value):
            allowed = "leave out this line, and write the settings below it without indentation"
            issues.append(Issue(key_text(key), key_text(key), "a name above a preset", allowed))
        else:
            issues.append(_unknown(key_text(key)))
    return values, unreadable, issues


_TOP_KEYS = {field.path.partition(".")[0] for field in FIELDS}
_SECTIONS = sorted({field.path.split(".")[0] for field in FIELDS if "." in field.path})


def check_arguments(
    values: Mapping[str, Any], unreadable: AbstractSet[str] = frozenset()
) -> tuple[dict[str, Any], list[Issue]]:
    """(normalised arguments, issues) of flat values by `PSAConfig` argument; absent ones default.

    `unreadable` names absent arguments that the user did give, in a form already reported.
    """
    flat = {name: value for name, value in values.items() if name not in ("blocks", "steps")}
    good, wrong, issues = _normalised(flat)
    # Rules across fields look at what is well-formed; a broken field is reported once, by itself.
    broken = (flat.keys() - good.keys()) | unreadable
    full = {field.argument: field.default for field in FIELDS} | good
    every = Layer("", "", lambda field: True, frozenset(FIELD_BY_ARGUMENT))
    whole = Scope((every,), full, frozenset(broken))
    scopes = [whole]
    malformed = [(whole, *pair) for pair in wrong]
    inside = {}
    for name, read in (("blocks", read_blocks), ("steps", read_steps)):
        if name not in values:
            continue
        found = inside[name] = read(values[name], whole, _given)
        scopes += found.scopes
        malformed += found.malformed
        issues += found.issues
        if not found.issues and not found.malformed:
            good[name] = found.value
    if len(inside) == 2:
        met = list(islice(meetings(inside["steps"], inside["blocks"]), MOST_MEETINGS + 1))
        scopes += met[:MOST_MEETINGS]
        if len(met) > MOST_MEETINGS:
            what = f"{len(inside['steps'].given)} ranges over {len(inside['blocks'].given)} entries"
            allowed = f"at most {MOST_MEETINGS} pairs of an entry here and one of blocks"
            issues.append(Issue("steps", "steps", f"{what} of blocks", allowed))
    placed = by_prefix(scopes)
    issues += [_malformed(*one, placed) for one in malformed[: MOST + 1]]
    found = clashes(scopes)
    before = {issue.path for issue in found}
    issues += [_helpful(issue, placed, before) for issue in found[: MOST + 1]]
    return good, first_of(issues)


def _given(settings: Mapping[Any, Any], refusal: Callable[[Field], str | None]) -> Given:
    """What a mapping in a preset's form holds in a place where some fields are refused, with why.
    """
    values, unreadable, issues = _flat(settings)
    for name in list(values):
        field = FIELD_BY_ARGUMENT[name]
        if allowed := refusal(field):
            del values[name]
            found = "a setting of the whole preset"
            issues.append(Issue(field.path, field.path, found, allowed))
    blocks = values.pop("blocks", ABSENT)
    good, wrong, more = _normalised(values)
    return Given(good, wrong, frozenset(values.keys() | unreadable), blocks, issues + more)


def _normalised(
    values: Mapping[str, Any],
) -> tuple[dict[str, Any], list[tuple[Field, Any]], list[Issue]]:
    """(well-formed values in their own types, malformed ones with a default to offer, issues)"""
    good: dict[str, Any] = {}
    wrong: list[tuple[Field, Any]] = []
    issues: list[Issue] = []
    for name, value in values.items():
        field = FIELD_BY_ARGUMENT.get(name)
        if field is None:
            issues.append(_unknown(name))
            continue
        if field.kind == "mask_ratios":
            checked, found = check_mask_ratios(value)
            issues.extend(found)
        else:
            checked = normalised(field, value)
            if checked is WRONG:
                wrong.append((field, value))
                continue
        if checked is not None or field.kind == "choice":
            good[name] = checked
    return good, wrong, issues


def _malformed(scope: Scope, field: Field, value: Any, placed: Placed) -> Issue:
    allowed = field.allowed + advice(value)
    mends = _mends(scope, field, value, placed)
    return scope.placed(Issue(field.path, field.argument, shown(value), allowed, mends))


def _mends(scope: Scope, field: Field, found: Any, placed: Placed) -> tuple[Mend, ...]:
    """What was probably meant, else the default, unless that would break a rule with the other
    values and another choice not."""

    def fits(changes: Mapping[str, Any]) -> bool:
        moved = {scope.prefix + path: value for path, value in changes.items()}
        near, names = reached(placed, moved), {FIELD_BY_PATH[path].argument for path in changes}
        return len(clashes(changed(near, moved), names)) == len(clashes(near, names))

    found_values = meant(field, found)
    every = [{field.path: value} for value in (*found_values, field.default, *field.choices)]
    first = found_values[0] if found_values else None
    if (isinstance(first, str) or is_reading(first, found)) and not scope.prefix:
        # what was written stays, if it can; what clashes with it changes
        every.insert(1, _with_what_clashes(field, first, reached(placed, [field.path])))
    good = [changes for changes in every if fits(changes)] or [{field.path: field.default}]
    if isinstance(found, OddNumber):  # maybe two readings of it, both of which are offered
        read = [changes for changes in good if is_reading(changes[field.path], found)]
        good = [changes for i, changes in enumerate(read) if changes not in read[:i]] or good[:1]
        return tuple(map(_set, good))
    return (_set(good[0]),)


def _with_what_clashes(field: Field, value: Any, scopes: Sequence[Scope]) -> dict[str, Any]:
    """The value, and what else has to change for it."""
    changes = {field.path: value}
    before = {clash.path for clash in clashes(scopes)}
    for clash in clashes(changed(scopes, changes)):
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


def _helpful(issue: Issue, placed: Placed, before: AbstractSet[str]) -> Issue:
    """The issue without the mends that would break another rule; `before`: paths of all clashes."""

    def adds_none(mend: Mend) -> bool:
        near = changed(reached(placed, mend.changes), mend.changes)
        return {clash.path for clash in clashes(near)} <= before

    return dataclasses.replace(issue, mends=tuple(filter(adds_none, issue.mends)))


def normalised(field: Field, value: Any) -> Any:
    """`value` in the field's own type, or `WRONG`."""
    if field.kind == "bool":
        return value if isinstance(value, bool) else WRONG
    if field.kind == "text":
        return str(value) if isinstance(value, str) else WRONG
    if field.kind == "choice":
        # 8.0 and True equal 8 and 1 in Python, but nobody means them by it.
        same = [c for c in field.choices if type(c) is type(value) and c == value]
        return same[0] if same else WRONG
    if field.kind == "ints":
        if not isinstance(value, (list, tuple)) or len(value) != field.length:
            return WRONG
        return tuple(map(int, value)) if all(_whole(field, x) for x in value) else WRONG
    if field.kind == "int":
        return int(value) if _whole(field, value) else WRONG
    return within(value, field.low, field.high) if is_number(value) else WRONG


def _whole(field: Field, value: Any) -> bool:
    ok = isinstance(value, Integral) and not isinstance(value, bool)
    return ok and field.low <= value <= field.high


def _unknown(name: str) -> Issue:
    if name in FIELD_BY_PATH:  # a key with a dot in it, where the format has a mapping in a mapping
        section, _, key = name.partition(".")
        return Issue(name, name, "a key with a dot", f"write {key} inside the mapping {section}")
    known = {**{p: p for p in FIELD_BY_PATH}, **{a: f.path for a, f in FIELD_BY_ARGUMENT.items()}}
    # `n` alone, or `block_size.block_n`, should still find `block_size.n`.
    known |= {path.split(".")[-1]: path for path in FIELD_BY_PATH if "." in path}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(name.split(".")[-1], known, n=1, cutoff=0.6)
    if not near:
        return Issue(name, name, "an unknown key", "known keys: " + ", ".join(FIELD_BY_PATH))
    path = known[near[0]]
    return Issue(name, name, "an unknown key", f"did you mean {path}?")
