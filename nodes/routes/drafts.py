"""A preset in a request, in any of its four forms, and a preset in an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...presets.errors import PresetError, TextError
from ...presets.store import PresetStore
from ...presets.yaml_text import Document, dump, parse
from ...psa_kernels.config import (
    DENSE,
    FIELD_BY_ARGUMENT,
    LEVELS,
    BlockOverrides,
    ConfigError,
    PSAConfig,
    StepRanges,
    check_preset,
    field_of,
    not_applicable,
)
from .. import field_widgets
from ..editing import changed, lay_over, merged, node_values, read_overrides
from ..estimate.calls import calls_of_run
from ..estimate.density import USUAL, density
from ..estimate.models import MODELS
from .bodies import Body, bad_request, did_you_mean
from .errors import issue_json, text_issues

NO_BLOCKS = FIELD_BY_ARGUMENT["blocks"].default
NO_RANGES = FIELD_BY_ARGUMENT["steps"].default
NO_TAIL = FIELD_BY_ARGUMENT["tail"].default
FORMS = ("config", "yaml", "widgets", "preset")


@dataclass
class Draft:
    """A preset as it came, valid or not.

    mapping    the preset's mapping, None where the text could not be read
    document   the text it came from, with lines, if any of it was text
    base       the configuration of the node's base
    node       (widgets, overrides mapping) where the request had the node's values
    unread     why the text could not be read
    """

    mapping: dict[str, Any] | None
    document: Document | None = None
    base: PSAConfig | None = None
    node: tuple[dict[str, Any], dict[str, Any]] | None = None
    unread: TextError | None = None

    def issues(self) -> list[dict[str, Any]]:
        if self.mapping is None:
            return text_issues(self.unread)
        _, issues = check_preset(self.mapping)
        lines = self.document.lines if self.document else {}
        return [issue_json(issue, _line(lines, issue.path)) for issue in issues]

    def config(self) -> PSAConfig:
        """Raises `ConfigError` or `TextError`."""
        if self.mapping is None:
            raise self.unread
        return PSAConfig.from_preset(self.mapping)

    def answer(self) -> dict[str, Any]:
        """What docs/routes.md calls a preset in an answer."""
        try:
            config = self.config()
        except (ConfigError, PresetError):
            return self._unfinished()
        shown = preset_json(config, self.base)
        return shown if self.node is None else {**shown, "node": self._node_json()}

    def _unfinished(self) -> dict[str, Any]:
        whole = None
        if self.mapping is not None:  # a form shows every field
            whole = PSAConfig().to_preset(whole=True)
            lay_over(whole, self.mapping)
        good = check_preset(whole)[0] if whole is not None else {}
        return {
            "config": _in_json(whole),
            "yaml": dump(self.mapping) if self.mapping is not None else None,
            "node": self._node_json(),
            "pyramid": (
                _pyramid(good["mask_ratios"], good.get("tail", NO_TAIL))
                if "mask_ratios" in good else None
            ),
            "not_applicable": not_applicable(good),
            "single_blocks": _single_blocks(good.get("blocks", NO_BLOCKS)),
            "step_ranges": {**_step_ranges(good.get("steps", NO_RANGES)), "run": []},
        }

    def _node_json(self) -> dict[str, Any] | None:
        if self.node is None:
            return None
        widgets, overrides = self.node
        text = self.document.text if isinstance(self.document, _Text) else None
        return {
            "widgets": widgets,
            "yaml_overrides": text if text is not None else dump(overrides) if overrides else "",
        }


@dataclass(frozen=True)
class _Text(Document):
    """A document with the text it was, so that a user's own comes back untouched."""

    text: str = ""


def take_draft(body: Body, store: PresetStore, changes: Mapping[str, Any] | None = None) -> Draft:
    """Takes a preset out of a request and puts `changes` into it. Raises `Refusal`, or as the
    store does for a preset that is stored."""
    given = [form for form in FORMS if form in body]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise bad_request(f"a preset: found {found}; give exactly one of " + ", ".join(FORMS))
    base = _base(body.take("base", dict, None), store)
    form = given[0]
    if form != "widgets" and "yaml_overrides" in body:
        raise bad_request(f"yaml_overrides: found beside {form}; give it beside widgets only")
    if form == "preset":
        stored = _stored(body.take("preset", dict), store, "preset")
        return Draft(changed(stored.to_preset(), changes or {}), base=base)
    if form == "config":
        mapping = body.take("config", dict)
        return Draft(changed(mapping, changes or {}), base=base)
    if form == "yaml":
        return _from_yaml(body.take("yaml", str), base, changes or {})
    widgets = field_widgets.held(body.take("widgets", dict))
    return _from_node(widgets, body.take("yaml_overrides", str, ""), base, changes or {})


def _base(named: dict[str, Any] | None, store: PresetStore) -> PSAConfig | None:
    """A stored preset, or the mapping that another editor node gives."""
    if named is None or "config" not in named:
        return _stored(named, store, "base")
    inner = Body(named, "base")
    mapping = inner.take("config", dict)
    inner.done()
    return PSAConfig.from_preset(mapping, "base")


def _stored(named: dict[str, Any] | None, store: PresetStore, what: str) -> PSAConfig | None:
    if named is None:
        return None
    inner = Body(named, what)
    family, preset = inner.take("family", str), inner.take("preset", str)
    inner.done()
    return store.get(family, preset)


def _from_yaml(text: str, base: PSAConfig | None, changes: Mapping[str, Any]) -> Draft:
    if not text.strip():  # what a new, empty text means: every field at its default
        return Draft(changed({}, changes), Document("", {}, {}), base)
    try:
        document = parse(text, "")
    except TextError as error:
        return Draft(None, base=base, unread=error)
    return Draft(changed(document.data, changes), document, base)


def _from_node(
    widgets: dict[str, Any], text: str, base: PSAConfig | None, changes: Mapping[str, Any]
) -> Draft:
    known = field_widgets.defaults()
    if unknown := sorted(widgets.keys() - known.keys()):
        name = unknown[0]
        raise bad_request(f"widgets: there is no {name[:60]!r}{did_you_mean(name, known)}")
    try:
        read = read_overrides(text)
    except TextError as error:
        return Draft(None, base=base, unread=error)
    overrides = read.data
    if changes:
        widgets, overrides = _node_changed(widgets, overrides, base, changes)
    document = _Text(read.name, overrides, read.lines, text) if overrides == read.data else read
    mapping = merged(base, widgets, overrides)
    return Draft(mapping, document, base, (widgets, overrides))


def _node_changed(
    widgets: dict[str, Any],
    overrides: dict[str, Any],
    base: PSAConfig | None,
    changes: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The node's values with fields set: by widgets, or in YAML where only that can say it."""
    wanted = changed(merged(base, widgets, overrides), changes)
    good, _ = check_preset(wanted)
    widgets = {**field_widgets.defaults(), **widgets}
    for field in dict.fromkeys(map(field_of, changes)):
        section, _, key = field.path.rpartition(".")
        value = (wanted[section] if section else wanted)[key]
        overrides = _without(overrides, field.path)
        if field.argument in good and field_widgets.names(field):
            parts = field_widgets.parts(field, good[field.argument])
            widgets.update(parts)
            now, _ = check_preset(merged(base, widgets, overrides))
            if field.argument in now and field_widgets.parts(field, now[field.argument]) == parts:
                continue
        elif len(field_widgets.names(field)) == 1:
            widgets[field.argument] = value  # wrong, and the user's to see and mend
            continue
        lay_over(overrides, {section: {key: value}} if section else {key: value})
    return widgets, overrides


def _without(mapping: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy without one field, and without a section that this empties."""
    section, _, key = path.rpartition(".")
    result = dict(mapping)
    if not section:
        result.pop(key, None)
    elif isinstance(result.get(section), Mapping):
        result[section] = {k: v for k, v in result[section].items() if k != key}
        if not result[section]:
            del result[section]
    return result


def preset_json(
    config: PSAConfig, base: PSAConfig | None = None, family: str = ""
) -> dict[str, Any]:
    """A valid preset in an answer; `family`: the one that it is stored in."""
    widgets, overrides = node_values(config, base)
    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    return {
        "config": config.to_preset(whole=True),
        "yaml": dump(config.to_preset()),
        "node": {"widgets": widgets, "yaml_overrides": overrides},
        "pyramid": _pyramid(config.mask_ratios, config.tail),
        "not_applicable": not_applicable(values),
        "single_blocks": _single_blocks(config.blocks),
        "step_ranges": {**_step_ranges(config.steps), "run": _run(config, family)},
    }


def _pyramid(
    ratios: Mapping[int, tuple[float, float]], tail: int | str
) -> list[dict[str, Any]]:
    """Every level in reading order; one that is not there has no width."""
    found, upper = [], 0.0
    for level in LEVELS:
        lower, upper = ratios.get(level, (upper, upper))
        pool = level or (None if tail == NO_TAIL else tail)
        found.append({"level": level, "from": lower, "to": upper, "pool": pool,
                      "widget": field_widgets.UPPER.get(level)})
    return found


def _single_blocks(overrides: BlockOverrides) -> dict[str, Any]:
    """How many blocks have settings of their own, and which, in words."""
    return {
        "count": len(overrides),
        "entries": [
            {"blocks": str(key), "settings": settings}
            for key, settings in _in_words(overrides).items()
        ],
    }


def _step_ranges(ranges: StepRanges) -> dict[str, Any]:
    """How many ranges of steps have settings of their own, and which, in words."""
    entries = [{"steps": key, "settings": said} for key, said in _in_words(ranges).items()]
    return {"count": len(ranges), "entries": entries}


def _run(config: PSAConfig, family: str) -> list[dict[str, Any]]:
    """The parts of a run, in percent, and how dense each is; [] where all are alike."""
    if not config.steps or config.type == DENSE:
        return []
    model, found, begin = MODELS.get(family), [], 0.0
    for start, end in [*sorted(config.steps), (100.0, 100.0)]:
        for upto, range_ in ((start, None), (end, (start, end))):
            if upto > begin:
                calls = calls_of_run(config.of_ranges[range_], model.blocks if model else 0)
                share = density(calls, USUAL).value
                found.append({"from": begin, "to": upto, "density": share})
                begin = upto
    return found


def _in_words(own: BlockOverrides | StepRanges) -> dict[Any, str]:
    return {
        key: settings if settings == DENSE else _flow(settings)
        for key, settings in own.to_preset().items()
    }


def _flow(settings: Mapping[str, Any]) -> str:
    """Settings in one line: "mask_ratios: {1: [0, 0.2], 0: [0.2, 1]}, tail: 64"."""
    parts = []
    for key, value in settings.items():
        inner = f"{{{_flow(value)}}}" if isinstance(value, Mapping) else dump({key: value})
        parts.append(f"{key}: {inner}" if isinstance(value, Mapping) else inner.rstrip())
    return ", ".join(parts)


def _in_json(value: Any) -> Any:
    """A draft's value with YAML's numbers that JSON lacks as YAML writes them."""
    if isinstance(value, Mapping):
        return {key: _in_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return value


def _line(lines: Mapping[str, int], path: str) -> int | None:
    while path not in lines:
        path, dot, _ = path.rpartition(".")
        if not dot:
            return None
    return lines[path]
