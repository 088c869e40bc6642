"""The option --comfyui of programs that run inside ComfyUI."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path


def add_comfyui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), metavar="PATH",
        help="a ComfyUI folder; default: COMFYUI_PATH",
    )  # fmt: skip


def comfyui_of(args: argparse.Namespace, refuse: Callable[[str], object]) -> Path:
    """The folder, absolute; where none was given `refuse`, a parser's `error`, ends the program."""
    if args.comfyui is None:
        refuse("say where ComfyUI is: --comfyui PATH, or COMFYUI_PATH")
    return args.comfyui.absolute()
