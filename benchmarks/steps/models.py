"""The models and videos that the commands of this folder go through, and the options for them."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import report
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


def parser_of(command: str, doc: str, out: str) -> argparse.ArgumentParser:
    from psa_pack.tools.comfyui_option import add_comfyui

    parser = argparse.ArgumentParser(
        prog=f"python -m {command}", description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add_comfyui(parser)
    add("--models", nargs="+", choices=wan.SIZES, default=list(wan.SIZES))
    add("--videos", nargs="+", choices=wan.VIDEOS, default=list(wan.VIDEOS))
    add("--small", action="store_true", help="a rehearsal with a small model; needs no GPU")
    add("--out", type=Path, default=Path(out))
    return parser


def parsed(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import comfyui_of

    args = parser.parse_args(argv)
    args.comfyui = comfyui_of(args, parser.error)
    if args.small:
        args.models, args.videos = ["small"], ["small"]
    elif not torch.cuda.is_available():
        parser.error("models of this size need a GPU; --small does not")
    return args


def family_of(model: str) -> Any:
    """The family of the shipped presets for a model, "14b" or "1.3b"."""
    from psa_pack.presets.store import PresetStore

    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    return store.get_family(f"Wan2.1_{model}")


def measured(
    args: argparse.Namespace, argv: list[str], file: str, measure: Callable[[Subject], dict],
    table: Callable[[dict], str], dtype: torch.dtype | None = None,
) -> list[dict]:  # fmt: skip
    """What `measure` finds of each subject; written to `file` and printed as it comes."""
    results: dict[str, Any] = {"runs": []}
    for subject in subjects(args, dtype):
        if not results["runs"]:
            from comfyui_version import __version__  # of the ComfyUI that is loaded now

            results["environment"] = report.environment(argv) | {"comfyui": __version__}
        about = {
            "model": subject.name, "video": subject.video, "tokens": wan.tokens(subject.latent),
            "steps": args.steps,
        }  # fmt: skip
        results["runs"].append(about | measure(subject))
        print(f"wrote {report.write(args.out / file, results)}", flush=True)
        print(table(results["runs"][-1]), flush=True)
    return results["runs"]


def subjects(args: argparse.Namespace, dtype: torch.dtype | None = None) -> Iterator[Subject]:
    """Of each model and video that the options name; models of `dtype`, or of ComfyUI's choice."""
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    with tempfile.TemporaryDirectory(prefix="psa-steps-") as base:
        comfy = ComfyInProcess(args.comfyui, Path(base))
        for name in args.models:
            size = wan.SMALL if args.small else wan.SIZES[name]
            family = family_of("1.3b" if args.small else name)
            model = wan.load(size, wan.device(), dtype)
            for video in args.videos:
                latent = wan.SMALL_VIDEO if args.small else wan.VIDEOS[video]
                yield Subject(comfy, model, size, family, name, video, latent)
            del model
            wan.unload()
