"""Writes new data into a file's text and changes nothing else in it, so that comments stay."""

from __future__ import annotations

import re
from typing import Any

import yaml

from .errors import TextError
from .yaml_text import Document, compose, decoded, dump, dump_inline, parse

_BREAK = re.compile(r"\r\n|\r|\n")
_STRANGE = re.compile("[\x85\u2028\u2029]")  # breaks lines in YAML 1.1, in no editor


class _InPlaceError(Exception):
    """The change cannot be made in the text as it is."""


def rewritten(
    content: bytes, before: Document, data: dict[Any, Any]
) -> tuple[bytes, Document] | None:
    """(bytes, what they hold) of the file with `data` in it; None if it must be written from
    scratch.

    Text is cut and inserted at the places that the reader found. The result is read again, and
    returned only if it holds `data`.
    """
    mark = "\ufeff" if content.startswith(b"\xef\xbb\xbf") else ""
    try:
        text = decoded(content, before.name)
        if _STRANGE.search(text):
            return None
        change = _Change(text)
        change.mapping(compose(text), before.data, data)
        result = mark + change.result()
        document = parse(result, before.name)
    except (_InPlaceError, TextError, yaml.YAMLError):
        return None
    return (result.encode(), document) if _same(document.data, data) else None


class _Change:
    def __init__(self, text: str):
        self._text = text
        found = _BREAK.search(text)
        self._break = found.group() if found else "\n"
        self._cuts: list[tuple[int, int, str]] = []  # from, to, what comes there

    def result(self) -> str:
        text = self._text
        for start, end, new in sorted(self._cuts, reverse=True):
            text = text[:start] + new.replace("\n", self._break) + text[end:]
        return text

    def mapping(self, node: yaml.MappingNode, old: dict[Any, Any], new: dict[Any, Any]) -> None:
        entries = dict(zip(old, node.value, strict=True))
        renamed = _renamed(old, new)
        if renamed:
            key, _ = entries[renamed[0]]
            self._cuts.append((*_span(key), dump_inline(renamed[1])))
            old = {renamed[1] if name == renamed[0] else name: x for name, x in old.items()}
            entries = dict(zip(old, node.value, strict=True))
        for name, (_, value) in entries.items():
            if name in new:
                self._value(value, old[name], new[name], node)
        gone, more = old.keys() - new.keys(), [name for name in new if name not in old]
        if not gone and not more:
            return
        if node.flow_style or len(gone) == len(old):
            raise _InPlaceError
        for name in gone:
            key, value = entries[name]
            start = key.start_mark.index - key.start_mark.column
            if self._text[start : key.start_mark.index].strip(" "):
                raise _InPlaceError  # `? key`
            self._cuts.append((start, self._line_end(_end(value)), ""))
        column, place = node.start_mark.column, self._line_end(_end(node))
        if more:
            entries = {name: new[name] for name in more}
            self._cuts.append((place, place, self._block(entries, column, place)))

    def _value(self, node: yaml.Node, old: Any, new: Any, parent: yaml.MappingNode) -> None:
        if _same(old, new):
            return
        if (
            isinstance(new, dict)
            and isinstance(old, dict)
            and (not node.flow_style or old.keys() == new.keys())
        ):
            return self.mapping(node, old, new)
        if isinstance(new, list) and isinstance(old, list) and len(old) == len(new):
            for inner, one, other in zip(node.value, old, new, strict=True):
                self._value(inner, one, other, parent)
            return None
        start, end = _span(node)
        if getattr(node, "flow_style", None) is False:
            raise _InPlaceError  # a block becomes something else
        head, *lines = _BREAK.split(self._text[start:end])
        literal = getattr(node, "style", None) in ("|", ">")
        # where a comment may be: behind the sign of a literal, in the lines of a list or mapping
        comments = head if literal else "".join(lines and [head, *lines])
        if "#" in comments and (literal or isinstance(node, yaml.CollectionNode)):
            raise _InPlaceError
        if isinstance(new, dict) and new and not parent.flow_style:
            while self._text[start - 1] == " ":
                start -= 1
            text = "\n" + self._block(new, parent.start_mark.column + 2, 0).rstrip("\n")
        else:
            text = dump_inline(new)
            text = text if start < end else f" {text}"
        if literal and lines:  # it ends where the next line begins
            text += "\n"
        self._cuts.append((start, end, text))
        return None

    def _block(self, data: dict[Any, Any], column: int, place: int) -> str:
        text = "".join(" " * column + line for line in dump(data).splitlines(keepends=True))
        unfinished = place and not _BREAK.match(self._text, place - 1)
        return f"\n{text}" if unfinished else text

    def _line_end(self, place: int) -> int:
        """Where the line after this place begins, past a comment at the end of the line."""
        if place and _BREAK.match(self._text, place - 1):  # the end of a literal block
            return place
        found = _BREAK.search(self._text, place)
        return found.end() if found else len(self._text)


def _span(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


def _end(node: yaml.Node) -> int:
    """Where the last thing in it ends; a block's own end comes after the comments behind it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _renamed(old: dict[Any, Any], new: dict[Any, Any]) -> tuple[Any, Any] | None:
    """(from, to) where one key has another name in the same place, and nothing else changed."""
    pairs = [(a, b) for a, b in zip(old, new, strict=False) if a != b]
    if len(old) != len(new) or len(pairs) != 1:
        return None
    [(name, to)] = pairs
    return (name, to) if to not in old and _same(old[name], new[to]) else None


def _same(one: Any, other: Any) -> bool:
    """Whether they are equal to every field: an int may stand for a float."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    kinds = type(one), type(other)
    return one == other and (kinds[0] is kinds[1] or kinds == (int, float))
