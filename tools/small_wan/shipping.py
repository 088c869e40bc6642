"""The model as the repository ships it: matrices in scaled fp8, small enough to be cloned.

A matrix `NAME.weight` becomes float8_e4m3fn with a float32 `NAME.scale_weight`, its largest
magnitude over fp8's; everything else keeps bfloat16.  ComfyUI knows such a file by the key
`scaled_fp8`: two elements of e4m3 there say that products are computed in the model's own dtype.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from . import checkpoint

SHIPPED_BYTES = 34 * 2**20
FP8 = torch.float8_e4m3fn
MARK, WEIGHT, SCALE = "scaled_fp8", ".weight", ".scale_weight"


def ship(trained: Path, path: Path) -> None:
    """Write the fp8 file of a trained model; ValueError where it is larger than is shipped."""
    source, record = load_file(trained), checkpoint.load_record(trained)
    if MARK in source:
        raise ValueError(f"{trained} has been shipped already; give the trainer's own file")
    shipping = {
        "matrices": "float8_e4m3fn, one scale each",
        "others": "bfloat16",
        "from_sha256": hashlib.sha256(trained.read_bytes()).hexdigest(),
    }
    record = json.dumps({**record, "shipping": shipping})
    data = save(quantised(source), metadata={"record": record})
    if len(data) > SHIPPED_BYTES:
        raise ValueError(
            f"{trained} makes a file of {len(data):,} bytes; a shipped one has {SHIPPED_BYTES:,} "
            "at most"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def quantised(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as the trainer writes them -> as they are shipped."""
    found = {MARK: torch.zeros(2, dtype=FP8)}
    for name, weight in weights.items():
        if weight.ndim == 2 and name.endswith(WEIGHT):
            largest = weight.float().abs().max().clamp(min=1e-30)  # of zeros alone, no 0 / 0
            scale = largest / torch.finfo(FP8).max
            found[name] = (weight.float() / scale).to(FP8)
            found[name.removesuffix(WEIGHT) + SCALE] = scale
        else:
            found[name] = weight.to(torch.bfloat16)
    return found


def plain(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Shipped weights -> bfloat16 and float32 ones for a WanModel; others stay as they are."""
    if MARK not in weights:
        return weights
    found = {}
    for name, weight in weights.items():
        scale = weights.get(name.removesuffix(WEIGHT) + SCALE)
        if scale is not None and name.endswith(WEIGHT):
            found[name] = weight.float() * scale
        elif name != MARK and not name.endswith(SCALE):
            found[name] = weight
    return found
