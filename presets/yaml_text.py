"""YAML text to plain data with line numbers, and back.

Less than YAML on purpose: no tags, anchors, aliases or merge keys, one document that is a mapping,
no key twice, and bounds on size, depth and numbers, so that no text can be expensive to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from .errors import Problem, TextError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_ENTRIES = 256  # of one mapping or list
MAX_NODES = 30_000  # a file of 256 KiB filled with complete presets has fewer
MAX_KEY = 128
# Longer digit strings only serve to make int() slow.
MAX_NUMBER = 64

_PREFIX = "tag:yaml.org,2002:"
_NUMBERS = {_PREFIX + "int", _PREFIX + "float"}
# Presets have no dates or merge keys; what looks like one is text.
_TEXT = {_PREFIX + tag for tag in ("str", "timestamp", "merge", "value")}


@dataclass(frozen=True)
class Document:
    """A text as plain data (str, int, float, bool, None, list, dict).

    name    what the text is called in messages
    lines   dotted path of every key -> its 1-based line
    """

    name: str
    data: dict[Any, Any]
    lines: Mapping[str, int]

    def line_of(self, path: str) -> int | None:
        """Line of a dotted path, or of the nearest part of it that the text has."""
        while path not in self.lines:
            path, dot, _ = path.rpartition(".")
            if not dot:
                return None
        return self.lines[path]


def parse(text: str | bytes, name: str = "the text") -> Document:
    """The one mapping that `text` holds. Raises `TextError`, with a line, for anything else."""
    text = _decoded(text, name)
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                raise _refusal("there is nothing in it; a mapping is expected", None)
            if not isinstance(root, yaml.MappingNode):
                raise _refusal("a mapping (`key: value`) is expected", root.start_mark)
            lines: dict[str, int] = {}
            return Document(name, _plain(loader, root, (), lines), lines)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"the character {error.character:#x} is not accepted"
        raise TextError(Problem(what, name, line)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "it is not YAML"
        if what.startswith("but found") and error.context:
            what = f"{error.context}, {what}"
        raise TextError(Problem(what, name, mark.line + 1 if mark else None)) from None
    except (yaml.YAMLError, ValueError, OverflowError, LookupError) as error:
        # PyYAML leaves some broken escapes and directives to int() and chr().
        what = "it is not YAML: a number in an escape or a directive is out of range"
        raise TextError(Problem(what, name, loader.line + 1)) from error


def dump(data: Mapping[Any, Any]) -> str:
    """`data` as text: keys in the given order, one a line, lists as `[0.0, 0.4]`."""
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, default_flow_style=False,
        allow_unicode=True, width=100,
    )


def _decoded(text: str | bytes, name: str) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        what = f"it has {size} bytes; at most {MAX_BYTES} are read"
        raise TextError(Problem(what, name, mend="split it into several files"))
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        problem = Problem("it is not UTF-8 text", name, line, "save it as UTF-8")
        raise TextError(problem) from None


class _Loader(yaml.SafeLoader):
    """Refuses tags, anchors, aliases and depth while composing, before any of it costs anything."""

    depth = 0
    nodes = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise _refusal("anchors (&) and aliases (*) are not accepted", event.start_mark)
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace(_PREFIX, "!!")[:40]
            raise _refusal(f"tags like {tag} are not accepted", event.start_mark)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _refusal(f"more than {MAX_NODES} keys and values", event.start_mark)
        if parent is not None and len(parent.value) >= MAX_ENTRIES:
            raise _refusal(f"more than {MAX_ENTRIES} entries in one place", parent.start_mark)
        if self.depth >= MAX_DEPTH:
            raise _refusal(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def _dump_list(dumper: _Dumper, value: list[Any]) -> yaml.Node:
    return dumper.represent_sequence(_PREFIX + "seq", value, flow_style=True)


def _dump_text(dumper: _Dumper, value: str) -> yaml.Node:
    # PyYAML's other styles lose some line breaks of Unicode.
    style = None if value.isprintable() else '"'
    return dumper.represent_scalar(_PREFIX + "str", value, style=style)


_Dumper.add_representer(list, _dump_list)
_Dumper.add_representer(str, _dump_text)


def _refusal(what: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=mark)


def _plain(loader: _Loader, node: yaml.Node, path: tuple, lines: dict[str, int]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, x, (*path, i), lines) for i, x in enumerate(node.value)]
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = _key(loader, key_node)
        if key in mapping:
            raise _refusal(f"the key {key} appears twice", key_node.start_mark)
        here = (*path, key)
        lines.setdefault(_dotted(here), key_node.start_mark.line + 1)
        mapping[key] = _plain(loader, value_node, here, lines)
    return mapping


def _dotted(path: Iterable[Any]) -> str:
    return ".".join(map(str, path))


def _key(loader: _Loader, node: yaml.Node) -> str | int:
    key = _scalar(loader, node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        shown = repr(node.value[:40]) if isinstance(node, yaml.ScalarNode) else "a list or map"
        what = f"{shown} is no key here; put quotes around it if it is a name"
        raise _refusal(what, node.start_mark)
    if isinstance(key, str) and len(key) > MAX_KEY:
        raise _refusal(f"a key has at most {MAX_KEY} characters", node.start_mark)
    return key


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if node.tag in _TEXT:
        try:
            node.value.encode("utf-8")
        except UnicodeEncodeError:
            raise _refusal("half of a surrogate pair is no character", node.start_mark) from None
        return node.value
    if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
        raise _refusal(f"a number has at most {MAX_NUMBER} digits", node.start_mark)
    try:
        return loader.construct_object(node)
    except (ValueError, OverflowError):
        raise _refusal(f"{node.value!r} is no number", node.start_mark) from None
