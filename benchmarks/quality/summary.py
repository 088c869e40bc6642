"""From result lines to the figures of the tables: means over clips, paired differences, spreads."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from .metrics import METRICS
from .settings import Setting
from .spread import Spread, paired, spread


@dataclass
class Row:
    """One setting's figures.

    metrics, differences  metric -> over clips; `differences` to the setting's `against`, paired
    worst_psnr            of the worst clip
    densities             of the sparse calls, and with the dense steps
    time                  median of seconds / the dense clip's
    call_ms               of a call that was timed: "sparse", "run", "dense", as `peers.call_times`
    """

    setting: Setting
    metrics: dict[str, Spread] = field(default_factory=dict)
    differences: dict[str, Spread] = field(default_factory=dict)
    worst_psnr: float | None = None
    density: float | None = None
    overall_density: float | None = None
    time: float | None = None
    call_ms: dict[str, float] = field(default_factory=dict)
    left_out: str = ""

    def to_data(self) -> dict:
        return {**asdict(self), "setting": self.setting.to_data()}


@dataclass
class Summary:
    """tables: name -> rows. left_out: [table, label, reason]. fits: of calibration."""

    tables: dict[str, list[Row]]
    left_out: list[list[str]]
    clips: list[int]
    fits: list[dict]

    def to_data(self) -> dict:
        return {
            "tables": {name: [row.to_data() for row in rows] for name, rows in self.tables.items()},
            "left_out": self.left_out,
            "clips": self.clips,
            "fits": self.fits,
        }


def summarise(lines: list[dict]) -> Summary:
    settings: dict[str, Setting] = {}
    left_out: dict[tuple, list[str]] = {}
    for line in lines:
        if line["kind"] == "settings":
            for data in line["rows"]:
                settings.setdefault(data["key"], Setting.from_data(data))
            left_out |= {tuple(x): x for x in line["left_out"]}
    clips: dict[str, dict[int, dict]] = defaultdict(dict)
    for line in lines:
        if line["kind"] == "clip":
            clips[line["key"]][line["clip"]] = line
    times = {line["key"]: line for line in lines if line["kind"] == "time"}
    tables: dict[str, list[Row]] = defaultdict(list)
    for setting in settings.values():
        row = _row(setting, clips)
        found = times.get(setting.key, {})
        row.call_ms = {x: found[x] for x in ("sparse", "run", "dense") if x in found}
        if row.metrics or row.left_out:
            tables[setting.table].append(row)
    seen = sorted({clip for by_clip in clips.values() for clip in by_clip})
    fits = {(line["table"], line["label"]): line for line in lines if line["kind"] == "fit"}
    return Summary(dict(tables), list(left_out.values()), seen, list(fits.values()))


def _row(setting: Setting, clips: dict) -> Row:
    row = Row(setting)
    own = {i: line for i, line in clips.get(setting.key, {}).items() if "left_out" not in line}
    reasons = {
        line["left_out"] for line in clips.get(setting.key, {}).values() if "left_out" in line
    }
    row.left_out = "; ".join(sorted(reasons))
    other = {
        i: line for i, line in clips.get(setting.against, {}).items() if "left_out" not in line
    }
    for metric in METRICS:
        # results of an older version may lack one
        values = {i: line[metric] for i, line in own.items() if metric in line}
        if values:
            row.metrics[metric] = spread(list(values.values()))
            bases = {i: line[metric] for i, line in other.items() if metric in line}
            difference = paired(values, bases)
            if difference is not None:
                row.differences[metric] = difference
    if own:
        row.worst_psnr = min(line["psnr"] for line in own.values())
        row.density = _mean(line["density"] for line in own.values())
        row.overall_density = _mean(line["overall_density"] for line in own.values())
        row.time = statistics.median(
            line["seconds"] / line["dense_seconds"] for line in own.values()
        )
    return row


def _mean(values: Iterable[float | None]) -> float | None:
    """None where one is: a peer may not tell."""
    values = list(values)
    return None if None in values else statistics.fmean(values)
