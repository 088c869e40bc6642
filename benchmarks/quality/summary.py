"""From result lines to the figures of the tables: means over clips, paired differences, spreads."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from ..recall import SHARES
from .metrics import METRICS
from .second_moment import VARIANTS
from .settings import FIRST_ORDER, Setting
from .spread import Spread, paired, spread
from .structure import ESTIMATORS, ORDERS

CAPTURED = "captured"


@dataclass
class Row:
    """One setting's figures.

    metrics, differences  metric -> over clips; `differences` to the setting's `against`, paired
    calls                 source of q, k, v -> rel-L2 of single calls, over calls
    worst_psnr            of the worst clip
    densities             of the sparse calls, and with the dense steps
    time                  median of seconds / the dense clip's
    call_ms               of a call that was timed: "sparse", "run", "dense", as `peers.call_times`
    """

    setting: Setting
    metrics: dict[str, Spread] = field(default_factory=dict)
    differences: dict[str, Spread] = field(default_factory=dict)
    calls: dict[str, Spread] = field(default_factory=dict)
    call_differences: dict[str, Spread] = field(default_factory=dict)
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
    """tables: name -> rows; moments: (target, variant) -> source -> spread;
    holds_90, recall, recall_heads: see `_attention`; left_out: [table, label, reason]; fits: lines
    of what calibration gave each block; first_order: (preset, grouping) -> variant -> of every
    head of every call, its rel-L2."""

    tables: dict[str, list[Row]]
    left_out: list[list[str]]
    moments: dict[tuple[str, str], dict[str, Spread]]
    holds_90: dict[str, list[list[float]]]
    recall: dict[tuple[str, str], list[list[list[float]]]]
    recall_heads: dict[tuple[str, str], list[list[float]]]
    clips: list[int]
    fits: list[dict] = field(default_factory=list)
    first_order: dict[tuple[str, str], dict[str, list[float]]] = field(default_factory=dict)

    def to_data(self) -> dict:
        return {
            "tables": {name: [row.to_data() for row in rows] for name, rows in self.tables.items()},
            "left_out": self.left_out,
            "second_moment": {
                f"{variant}, density {target}": {s: asdict(x) for s, x in by_source.items()}
                for (target, variant), by_source in self.moments.items()
            },
            "holds_90": self.holds_90,
            "recall": {f"{name}, {order}": x for (order, name), x in self.recall.items()},
            "recall_heads": {
                f"{name}, {order}": {
                    "mean": [statistics.fmean(x) for x in by_share],
                    "fifth": [percentile(x, 5) for x in by_share],
                    "worst": [min(x) for x in by_share],
                }
                for (order, name), by_share in self.recall_heads.items()
            },
            "clips": self.clips,
            "fits": self.fits,
            "first_order": {
                f"{name}, {grouping}": by for (name, grouping), by in self.first_order.items()
            },
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
    # by where it is from: a share that was measured twice counts once
    calls = {
        (line["source"], line["clip"], line["layer"], line["step"]): line
        for line in lines
        if line["kind"] == "call"
    }
    times = {line["key"]: line for line in lines if line["kind"] == "time"}
    tables: dict[str, list[Row]] = defaultdict(list)
    for setting in settings.values():
        row = _row(setting, clips, calls)
        found = times.get(setting.key, {})
        row.call_ms = {x: found[x] for x in ("sparse", "run", "dense") if x in found}
        if row.metrics or row.calls or row.left_out:
            tables[setting.table].append(row)
    attention = {line["clip"]: line["calls"] for line in lines if line["kind"] == "attention"}
    seen = sorted({clip for by_clip in clips.values() for clip in by_clip})
    fits = {(line["table"], line["label"]): line for line in lines if line["kind"] == "fit"}
    return Summary(
        dict(tables), list(left_out.values()), _moments(calls), *_attention(attention), seen,
        list(fits.values()), _first_order(lines),
    )  # fmt: skip


def _row(setting: Setting, clips: dict, calls: dict) -> Row:
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
    errors: dict[str, dict] = defaultdict(dict)
    bases: dict[str, dict] = defaultdict(dict)
    densities = []
    for where, line in calls.items():
        if setting.key in line["values"]:
            errors[where[0]][where] = line["values"][setting.key][0]
            if where[0] == CAPTURED:
                densities.append(line["values"][setting.key][1])
        if setting.against in line["values"]:
            bases[where[0]][where] = line["values"][setting.against][0]
    for source, values in errors.items():
        row.calls[source] = spread(list(values.values()))
        if difference := paired(values, bases[source]):
            row.call_differences[source] = difference
    if row.density is None and densities:
        row.density = statistics.fmean(densities)
    return row


def _mean(values: Iterable[float | None]) -> float | None:
    """None where one is: a peer may not tell."""
    values = list(values)
    return None if None in values else statistics.fmean(values)


def _moments(calls: dict) -> dict[tuple[str, str], dict[str, Spread]]:
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (source, *_), line in calls.items():
        for target, by_variant in line["moments"].items():
            for variant in VARIANTS:
                found[target, variant][source].append(by_variant[variant])
    return {key: {s: spread(x) for s, x in by.items()} for key, by in found.items()}


def _first_order(lines: list[dict]) -> dict[tuple[str, str], dict[str, list[float]]]:
    calls = {
        tuple(line[x] for x in ("clip", "layer", "step", "preset", "grouping")): line["heads"]
        for line in lines
        if line["kind"] == FIRST_ORDER
    }
    found: dict = defaultdict(lambda: defaultdict(list))
    for (*_, preset, grouping), heads in calls.items():
        for variant, values in heads.items():
            found[preset, grouping][variant] += values
    return {key: dict(by) for key, by in found.items()}


def _attention(attention: dict[int, list[dict]]):
    """Three things. Means over clips: order -> [layer][step], the share of blocks that holds 90% of
    the mass, mean over heads; (order, estimator) -> [layer][step][share of blocks], the recall. And
    (order, estimator) -> [share of blocks], the recall of every head of every call."""
    calls = [call for by_clip in attention.values() for call in by_clip]
    if not calls:
        return {}, {}, {}
    layers = 1 + max(call["layer"] for call in calls)
    steps = 1 + max(call["step"] for call in calls)
    at = defaultdict(list)
    for call in calls:
        at[call["layer"], call["step"]].append(call)

    def cells(value):
        return [[value(at[layer, step]) for step in range(steps)] for layer in range(layers)]

    def mean(values):
        return statistics.fmean(values)

    holds = {
        order: cells(lambda xs, o=order: mean([mean(x[o]["holds_90"]) for x in xs]))
        for order in ORDERS
    }
    recall = {
        (order, name): cells(
            lambda xs, o=order, n=name: [
                mean(c) for c in zip(*(x[o]["recall"][n] for x in xs), strict=True)
            ]
        )
        for order in ORDERS
        for name in ESTIMATORS
    }
    heads = {
        (order, name): [
            [x for call in calls for x in call[order]["heads"][name][share]]
            for share in range(len(SHARES))
        ]
        for order in ORDERS
        for name in ESTIMATORS
    }
    return holds, recall, heads


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` percent of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share / 100 * len(values)) - 1)]
