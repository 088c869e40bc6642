"""Values that nobody changes: built once, with `object.__setattr__`."""

from __future__ import annotations

from typing import Any


class Immutable:
    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; build a new one")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)
