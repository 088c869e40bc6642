"""What a calibration has found so far, read from its journal."""

from __future__ import annotations

from typing import Any

from ...psa_kernels.config import PSAConfig
from .grouping import SIMILAR, Compared, is_open
from .journal import Journal
from .measure import Call
from .predict import Measurements, Probe


class Findings:
    """`config` is `base` with the grouping that is measured now; all findings are for that one."""

    def __init__(self, journal: Journal, base: PSAConfig):
        self.journal, self.base = journal, base

    @property
    def complete(self) -> bool:
        return bool(self.journal.of("complete"))

    @property
    def compared(self) -> Compared | None:
        """What was found about the grouping, if it was open and is decided."""
        for line in self.journal.of("grouping"):
            return Compared(*(line[name] for name in ("chosen", "order", "similar")))
        return None

    @property
    def undecided(self) -> bool:
        return is_open(self.base) and self.compared is None

    @property
    def config(self) -> PSAConfig:
        """With like keys together, until the comparison decides against it."""
        if self.undecided:
            return self.base.replace(grouping=SIMILAR)
        compared = self.compared
        return self.base if compared is None else self.base.replace(grouping=compared.chosen)

    @property
    def in_order(self) -> PSAConfig | None:
        """The base in token order, to compare with while the grouping is undecided."""
        return self.base if self.undecided else None

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The journal's lines about steps ("step") or probes ("probe")."""
        grouping = self.config.grouping
        return [line for line in self.journal.of(kind) if line["grouping"] == grouping]

    def calls(self, step: int) -> list[Call] | None:
        return next((_calls(line) for line in self.lines("step") if line["step"] == step), None)

    def probed(self, step: int) -> set[int]:
        """The blocks that were probed."""
        return {line["block"] for line in self.lines("probe") if line["step"] == step}

    def measurements(self) -> Measurements:
        """All measurements, once the calibration is complete."""
        scales = tuple(self.journal.of("ladder")[0]["scales"])
        steps = self.lines("step")
        calls = {line["step"]: _calls(line) for line in steps}
        probes = tuple(
            Probe(*(line[name] for name in ("step", "block", "rung", "error")))
            for line in self.lines("probe")
        )
        stands = {line["step"]: line["stands"] for line in steps}
        return Measurements(scales, calls, probes, self.compared, stands)


def _calls(line: dict[str, Any]) -> list[Call]:
    return [
        Call(
            found["block"], found["norm"], tuple(map(tuple, found["rungs"])),
            None if found["in_order"] is None else tuple(found["in_order"]),
        )
        for found in line["calls"]
    ]  # fmt: skip
