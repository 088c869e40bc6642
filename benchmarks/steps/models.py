"""The models and videos that the commands of this folder go through, and the options for them."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..quality import ROOT
from . import wan


@dataclass
class Subject:
    """comfy   the ComfyUI of this process
    model   a `ModelPatcher`
    size    the model's
    family  whose presets are its own
    latent  (frames, height, width)
    """

    comfy: Any
    model: Any
    size: wan.Size
    family: Any
    name: str
    video: str
    latent: tuple[int, int, int]


def add_options(parser: argparse.ArgumentParser, out: str) -> None:
    from psa_pack.tools.comfyui_option import add_comfyui

    add = parser.add_argument
    add_comfyui(parser)
    add("--models", nargs="+", choices=wan.SIZES, default=list(wan.SIZES))
    add("--videos", nargs="+", choices=wan.VIDEOS, default=list(wan.VIDEOS))
    add("--small", action="store_true", help="a rehearsal with a small model; needs no GPU")
    add("--out", type=Path, default=Path(out))


def parsed(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import comfyui_of

    args = parser.parse_args(argv)
    args.comfyui = comfyui_of(args, parser.error)
    if args.small:
        args.models, args.videos = ["small"], ["small"]
    elif not torch.cuda.is_available():
        parser.error("models of this size need a GPU; --small does not")
    return args


def subjects(args: argparse.Namespace, dtype: torch.dtype | None = None) -> Iterator[Subject]:
    """Of each model and video that the options name; models of `dtype`, or of ComfyUI's choice."""
    from psa_pack.presets.store import PresetStore
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    with tempfile.TemporaryDirectory(prefix="psa-steps-") as base:
        comfy = ComfyInProcess(args.comfyui, Path(base))
        for name in args.models:
            size = wan.SMALL if args.small else wan.SIZES[name]
            family = store.get_family(f"Wan2.1_{'1.3b' if args.small else name}")
            model = wan.load(size, wan.device(), dtype)
            for video in args.videos:
                latent = wan.SMALL_VIDEO if args.small else wan.VIDEOS[video]
                yield Subject(comfy, model, size, family, name, video, latent)
            del model
            wan.unload()
