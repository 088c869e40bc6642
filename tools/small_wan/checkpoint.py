"""Files of the trainer: its state between pieces, and the finished model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

STATE = "state.pt"
# what the repository ships
EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "small_wan"
CODEC = EXAMPLE / "codec.safetensors"


def save_state(out: Path, state: dict) -> None:
    """Replace out/state.pt; a run that is ended meanwhile leaves the old one whole."""
    fresh = out / f"{STATE}.new"
    torch.save(state, fresh)
    fresh.replace(out / STATE)


def load_state(out: Path, device: torch.device) -> dict | None:
    """What `save_state` wrote, None where there is nothing yet."""
    file = out / STATE
    return torch.load(file, map_location=device) if file.is_file() else None


def save_model(path: Path, weights: dict[str, torch.Tensor], record: dict) -> None:
    """The model as ComfyUI loads it, in bfloat16, its training record in the metadata."""
    save(path, {name: w.detach().to("cpu", torch.bfloat16) for name, w in weights.items()}, record)


def save(path: Path, tensors: dict[str, torch.Tensor], record: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, path, metadata={"record": json.dumps(record)})
    path.chmod(0o644)


def load_record(path: Path) -> dict:
    """The training record of a model or a codec."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["record"])
