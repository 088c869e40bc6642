"""A short digest of what a calibration depends on: the model, the conditions, the noise.

Only a few numbers of each weight are read, so even a large model takes seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
import weakref
from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch
from comfy.clip_vision import Output as ClipVisionOutput
from comfy.controlnet import ControlBase

_SAMPLED = 8  # numbers read of each weight
# ControlNets: where the weights may be, and which attributes are settings
_CONTROL_WEIGHTS = ("control_weights", "control_model", "t2i_model")
_CONTROL_SETTINGS = (
    "cond_hint_original", "strength", "strength_type", "timestep_percent_range", "extra_args",
    "extra_concat_orig", "concat_mask", "global_average_pooling", "compression_ratio",
    "upscale_algorithm", "extra_hooks",
)  # fmt: skip

_marks: dict[int, tuple[weakref.ref, str]] = {}


def model_identity(model: Any) -> str:
    """The digest of a `ModelPatcher`: its weights, the patches on them, its noise schedule."""
    parts = _weights(model.model.diffusion_model, _unpatched(model))
    for name, patches in sorted(getattr(model, "patches", {}).items(), key=lambda x: str(x[0])):
        parts.append((str(name), [_patch(patch) for patch in patches]))
    sampling = model.get_model_object("model_sampling")
    # rounded, because a GPU's exponentials differ from a CPU's in the last bits
    marks = (float(sampling.percent_to_sigma(x)) for x in (0.1, 0.3, 0.5, 0.7, 0.9))
    parts.append([f"{sigma:.5g}" for sigma in marks])
    return digest(parts)


def digest(value: Any) -> str:
    """The digest of plain values, tensors and ComfyUI's ControlNets, in any lists and mappings.

    Any other object gets a digest of its own, which changes with a restart. Its calibration is then
    measured again, which costs time but is never wrong.
    """
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()[:24]


def _feed(found: Any, value: Any) -> None:
    if getattr(value, "is_nested", False):  # several tensors packed, as latents of video and audio
        found.update(b"nested;")
        _feed(found, list(value.unbind()))
    elif isinstance(value, torch.Tensor):
        found.update(f"tensor {tuple(value.shape)} {value.dtype};".encode())
        found.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    elif isinstance(value, Mapping):
        found.update(f"mapping {len(value)};".encode())
        for key in sorted(value, key=str):
            found.update(f"key {key!s};".encode())
            _feed(found, value[key])
    elif isinstance(value, (list, tuple)):
        found.update(f"list {len(value)};".encode())
        for item in value:
            _feed(found, item)
    elif value is None or isinstance(value, (str, int, float, bool, Enum, torch.dtype)):
        found.update(f"{value!r};".encode())
    elif isinstance(value, torch.nn.Module):
        _feed(found, _weights(value))
    elif isinstance(value, ClipVisionOutput):
        _feed(found, ["clip vision", vars(value)])
    elif type(value).__module__ == ControlBase.__module__ and isinstance(value, ControlBase):
        _feed(found, _control(value))
    else:
        found.update(f"{type(value).__qualname__} {_mark(value)};".encode())


def _unpatched(model: Any) -> dict[str, torch.Tensor]:
    """Weights as they were before a LoRA was merged into them, by parameter name.

    Loading a model merges LoRAs into all its weights, or into as many as fit on the GPU.
    """
    # a hook's backup may contain a LoRA; the older backup, which wins here, does not
    kept = {name: weight for name, (weight, _) in model.hook_backup.items()}
    kept |= {name: held.weight for name, held in model.backup.items()}
    return {name.removeprefix("diffusion_model."): weight for name, weight in kept.items()}


def _weights(
    module: torch.nn.Module, unpatched: Mapping[str, torch.Tensor] | None = None
) -> list[Any]:
    parts: list[Any] = [type(module).__name__]
    for name, weight in sorted(module.named_parameters(), key=lambda one: one[0]):
        weight = (unpatched or {}).get(name, weight)
        parts.append((name, tuple(weight.shape), _some(weight)))
    return parts


def _control(control: ControlBase) -> list[Any]:
    """What to digest of one of ComfyUI's own ControlNets, and of those before it."""
    kind = type(control)
    weights = next(
        (x for name in _CONTROL_WEIGHTS if (x := getattr(control, name, None)) is not None), control
    )
    if isinstance(weights, Mapping):  # a ControlLora's
        weights = {
            name: _some(x) if isinstance(x, torch.Tensor) else x for name, x in weights.items()
        }
    vae = getattr(control, "vae", None)
    return [
        kind.__qualname__, _mark(control) if weights is control else weights,
        {name: getattr(control, name, None) for name in _CONTROL_SETTINGS},
        getattr(vae, "first_stage_model", vae), control.previous_controlnet,
    ]  # fmt: skip


def _mark(value: Any) -> str:
    """A mark that belongs to this object only, in this process only."""
    known, mark = _marks.get(id(value), (None, ""))
    if known is None or known() is not value:  # the id may come from an object that is gone
        mark = uuid.uuid4().hex
        with contextlib.suppress(TypeError):  # without weak references: a new mark each time
            _marks[id(value)] = (weakref.ref(value), mark)
    return mark


def _patch(patch: Any) -> list[Any]:
    """A LoRA's strength and some of its numbers."""
    parts: list[Any] = []
    for part in patch if isinstance(patch, (list, tuple)) else (patch,):
        weights = getattr(part, "weights", part)
        for inner in weights if isinstance(weights, (list, tuple)) else (weights,):
            parts.append(_some(inner) if isinstance(inner, torch.Tensor) else _plain(inner))
    return parts


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else type(value).__name__


def _some(weight: torch.Tensor) -> list[float] | str:
    try:
        flat = weight.detach().reshape(-1)
        step = max(1, flat.numel() // _SAMPLED)
        return flat[::step][:_SAMPLED].float().cpu().tolist()
    except Exception:  # a quantised weight that cannot be sliced, or one that is not loaded
        return str(weight.dtype)
