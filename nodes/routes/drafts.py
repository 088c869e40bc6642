"""A preset in a request, in any of its four forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...presets.errors import PresetError, TextError
from ...presets.store import PresetStore
from ...presets.yaml_text import Document, dump, parse
from ...psa_kernels.config import ConfigError, PSAConfig, check_preset
from .. import field_widgets
from ..editing import changed, merged, node_changed, read_overrides
from .answers import preset_json, unfinished_json
from .bodies import Body, bad_request, did_you_mean
from .errors import issue_json, text_issues

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
        line_of = self.document.line_of if self.document else lambda path: None
        return [issue_json(issue, line_of(issue.path)) for issue in issues]

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
            return unfinished_json(self.mapping, self._node_json())
        shown = preset_json(config, self.base)
        return shown if self.node is None else {**shown, "node": self._node_json()}

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
        widgets, overrides = node_changed(widgets, overrides, base, changes)
    document = _Text(read.name, overrides, read.lines, text) if overrides == read.data else read
    mapping = merged(base, widgets, overrides)
    return Draft(mapping, document, base, (widgets, overrides))
