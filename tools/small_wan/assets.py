"""The pictures that scenes are made of, and the two atlases that the renderer reads them from.

A packed file is a safetensors file with one uint8 tensor, WebP pictures one after the other, and
in its metadata each one's name, width, height and number of bytes.
"""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional

from .conditions import CUTOUTS, PHOTOGRAPHS, SHAPES, TEXTURES

DEFAULT = Path(__file__).resolve().parents[2] / ".dev" / "small_wan_assets.safetensors"
SKY = "sky"  # what stands behind every field
# in the order of the atlases' cells
FLAT_NAMES = (*PHOTOGRAPHS, *TEXTURES, SKY)
CUTOUT_NAMES = (*CUTOUTS, *SHAPES)
FLAT_CELL, CUTOUT_CELL = 512, 128
COLUMNS = 8


@dataclass(frozen=True)
class Atlas:
    """Pictures of one size in one image, each with its halvings beside it (a mip pyramid).

    pixels: [1, C, rows * size, COLUMNS * size * 1.5] in 0..1; colours times alpha where C is 4.
    """

    pixels: torch.Tensor
    size: int
    levels: int

    def to(self, device: torch.device | str) -> "Atlas":
        return Atlas(self.pixels.to(device), self.size, self.levels)


def atlas(pictures: torch.Tensor) -> Atlas:
    """Pictures [N, C, S, S] in 0..1, S a power of two from 16, as an atlas."""
    count, channels, size, width = pictures.shape
    levels = size.bit_length() - 3  # the smallest is 8 x 8
    if size != width or size != 1 << (size.bit_length() - 1) or levels < 2:
        raise ValueError(
            f"pictures are {size} x {width}; both sides must be one power of two >= 16"
        )
    rows = -(-count // COLUMNS)
    cells = pictures.new_zeros(rows * COLUMNS, channels, size, size * 3 // 2)
    cells[:count, :, :, :size] = pictures
    for level in range(1, levels):
        pictures = functional.avg_pool2d(pictures, 2)
        top, side = size - (size >> (level - 1)), size >> level
        cells[:count, :, top : top + side, size : size + side] = pictures
    image = cells.reshape(rows, COLUMNS, channels, size, -1).permute(2, 0, 3, 1, 4)
    return Atlas(image.reshape(1, channels, rows * size, -1).contiguous(), size, levels)


@dataclass(frozen=True)
class Assets:
    """All pictures: `flat` has FLAT_NAMES (RGB), `cutouts` has CUTOUT_NAMES (RGBA).

    aspect: [len(FLAT_NAMES)] width / height of the original pictures, on the CPU.
    foot: [len(CUTOUT_NAMES)] where a cut-out's lowest row lies in its cell, -1 top to 1 bottom.
    """

    flat: Atlas
    cutouts: Atlas
    aspect: torch.Tensor
    foot: torch.Tensor

    def to(self, device: torch.device | str) -> "Assets":
        """The atlases there; what scenes are drawn from stays on the CPU."""
        return replace(self, flat=self.flat.to(device), cutouts=self.cutouts.to(device))


def assemble(flat: torch.Tensor, cutouts: torch.Tensor, aspect: torch.Tensor) -> Assets:
    """From [len(FLAT_NAMES), 3, S, S] and [len(CUTOUT_NAMES), 4, T, T] in 0..1, straight alpha."""
    if len(flat) != len(FLAT_NAMES) or len(cutouts) != len(CUTOUT_NAMES):
        raise ValueError(
            f"{len(flat)} flat pictures and {len(cutouts)} cut-outs; "
            f"there must be {len(FLAT_NAMES)} and {len(CUTOUT_NAMES)}"
        )
    rows = (cutouts[:, 3].amax(dim=2) > 0.5).float() * torch.linspace(0, 1, cutouts.shape[2])
    foot = 2 * rows.amax(dim=1) - 1
    cutouts = torch.cat([cutouts[:, :3] * cutouts[:, 3:], cutouts[:, 3:]], dim=1)
    return Assets(atlas(flat), atlas(cutouts), aspect.float().cpu(), foot.cpu())


def load(path: str | Path = DEFAULT) -> Assets:
    """The pictures of a packed file, on the CPU.  Raises FileNotFoundError or ValueError."""
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Fix: python -m tools.small_wan.pack --out {path}"
        )
    with safe_open(path, framework="pt") as file:
        entries = json.loads(file.metadata()["entries"])
        data = file.get_tensor("pictures").numpy().tobytes()
    found, start = {}, 0
    for entry in entries:
        found[entry["name"]] = (entry, data[start : start + entry["bytes"]])
        start += entry["bytes"]
    missing = [name for name in (*FLAT_NAMES, *CUTOUT_NAMES) if name not in found]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}. Fix: python -m tools.small_wan.pack --out {path}"
        )

    def decode(names: tuple[str, ...], mode: str, size: int) -> torch.Tensor:
        return torch.stack([_picture(found[name][1], mode, size) for name in names])

    aspect = torch.tensor(
        [found[name][0]["width"] / found[name][0]["height"] for name in FLAT_NAMES]
    )
    return assemble(
        decode(FLAT_NAMES, "RGB", FLAT_CELL), decode(CUTOUT_NAMES, "RGBA", CUTOUT_CELL), aspect
    )


def _picture(data: bytes, mode: str, size: int) -> torch.Tensor:
    """[C, size, size] in 0..1."""
    from PIL import Image

    picture = Image.open(io.BytesIO(data)).convert(mode)
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.reshape(size, size, len(mode)).permute(2, 0, 1).float() / 255
