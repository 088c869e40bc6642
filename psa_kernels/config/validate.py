"""The one validator: every value by itself, then all together. It reports every breach at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from .combinations import Combination, Layer, by_prefix, clashes
from .field_values import normalised
from .fields import FIELD_BY_ARGUMENT, FIELDS, Field
from .issues import MOST, Issue, first_of, shown
from .mends import issue_of_malformed, with_harmless_mends
from .own_settings import ABSENT, Given, meetings, read_blocks, read_steps
from .preset_keys import by_argument

# Pairs of a range of steps and an entry of `blocks`: each must fit together.
MOST_MEETINGS = 4096


def check_preset(mapping: Any, *, partial: bool = False) -> tuple[dict[str, Any], list[Issue]]:
    """(arguments for `PSAConfig`, issues) of a preset's nested mapping, as the YAML file has it.

    partial: the mapping will be laid over another preset, so absent fields have no default yet and
    a rule across fields speaks only where all of its fields are there.
    """
    if not isinstance(mapping, Mapping):
        return {}, [Issue("preset", "preset", shown(mapping), "a preset is a mapping of settings")]
    values, unreadable, issues = by_argument(mapping)
    if partial:
        unreadable |= FIELD_BY_ARGUMENT.keys() - values.keys()
    checked, more = check_arguments(values, unreadable)
    return checked, first_of(issues + more)


def check_arguments(
    values: Mapping[str, Any], unreadable: AbstractSet[str] = frozenset()
) -> tuple[dict[str, Any], list[Issue]]:
    """(normalised arguments, issues) of flat values by `PSAConfig` argument; absent ones default.

    `unreadable` names absent arguments that the user did give, in a form already reported.
    """
    flat = {name: value for name, value in values.items() if name not in ("blocks", "steps")}
    good, wrong, issues = normalised(flat)
    # Rules across fields look at what is well-formed; a broken field is reported once, by itself.
    broken = (flat.keys() - good.keys()) | unreadable
    full = {field.argument: field.default for field in FIELDS} | good
    every = Layer("", "", lambda field: None, frozenset(FIELD_BY_ARGUMENT))
    whole = Combination((every,), full, frozenset(broken))
    combinations = [whole]
    malformed = [(whole, *pair) for pair in wrong]
    inside = {}
    for name, read in (("blocks", read_blocks), ("steps", read_steps)):
        if name not in values:
            continue
        found = inside[name] = read(values[name], whole, _given)
        combinations += found.combinations
        malformed += found.malformed
        issues += found.issues
        if not found.issues and not found.malformed:
            good[name] = found.value
    if len(inside) == 2:
        met = list(islice(meetings(inside["steps"], inside["blocks"]), MOST_MEETINGS + 1))
        combinations += met[:MOST_MEETINGS]
        if len(met) > MOST_MEETINGS:
            what = f"{len(inside['steps'].given)} ranges over {len(inside['blocks'].given)} entries"
            allowed = f"at most {MOST_MEETINGS} pairs of an entry here and one of blocks"
            issues.append(Issue("steps", "steps", f"{what} of blocks", allowed))
    everywhere = by_prefix(combinations)
    issues += [issue_of_malformed(*one, everywhere) for one in malformed[: MOST + 1]]
    found = clashes(combinations)
    before = {issue.path for issue in found}
    issues += [with_harmless_mends(issue, everywhere, before) for issue in found[: MOST + 1]]
    return good, first_of(issues)


def _given(settings: Mapping[Any, Any], refuses: Callable[[Field], str | None]) -> Given:
    """What a mapping in a preset's form holds where some fields are refused, with why."""
    values, unreadable, issues = by_argument(settings)
    for name in list(values):
        field = FIELD_BY_ARGUMENT[name]
        if allowed := refuses(field):
            del values[name]
            found = "a setting of the whole preset"
            issues.append(Issue(field.path, field.path, found, allowed))
    blocks = values.pop("blocks", ABSENT)
    good, wrong, more = normalised(values)
    return Given(good, wrong, frozenset(values.keys() | unreadable), blocks, issues + more)
