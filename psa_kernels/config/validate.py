"""The one validator. It reads values by argument name and reports every breach at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from numbers import Integral
from typing import Any

from .fields import FIELD_BY_ARGUMENT, FIELD_BY_PATH, FIELDS, Field
from .issues import Issue, Mend, shown
from .mask_ratios import check_mask_ratios, is_number

_SECTIONS = sorted({field.path.split(".")[0] for field in FIELDS if "." in field.path})


def check_preset(mapping: Any, *, partial: bool = False) -> tuple[dict[str, Any], list[Issue]]:
    """(arguments for `PSAConfig`, issues) of a preset's nested mapping, as the YAML file has it.

    partial: the mapping will be laid over another preset, so absent fields have no default yet and
    a rule across fields speaks only where all of its fields are there.
    """
    if not isinstance(mapping, Mapping):
        return {}, [Issue("preset", "preset", shown(mapping), "a preset is a mapping of settings")]
    values: dict[str, Any] = {}
    issues: list[Issue] = []
    unreadable: set[str] = set()
    for key, value in mapping.items():
        if key in _SECTIONS:
            inside = [field for field in FIELDS if field.path.startswith(f"{key}.")]
            if not isinstance(value, Mapping):
                names = ", ".join(field.path.split(".")[1] for field in inside)
                issues.append(Issue(key, key, shown(value), f"a mapping with {names}"))
                unreadable.update(field.argument for field in inside)
                continue
            for inner, inner_value in value.items():
                path = f"{key}.{_name(inner)}"
                if path in FIELD_BY_PATH:
                    values[FIELD_BY_PATH[path].argument] = inner_value
                else:
                    issues.append(_unknown(path))
        elif key in FIELD_BY_PATH and "." not in key:
            values[FIELD_BY_PATH[key].argument] = value
        else:
            issues.append(_unknown(_name(key)))
    if partial:
        unreadable.update(FIELD_BY_ARGUMENT.keys() - values.keys())
    checked, more = check_arguments(values, unreadable)
    return checked, issues + more


def check_arguments(
    values: Mapping[str, Any], unreadable: AbstractSet[str] = frozenset()
) -> tuple[dict[str, Any], list[Issue]]:
    """(normalised arguments, issues) of flat values by `PSAConfig` argument; absent ones default.

    `unreadable` names absent arguments that the user did give, in a form already reported.
    """
    issues: list[Issue] = []
    good: dict[str, Any] = {}
    wrong: list[tuple[Field, Any]] = []
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
            if checked is _WRONG:
                wrong.append((field, value))
                continue
        if checked is not None or field.kind == "choice":
            good[name] = checked
    # Rules across fields look at what is well-formed; a broken field is reported once, by itself.
    broken = (set(values) - set(good)) | set(unreadable)
    full = {field.argument: field.default for field in FIELDS} | good
    for field, value in wrong:
        mend = _mend(field, full, broken - {field.argument})
        issues.append(Issue(field.path, field.argument, shown(value), field.allowed, (mend,)))
    return good, issues + [_helpful(issue, full, broken) for issue in _clashes(full, broken)]


def _helpful(issue: Issue, full: Mapping[str, Any], broken: AbstractSet[str]) -> Issue:
    """The issue without the mends that would break another rule."""
    before = {clash.path for clash in _clashes(full, broken)}

    def adds_none(mend: Mend) -> bool:
        changed = {FIELD_BY_PATH[path].argument: value for path, value in mend.changes.items()}
        after = {clash.path for clash in _clashes({**full, **changed}, broken - changed.keys())}
        return after <= before

    return dataclasses.replace(issue, mends=tuple(filter(adds_none, issue.mends)))


def _clashes(full: Mapping[str, Any], broken: AbstractSet[str]) -> list[Issue]:
    issues = []
    for rule, reads in _RULES:
        if not broken & set(reads):
            issues.extend(rule(*(full[name] for name in reads)))
    return issues


_WRONG = object()


def normalised(field: Field, value: Any) -> Any:
    """`value` in the field's own type, or `_WRONG`."""
    if field.kind == "bool":
        return value if isinstance(value, bool) else _WRONG
    if field.kind == "text":
        return value if isinstance(value, str) else _WRONG
    if field.kind == "choice":
        # 8.0 and True equal 8 and 1 in Python, but nobody means them by it.
        same = [c for c in field.choices if type(c) is type(value) and c == value]
        return same[0] if same else _WRONG
    if field.kind == "ints":
        if not isinstance(value, (list, tuple)) or len(value) != field.length:
            return _WRONG
        return tuple(map(int, value)) if all(_whole(field, x) for x in value) else _WRONG
    if field.kind == "int":
        return int(value) if _whole(field, value) else _WRONG
    ok = is_number(value) and field.low <= value <= field.high
    return float(value) if ok else _WRONG


def _whole(field: Field, value: Any) -> bool:
    ok = isinstance(value, Integral) and not isinstance(value, bool)
    return ok and field.low <= value <= field.high


def _mend(field: Field, full: Mapping[str, Any], broken: AbstractSet[str]) -> Mend:
    """The default, unless that would break a rule with the other values and another choice not."""
    now = len(_clashes(full, broken | {field.argument}))
    fits = [
        value
        for value in (field.default, *field.choices)
        if len(_clashes({**full, field.argument: value}, broken)) == now
    ]
    value = fits[0] if fits else field.default
    value = list(value) if field.kind == "ints" else value
    label = "null" if value is None else repr(value).replace("'", "") or "an empty text"
    return Mend(f"set {field.path} to {label}", {field.path: value})


def _name(key: Any) -> str:
    return key if isinstance(key, str) else shown(key)


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


# Rules across fields: sections 6b and 7.


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
