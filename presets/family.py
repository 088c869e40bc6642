"""One model family: its header and its presets, from a mapping and back.

Presets are judged by `psa_kernels.config` alone; only the rules of the header live here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .ground import Issue, Mend, PSAConfig, advice, readings
from .names import name_breach, nearest, same_but_for_case

KEYS = ("default_attention", "video_scale", "text_length", "attention_configs")
HEADER = KEYS[:3]
DIVISORS = ("width_divisor", "height_divisor", "depth_divisor")
CLIP = "clip_length"  # may be absent or null
MAX_DIVISOR = 1024
MAX_TEXT = 1_000_000
MAX_ISSUES = 100  # finding the nearest known key takes time; nobody fixes more at once
_SHOWN = 120  # characters of an offending value that a message repeats


@dataclass(frozen=True)
class VideoScale:
    """Pixels (and frames) per token along each axis. `clip_length`: frames that the model's VAE
    encodes at a time, None where it takes a video as a whole.
    """

    width_divisor: int
    height_divisor: int
    depth_divisor: int
    clip_length: int | None = None

    def grid(self, width: int, height: int, frames: int) -> tuple[int, int, int]:
        """The token grid (frames, height, width) of a video of this size in pixels and frames.

        The first frame of the video, or of each clip, stands alone; each `depth_divisor` further
        ones, the last maybe short, share a token. A model in ComfyUI says itself what its grid is;
        this serves Python and estimates.
        """
        clip = self.clip_length or max(frames, 1)
        clips, rest = divmod(frames, clip)
        return (
            clips * self._along(clip) + self._along(rest),
            -(-height // self.height_divisor),
            -(-width // self.width_divisor),
        )

    def _along(self, frames: int) -> int:
        """Tokens of so many frames that are encoded at once."""
        return -(-(frames - 1) // self.depth_divisor) + 1 if frames else 0

    def to_mapping(self) -> dict[str, int]:
        found = dataclasses.asdict(self)
        return {key: value for key, value in found.items() if value is not None}

    def __str__(self) -> str:
        return f"{self.width_divisor} x {self.height_divisor} x {self.depth_divisor}"


@dataclass(frozen=True)
class Family:
    """A model family. `default_attention` names one of `attention_configs`, except that it may be
    missing there when that one preset is broken and was left out. `text_length`: text tokens in the
    model's self-attention beside the video's, None where it varies."""

    name: str
    default_attention: str
    video_scale: VideoScale
    text_length: int | None
    attention_configs: Mapping[str, PSAConfig]

    def to_mapping(self) -> dict[str, Any]:
        """The family's section of a file, plain types; `read_family` gives it back equal."""
        return {
            "default_attention": self.default_attention,
            "video_scale": self.video_scale.to_mapping(),
            "text_length": self.text_length,
            "attention_configs": {
                name: config.to_preset() for name, config in self.attention_configs.items()
            },
        }


def read_family(
    name: Any, section: Any, base: Family | None = None, known: Known | None = None
) -> tuple[Family | None, list[Issue]]:
    """(family, every breach at once) of one top-level entry of a preset file.

    With `base`, the family as known from elsewhere: absent header keys are taken from it, and
    `default_attention` may name one of its presets. The family returned holds the section's own
    presets only, without broken ones; it is None where the header is broken. `known`: what was
    found of the same text's presets before; grows.
    """
    breach = name_breach(name)
    if breach:
        return None, [_issue(str(name), repr(name), breach)]
    if not isinstance(section, Mapping):
        return None, [_issue(name, repr(section), "a mapping with " + ", ".join(KEYS))]

    issues = _unknown_keys(name, section, KEYS)
    configs = _presets(name, section, issues, {} if known is None else known)
    if base is not None:
        section = {"video_scale": base.video_scale, "text_length": base.text_length, **section}
    scale = _video_scale(f"{name}.video_scale", section.get("video_scale", _ABSENT), issues)
    text = _text_length(f"{name}.text_length", section.get("text_length", _ABSENT), issues)
    default = _default(name, section, base, issues) if configs is not None else None
    if None in (configs, scale, default) or text is _ABSENT:
        return None, issues
    return Family(name, default, scale, text, configs), issues


# (family, preset) -> what `read_preset` gave
Known = dict[tuple[str, str], tuple[PSAConfig | None, list[Issue]]]


def read_preset(path: str, mapping: Any) -> tuple[PSAConfig | None, list[Issue]]:
    """(configuration, every breach) of one preset's mapping; `path` goes in front of each path."""
    if not isinstance(mapping, Mapping):
        return None, [_issue(path, repr(mapping), "a preset is a mapping of settings")]
    config, issues = PSAConfig.read_preset(mapping)
    return config, [_placed(path, issue) for issue in issues]


_ABSENT = object()


def _found(value: Any) -> str:
    return "nothing" if value is _ABSENT else repr(value)


def _issue(path: str, found: str, allowed: str, mends: tuple[Mend, ...] = ()) -> Issue:
    return Issue(path, path, _short(found), allowed, mends)


def _short(found: str) -> str:
    return found if len(found) <= _SHOWN else found[: _SHOWN - 3] + "..."


def _placed(path: str, issue: Issue) -> Issue:
    """The validator's issue with paths that start at the file's top level."""
    prefix = f"{path}." if path else ""
    mends = tuple(
        Mend(mend.label, {prefix + key: value for key, value in mend.changes.items()})
        for mend in issue.mends
    )
    return dataclasses.replace(
        issue, path=prefix + issue.path, found=_short(issue.found), mends=mends
    )


def _unknown_keys(path: str, section: Mapping[Any, Any], known: tuple[str, ...]) -> list[Issue]:
    issues = []
    for key in section:
        if key not in known:
            near = nearest(str(key), known)
            allowed = f"did you mean {near}?" if near else "known keys: " + ", ".join(known)
            issues.append(_issue(f"{path}.{key}", "an unknown key", allowed))
    return issues


def _presets(
    family: str, section: Mapping[Any, Any], issues: list[Issue], known: Known
) -> dict[str, PSAConfig] | None:
    """The valid presets; None if there is no mapping of presets at all."""
    path = f"{family}.attention_configs"
    raw = section.get("attention_configs", _ABSENT)
    if not isinstance(raw, Mapping) or not raw:
        issues.append(_issue(path, _found(raw), "a mapping from names to presets, at least one"))
        return None
    configs: dict[str, PSAConfig] = {}
    seen: list[str] = []
    for name, mapping in raw.items():
        here = f"{path}.{name}"
        if len(issues) >= MAX_ISSUES:
            issues.append(_issue(here, "too many problems before it", "fix those first"))
            break
        breach = name_breach(name, of_preset=True)
        twin = None if breach else same_but_for_case(name, seen)
        if twin:
            breach = f"it differs from {twin} by case only"
        if breach:
            issues.append(_issue(here, repr(name), breach))
            continue
        seen.append(name)
        if (family, name) not in known:
            known[family, name] = read_preset(here, mapping)
        config, found = known[family, name]
        issues.extend(found)
        if config is not None:
            configs[name] = config
    return configs


def _default(
    name: str, section: Mapping[Any, Any], base: Family | None, issues: list[Issue]
) -> str | None:
    """The name of the default preset, which must be in the section or in `base`."""
    if base is not None and "default_attention" not in section:
        return base.default_attention
    default = section.get("default_attention", _ABSENT)
    known = [key for key in section["attention_configs"] if isinstance(key, str)]
    known += base.attention_configs if base else []
    if isinstance(default, str) and default in known:
        return default
    path = f"{name}.default_attention"
    near = nearest(str(default), known) or next(iter(known), None)
    mends = (Mend(f"set {path} to {near}", {path: near}),) if near else ()
    allowed = "the name of one of the family's presets"
    issues.append(_issue(path, _found(default), allowed, mends))
    return None


def _video_scale(path: str, value: Any, issues: list[Issue]) -> VideoScale | None:
    if isinstance(value, VideoScale):
        return value
    if not isinstance(value, Mapping):
        issues.append(_issue(path, _found(value), "a mapping with " + ", ".join(DIVISORS)))
        return None
    found = _unknown_keys(path, value, (*DIVISORS, CLIP))
    keys = DIVISORS if value.get(CLIP) is None else (*DIVISORS, CLIP)
    divisors = {
        key: _whole(f"{path}.{key}", value.get(key, _ABSENT), 1, MAX_DIVISOR, found) for key in keys
    }
    issues.extend(found)
    return None if None in divisors.values() else VideoScale(**divisors)


def _text_length(path: str, value: Any, issues: list[Issue]) -> Any:
    """The number, None where it varies, `_ABSENT` where it is neither."""
    if value is None:
        return None
    length = _whole(path, value, 0, MAX_TEXT, issues, ", or null where it varies")
    return _ABSENT if length is None else length


def _whole(
    path: str, value: Any, low: int, high: int, issues: list[Issue], more: str = ""
) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    allowed = f"allowed: a whole number from {low} to {high}{more}{advice(value)}"
    numbers = dict.fromkeys(int(x) for x in readings(value) if low <= x <= high and x == int(x))
    mends = tuple(Mend(f"set {path} to {number}", {path: number}) for number in numbers)
    issues.append(_issue(path, _found(value), allowed, mends))
    return None
