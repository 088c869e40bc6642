"""What a calibration depends on, in a few characters: the model, the conditions, the noise.

Weights are known by a few numbers of each: even a large model is looked through in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

_SAMPLED = 8  # numbers of each weight


def model_identity(model: Any) -> str:
    """Of a `ModelPatcher`: its weights, the patches on them, its noise schedule."""
    diffusion_model = model.model.diffusion_model
    parts: list[Any] = [type(diffusion_model).__name__]
    for name, weight in sorted(diffusion_model.named_parameters()):
        parts.append((name, tuple(weight.shape), _some(weight)))
    for name, patches in sorted(getattr(model, "patches", {}).items(), key=lambda x: str(x[0])):
        parts.append((str(name), [_patch(patch) for patch in patches]))
    sampling = model.get_model_object("model_sampling")
    parts.append([float(sampling.percent_to_sigma(x)) for x in (0.1, 0.3, 0.5, 0.7, 0.9)])
    return digest(parts)


def digest(value: Any) -> str:
    """Of plain values and tensors, in whatever lists and mappings; of anything else its type."""
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()[:24]


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        found.update(f"tensor {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            found.update(f"key {key!s}".encode())
            _feed(found, value[key])
    elif isinstance(value, (list, tuple)):
        found.update(f"list {len(value)}".encode())
        for item in value:
            _feed(found, item)
    elif value is None or isinstance(value, (str, int, float, bool)):
        found.update(repr(value).encode())
    else:
        found.update(type(value).__qualname__.encode())


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
    except Exception:  # a quantised weight that cannot be cut, one that is not loaded
        return str(weight.dtype)
