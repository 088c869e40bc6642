"""The whole comparison of two clips: figures of every frame and of the clip, as text and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import perceptual
from .metrics import WINDOW, TemporalDifference, chunks, mean_squared_errors, psnr, ssim


@dataclass(frozen=True)
class Metric:
    """frames  one value for each compared frame (for the temporal difference, not for the first)
    whole   the value of the clip; None, with a `reason`, if there is none
    """

    frames: tuple[float, ...]
    whole: float | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """lengths  numbers of frames of the two clips; the first `compared` are compared
    size     (width, height)
    notes    what the reader must know about the comparison
    """

    lengths: tuple[int, int]
    compared: int
    size: tuple[int, int]
    notes: tuple[str, ...]
    psnr: Metric
    ssim: Metric
    lpips: Metric
    temporal: Metric
    largest: float
    gain: float

    @property
    def identical(self) -> bool:
        return self.psnr.whole == math.inf

    def text(self) -> str:
        """The summary, one line per figure."""
        width, height = self.size
        lines = [f"{_count(self.compared, 'frame')} of {width} x {height}", *self.notes]
        if self.identical:
            lines.append("The clips are identical.")
        lines += [
            _line("PSNR", self.psnr, "{:.2f} dB", min, "lowest"),
            _line("SSIM", self.ssim, "{:.4f}", min, "lowest"),
            _line("LPIPS", self.lpips, "{:.4f}", max, "highest"),
            _line("temporal difference", self.temporal, "{:.4f}", max, "highest", first=2),
            f"difference picture: |other - reference| x {self.gain:g}; "
            f"the largest difference is {self.largest:.4f} of 1",
        ]
        return "\n".join(lines)

    def table(self) -> str:
        """The figures of each frame."""
        columns = {"PSNR dB": self.psnr, "SSIM": self.ssim, "LPIPS": self.lpips,
                   "temporal": self.temporal}  # fmt: skip
        columns = {name: metric for name, metric in columns.items() if metric.frames}
        rows = ["frame" + "".join(f"{name:>10}" for name in columns)]
        for i in range(self.compared):
            cells = []
            for metric in columns.values():
                at = i - (self.compared - len(metric.frames))
                cells.append(f"{metric.frames[at]:10.4f}" if at >= 0 else f"{'-':>10}")
            rows.append(f"{i + 1:5d}" + "".join(cells))
        return "\n".join(rows)

    def json(self) -> dict[str, Any]:
        """JSON has no infinity: an infinite PSNR is null; `identical_frames` lists those frames."""
        lengths = dict(zip(("reference", "other"), self.lengths, strict=True))
        return {
            "frames": {**lengths, "compared": self.compared},
            "size": dict(zip(("width", "height"), self.size, strict=True)),
            "notes": list(self.notes),
            "identical": self.identical,
            "identical_frames": [i + 1 for i, x in enumerate(self.psnr.frames) if x == math.inf],
            "psnr": _json(self.psnr),
            "ssim": _json(self.ssim),
            "lpips": _json(self.lpips),
            "temporal_difference": _json(self.temporal),
            "largest_difference": _finite(self.largest),
            "gain": self.gain,
        }


def common(
    reference: torch.Tensor, other: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """(reference, other, notes): the frames `[n, H, W, 3]` that both have.

    Raises `ValueError` if the sizes differ.
    """
    sizes = [f"{x.shape[2]} x {x.shape[1]}" for x in (reference, other)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the frames of reference are {sizes[0]} pixels, those of other are {sizes[1]}. "
            "Fix: give two clips of one size"
        )
    notes = []
    lengths = len(reference), len(other)
    if lengths[0] != lengths[1]:
        notes.append(
            f"reference has {_count(lengths[0], 'frame')}, other has {lengths[1]}; the first "
            f"{min(lengths)} are compared"
        )
    channels = reference.shape[3], other.shape[3]
    colours = 3 if min(channels) >= 3 else 1
    if max(channels) != colours:
        first = "three channels" if colours == 3 else "channel"
        notes.append(
            f"the pictures have {channels[0]} and {channels[1]} channels; the comparison "
            f"uses the first {first}"
        )
    found = []
    for name, clip in (("reference", reference), ("other", other)):
        clip = clip[: min(lengths), ..., :colours].expand(-1, -1, -1, 3)
        if bad := sum(not bool(frame.isfinite().all()) for frame in clip):
            notes.append(f"{_count(bad, 'frame')} of {name} have values that are not finite")
        found.append(clip)
    return found[0], found[1], tuple(notes)


def compare(
    reference: torch.Tensor,
    other: torch.Tensor,
    gain: float,
    *,
    lengths: tuple[int, int] | None = None,
    notes: Sequence[str] = (),
    done: Callable[[int], None] = lambda frames: None,
) -> Comparison:
    """The figures of two clips `[n, H, W, 3]` of one shape, as `common` gives them.

    lengths  of the clips before they were cut
    done     called with the number of frames compared so far
    """
    frames, height, width, _ = reference.shape
    without = perceptual.unavailable()
    if without is None and min(height, width) < perceptual.SMALLEST:
        without = f"frames need at least {perceptual.SMALLEST} pixels a side"
    distances = None
    if without is None:
        try:
            distances = perceptual.load(reference.device)
        except Exception as error:  # a broken package must not cost the other figures
            without = f"it cannot be loaded: {error}"
    small = min(height, width) < WINDOW
    errors, similar, perceived, largest, temporal = [], [], [], 0.0, TemporalDifference()
    for one, two in chunks(reference, other):
        errors += mean_squared_errors(one, two).tolist()
        largest = float((one - two).abs().max().clamp(min=largest))  # NaN stays NaN
        if not small:
            similar += ssim(one, two).tolist()
        if distances is not None:
            perceived += distances(one, two).tolist()
        temporal.add(one, two)
        done(len(errors))
    changes = temporal.values()
    return Comparison(
        lengths or (frames, frames), frames, (width, height), tuple(notes),
        Metric(tuple(map(psnr, errors)), psnr(sum(errors) / frames)),
        _mean(similar, f"frames need at least {WINDOW} pixels a side" if small else ""),
        _mean(perceived, without or ""),
        _mean(changes or [], "" if changes else _STILL if frames > 1 else _ONE),
        largest, gain,
    )  # fmt: skip


_STILL = "the reference does not move"
_ONE = "it needs two frames"


def _mean(values: Sequence[float], reason: str) -> Metric:
    if reason:
        return Metric((), None, reason)
    return Metric(tuple(values), sum(values) / len(values))


def _line(
    name: str, metric: Metric, form: str, worst: Callable, word: str, first: int = 1
) -> str:  # fmt: skip
    if metric.whole is None:
        return f"{name}: not available ({metric.reason})"
    text = f"{name}: {form.format(metric.whole)}"
    values = [value for value in metric.frames if not math.isnan(value)]
    if len(set(values)) < 2:
        return text
    value = worst(values)
    return f"{text}, {word} {form.format(value)} in frame {metric.frames.index(value) + first}"


def _json(metric: Metric) -> dict[str, Any]:
    frames = [_finite(value) for value in metric.frames]
    return {"whole": _finite(metric.whole), "reason": metric.reason or None, "frames": frames}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
