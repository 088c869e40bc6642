"""Numbers that YAML 1.1 does not read as people do: 010 is 8, 1:10 is 70."""

from __future__ import annotations

import re

_OCTAL = re.compile("[-+]?0[0-7]+", re.ASCII)


class OddNumber(str):
    """Such a number as it is written. A field that wants a number refuses it, one that wants text
    takes it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    @staticmethod
    def of(text: str) -> OddNumber | None:
        """`text` is a number to YAML 1.1; None where everyone reads it alike."""
        octal = _OCTAL.fullmatch(text) is not None and int(text, 8) != int(text)
        return OddNumber(text) if octal or "_" in text or ":" in text else None

    @property
    def readings(self) -> list[float]:
        """The numbers that it may stand for, the likeliest first."""
        plain = self.replace("_", "")
        sign, digits = (-1 if plain[:1] == "-" else 1), plain.lstrip("+-")
        if ":" in digits:
            whole = 0.0
            for part in digits.split(":"):
                whole = whole * 60 + float(part)
            return [sign * whole]
        if digits[:2].lower() in ("0x", "0b"):
            return [sign * int(digits, 0)]
        if _OCTAL.fullmatch(plain):
            return [sign * int(digits), sign * int(digits, 8)]
        return [sign * float(digits)]

    @property
    def advice(self) -> str:
        """How to write it; follows "allowed: a whole number"."""
        if ":" in self:
            return "without a colon"
        return "without underscores" if "_" in self else "without a zero in front"


def advice(value: object) -> str:
    """How to write a value that is such a number, or a list with one; for the end of a message."""
    for one in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(one, OddNumber):
            return f", {one.advice}"
    return ""
