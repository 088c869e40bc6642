"""Files of the trainer: its state between pieces, and the finished model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

# so that a state can be carried where single files are limited
PIECE_BYTES = 15 * 2**20
STATE, OLD_STATE = "state", "state.old"
# what the repository ships
EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "small_wan"
CODEC = EXAMPLE / "codec.safetensors"


def save_state(out: Path, numbers: dict, tensors: dict[str, torch.Tensor]) -> None:
    """Replace out/state by these; a run that is ended meanwhile leaves the old one whole."""
    fresh, place, old = out / "state.new", out / STATE, out / OLD_STATE
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    fresh.mkdir(parents=True)
    piece, size, number = {}, 0, 0

    def flush() -> None:
        nonlocal piece, size, number
        if piece:
            save_file(piece, fresh / f"part{number}.safetensors")
            piece, size, number = {}, 0, number + 1

    for name, tensor in tensors.items():
        length = tensor.numel() * tensor.element_size()
        if size + length > PIECE_BYTES:
            flush()
        piece[name] = tensor.detach().cpu().contiguous()
        size += length
    flush()
    (fresh / "state.json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def load_state(out: Path) -> tuple[dict, dict[str, torch.Tensor]] | None:
    """What `save_state` wrote, or None where there is nothing yet."""
    place, old = out / STATE, out / OLD_STATE
    if old.exists() and not place.exists():
        # a process ended between the two renames of `save_state`
        old.rename(place)
    if not (place / "state.json").is_file():
        return None
    numbers = json.loads((place / "state.json").read_text(encoding="utf-8"))
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(place.glob("part*.safetensors")):
        tensors |= load_file(path)
    return numbers, tensors


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
