"""YAML text to plain data with line numbers, and back.

Less than YAML on purpose: no tags, anchors, aliases or merge keys, one document that is a mapping,
no key twice, and bounds on size, depth and numbers, so that no text can be expensive to read.
More in three places where people mean what YAML 1.1 does not: 1e-1 is a number, tabs may stand
where nothing is indented, and a code fence around the text is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from .errors import Problem, TextError
from .ground import FIELDS, OddNumber

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_ENTRIES = 256  # of one mapping or list
MAX_NODES = 30_000  # a file of 256 KiB filled with complete presets has fewer
MAX_KEY = 128
# Longer digit strings only serve to make int() slow.
MAX_NUMBER = 64

_PREFIX = "tag:yaml.org,2002:"
_EXPONENT = "exponent"
_NUMBERS = {_PREFIX + "int", _PREFIX + "float", _EXPONENT}
# Presets have no dates or merge keys; what looks like one is text.
_TEXT = {_PREFIX + tag for tag in ("str", "timestamp", "merge", "value")}

# Numbers to everyone but YAML 1.1, which wants a point and a sign in them. Where text is wanted
# they stay text.
_WITH_EXPONENT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$", re.ASCII)
_TEXT_KEYS = {field.path for field in FIELDS if field.kind == "text"} | {"default_attention"}

_FENCE = re.compile(r"\s*(```|~~~)[^`~\r\n]*(?=[\r\n])")


@dataclass(frozen=True)
class Document:
    """A text as plain data (str, int, float, bool, None, list, dict).

    name    what the text is called in messages
    lines   dotted path of every key -> its 1-based line
    comments  how many the text has
    checked   for readers: what they found of its presets, so that each is judged once
    """

    name: str
    data: dict[Any, Any]
    lines: Mapping[str, int]
    comments: int = field(default=0, kw_only=True)
    checked: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def line_of(self, path: str) -> int | None:
        """Line of a dotted path, or of the nearest part of it that the text has."""
        while path not in self.lines:
            path, dot, _ = path.rpartition(".")
            if not dot:
                return None
        return self.lines[path]


def parse(text: str | bytes, name: str = "the text") -> Document:
    """The one mapping that `text` holds. Raises `TextError`, with a line, for anything else."""
    text = decoded(text, name)
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                raise _refusal("there is nothing in it; a mapping is expected", None)
            if not isinstance(root, yaml.MappingNode):
                raise _refusal("a mapping (`key: value`) is expected", root.start_mark)
            lines: dict[str, int] = {}
            data = _plain(loader, root, (), lines)
            return Document(name, data, lines, comments=loader.comments)
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
        line, mend = mark.line + 1 if mark else None, ""
        if "'\\t'" in what:
            what, mend = "a tab ('\\t') is not indentation", "indent with spaces"
        raise TextError(Problem(what, name, line, mend)) from None
    except (yaml.YAMLError, ValueError, OverflowError, LookupError) as error:
        # PyYAML leaves some broken escapes and directives to int() and chr().
        what = "it is not YAML: a number in an escape or a directive is out of range"
        raise TextError(Problem(what, name, loader.line + 1)) from error


def compose(text: str) -> yaml.MappingNode:
    """The nodes of a text that `parse` takes, each with its place."""
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def dump(data: Mapping[Any, Any]) -> str:
    """`data` as text: keys in the given order, one a line, lists as `[0.0, 0.4]`."""
    return yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=100,
    )


def dump_inline(value: Any) -> str:
    """`value` as it can stand in a line, in a list or mapping or behind a key."""
    text = yaml.dump(
        [value],
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=True,
        allow_unicode=True,
        width=2 * MAX_BYTES,
    )
    return text.strip()[1:-1]


def decoded(text: str | bytes, name: str) -> str:
    """`text` without a byte order mark or a code fence around it. Raises `TextError`."""
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        what = f"it has {size} bytes; at most {MAX_BYTES} are read"
        raise TextError(Problem(what, name, mend="split it into several files"))
    if isinstance(text, str):
        return _without_fence(text.removeprefix("\ufeff"))
    try:
        return _without_fence(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        problem = Problem("it is not UTF-8 text", name, line, "save it as UTF-8")
        raise TextError(problem) from None


def _without_fence(text: str) -> str:
    """Its lines stay where they are."""
    fence = _FENCE.match(text)
    if not fence:
        return text
    body = text[fence.end() :]
    last = body.rstrip()
    if last.endswith(fence[1]) and last.removesuffix(fence[1])[-1:] in ("\r", "\n"):
        body = last.removesuffix(fence[1])
    return re.sub(r"[^\r\n]", "", fence.group()) + body


class _Loader(yaml.SafeLoader):
    """Refuses tags, anchors, aliases and depth while composing, before any of it costs anything."""

    depth = 0
    nodes = 0
    comments = 0

    def scan_to_next_token(self):
        if self.index == 0 and self.peek() == "\ufeff":
            self.forward()
        while True:
            # where a line begins, only spaces are indentation; between brackets nothing is
            begins = not self.flow_level and not self.buffer[
                self.pointer - self.column : self.pointer
            ].strip(" \t")
            blank = 0
            while self.peek(blank) in ((" ",) if begins else (" ", "\t")):
                blank += 1
            if begins:
                further = blank
                while self.peek(further) in (" ", "\t"):
                    further += 1
                if self.peek(further) in "#\r\n\x85\u2028\u2029\0":  # nothing else in the line
                    blank = further
            elif "\t" in self.prefix(blank) and not self.flow_level:
                self.allow_simple_key = False  # what follows is no key of a block
            self.forward(blank)
            if self.peek() == "#":
                self.comments += 1
                while self.peek() not in "\0\r\n\x85\u2028\u2029":
                    self.forward()
            if not self.scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_block_scalar_ignored_line(self, start_mark):
        blank = 0
        while self.peek(blank) == " ":
            blank += 1
        self.comments += self.peek(blank) == "#"
        return super().scan_block_scalar_ignored_line(start_mark)

    def scan_plain_spaces(self, indent, start_mark):
        blank = 0
        while self.peek(blank) in (" ", "\t"):
            blank += 1
        spaces = self.prefix(blank)
        if "\t" not in spaces:
            return super().scan_plain_spaces(indent, start_mark)
        self.forward(blank)
        if self.peek() in "\0\r\n\x85\u2028\u2029":
            return super().scan_plain_spaces(indent, start_mark)
        return [spaces]

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


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(_EXPONENT, _WITH_EXPONENT, list("+-.0123456789"))


def _dump_odd_number(dumper: _Dumper, value: OddNumber) -> yaml.Node:
    tag = dumper.resolve(yaml.ScalarNode, value, (True, False))
    return dumper.represent_scalar(tag, str(value))


def _dump_list(dumper: _Dumper, value: list[Any]) -> yaml.Node:
    # PyYAML writes no plain colon between brackets
    colon = any(isinstance(x, OddNumber) and ":" in x for x in value)
    return dumper.represent_sequence(_PREFIX + "seq", value, flow_style=not colon)


def _dump_text(dumper: _Dumper, value: str) -> yaml.Node:
    # PyYAML's other styles lose some line breaks of Unicode.
    style = None if value.isprintable() else '"'
    return dumper.represent_scalar(_PREFIX + "str", value, style=style)


_Dumper.add_representer(list, _dump_list)
_Dumper.add_representer(str, _dump_text)
_Dumper.add_representer(OddNumber, _dump_odd_number)


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
        if value_node.tag == _EXPONENT and key in _TEXT_KEYS:
            value_node.tag = _PREFIX + "str"
        mapping[key] = _plain(loader, value_node, here, lines)
    return mapping


def _dotted(path: Iterable[Any]) -> str:
    return ".".join(map(str, path))


def _key(loader: _Loader, node: yaml.Node) -> str | int:
    key = None
    if isinstance(node, yaml.ScalarNode):
        key = node.value if node.tag == _EXPONENT else _scalar(loader, node)
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        shown = repr(node.value[:40]) if isinstance(node, yaml.ScalarNode) else "a list or map"
        what = f"{shown} is not a key here; put quotes around it if it is a name"
        raise _refusal(what, node.start_mark)
    if isinstance(key, str) and len(key) > MAX_KEY:
        raise _refusal(f"a key has at most {MAX_KEY} characters", node.start_mark)
    return key


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if node.tag in _TEXT:
        try:
            node.value.encode("utf-8")
        except UnicodeEncodeError:
            raise _refusal("half of a surrogate pair is not a character", node.start_mark) from None
        return node.value
    if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
        raise _refusal(f"a number has at most {MAX_NUMBER} digits", node.start_mark)
    if node.tag == _EXPONENT:
        return float(node.value)
    odd = OddNumber.of(node.value) if node.tag in _NUMBERS else None
    try:
        if odd is not None and odd.readings:
            return odd
        return loader.construct_object(node)
    except (ValueError, OverflowError):
        raise _refusal(f"{node.value!r} is not a number", node.start_mark) from None
