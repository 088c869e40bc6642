"""Trains the small video model.  From the repository's root:

python -m tools.small_wan.pack
python -m tools.small_wan fit-codec --comfyui PATH --codec FILE
python -m tools.small_wan train --comfyui PATH --codec FILE --out DIR --minutes 8 --total-minutes 18
python -m tools.small_wan ship --out DIR
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from ..comfyui_option import add_comfyui, comfyui_of
from . import assets, checkpoint, comfy_model, shipping
from .codec import Codec, fit
from .train import MODEL_FILE, Settings, train


def main() -> int:
    args = _parser().parse_args()
    try:
        args.run(args)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.small_wan")
    commands = parser.add_subparsers(required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text)
        sub.set_defaults(run=run, refuse=sub.error)
        add_comfyui(sub)
        sub.add_argument("--codec", type=Path, default=checkpoint.CODEC)
        sub.add_argument("--assets", type=Path, default=assets.DEFAULT, help="from .pack")
        return sub

    command("fit-codec", _fit_codec, "fit the linear codec and write it")

    sub = command("train", _train, "train a piece, from where the last one ended")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--minutes", type=float, default=8, help="of this piece")
    sub.add_argument("--total-minutes", type=float, default=18, help="of the whole training")
    sub.add_argument("--compile", action="store_true", help="use torch.compile")

    sub = commands.add_parser("ship", help="write the fp8 file that the repository ships")
    sub.set_defaults(run=_ship)
    sub.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    sub.add_argument("--to", type=Path, default=checkpoint.EXAMPLE / MODEL_FILE)
    return parser


def _fit_codec(args) -> None:
    comfyui = comfyui_of(args, args.refuse)
    codec, record = fit(*comfy_model.wan21_latent_statistics(comfyui), assets.load(args.assets))
    codec.save(args.codec, record)
    print(json.dumps(record))


def _train(args) -> None:
    train(
        Settings(),
        Codec.load(args.codec),
        assets.load(args.assets),
        comfyui_of(args, args.refuse),
        args.out,
        minutes=args.minutes,
        total_minutes=args.total_minutes,
        device="cuda" if torch.cuda.is_available() else "cpu",
        compiled=args.compile,
    )


def _ship(args) -> None:
    shipping.ship(args.out / MODEL_FILE, args.to)
    print(args.to)


if __name__ == "__main__":
    sys.exit(main())
