"""Each field's value by itself: in the field's own type, or malformed."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from .fields import FIELD_BY_ARGUMENT, Field
from .issues import Issue
from .mask_ratios import WRONG, check_mask_ratios, is_number, within
from .preset_keys import unknown_key


def normalised(
    values: Mapping[str, Any],
) -> tuple[dict[str, Any], list[tuple[Field, Any]], list[Issue]]:
    """(well-formed values in their own types, malformed ones that have no issue yet, issues)"""
    good: dict[str, Any] = {}
    malformed: list[tuple[Field, Any]] = []
    issues: list[Issue] = []
    for name, value in values.items():
        field = FIELD_BY_ARGUMENT.get(name)
        if field is None:
            issues.append(unknown_key(name))
            continue
        if field.kind == "mask_ratios":
            checked, found = check_mask_ratios(value)
            issues.extend(found)
        else:
            checked = _in_own_type(field, value)
            if checked is WRONG:
                malformed.append((field, value))
                continue
        if checked is not None or field.kind == "choice":
            good[name] = checked
    return good, malformed, issues


def _in_own_type(field: Field, value: Any) -> Any:
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
