"""Trains the small video model and samples from it.  From the repository's root:

python -m tools.small_wan.pack
python -m tools.small_wan fit-codec --comfyui PATH --codec FILE
python -m tools.small_wan train --comfyui PATH --codec FILE --out DIR --minutes 8 --total-minutes 18
python -m tools.small_wan sample --comfyui PATH --codec FILE --out DIR
python -m tools.small_wan ship --out DIR
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import fields
from pathlib import Path

import torch

from ..comfyui_option import add_comfyui, comfyui_of
from . import assets as packed
from . import checkpoint, comfy_model, pictures, pool, render, sample, shipping
from .codec import FRAMES, Codec, fit
from .train import MODEL_FILE, Settings, train

PROMPTS = (
    "camera still, hills, tiger resting, rocket drifting up",
    "camera panning left, grass field, elephant drifting right, cactus resting",
    "camera orbiting right, brick room wood floor, guitar resting, pumpkin bouncing",
    "camera zooming in, mountains, sailboat drifting left, sunflower spinning",
    "camera panning right, sand field, car drifting left, umbrella resting, crab bouncing",
    "camera still, kitchen, teddy pulsing, banana circling",
    "camera orbiting left, tiles room carpet floor, robot resting, football bouncing",
    "camera zooming out, gravel field, castle resting, dancer drifting right",
)


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
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text)
        sub.set_defaults(run=run, refuse=sub.error)
        add_comfyui(sub)
        sub.add_argument("--codec", type=Path, default=checkpoint.CODEC)
        sub.add_argument("--assets", type=Path, default=packed.DEFAULT, help="from .pack")
        sub.add_argument("--device", default=device)
        return sub

    command("fit-codec", _fit_codec, "fit the linear codec and write it").add_argument(
        "--clips", type=Path, help="also an animation of clips before and after the codec"
    )

    sub = command("train", _train, "train a piece, from where the last one ended")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--minutes", type=float, default=8, help="of this piece")
    sub.add_argument("--total-minutes", type=float, default=18, help="of the whole training")
    sub.add_argument("--max-steps", type=int, help="end the whole training there at the latest")
    sub.add_argument("--compile", action="store_true", help="use torch.compile")
    _settings_arguments(sub)

    sub = command("sample", _sample, "sample clips from a model")
    sub.add_argument("--out", type=Path, required=True, help="folder to write to")
    sub.add_argument("--model", type=Path, help=f"default: OUT/{MODEL_FILE}")
    sub.add_argument("--prompt", action="append", help="may be repeated")
    sub.add_argument("--seed", type=int, action="append", help="may be repeated")
    sub.add_argument("--size", default="8x32x32", help="frames x rows x columns in tokens")
    sub.add_argument("--steps", type=int, default=20)
    sub.add_argument("--cfg", type=float, default=4.0)

    sub = commands.add_parser("ship", help="write the fp8 file that the repository ships")
    sub.set_defaults(run=_ship)
    sub.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    sub.add_argument("--to", type=Path, default=checkpoint.EXAMPLE / MODEL_FILE)
    return parser


def _settings_arguments(sub: argparse.ArgumentParser) -> None:
    for field in fields(Settings):
        kind = type(field.default)
        flag = "--" + field.name.replace("_", "-")
        sub.add_argument(flag, type=kind, default=field.default)


def _comfyui(args) -> Path:
    return comfyui_of(args, args.refuse)


def _size(text: str) -> tuple[int, int, int]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"size is {text!r}; give frames x rows x columns in tokens, as 8x16x24")
    return tuple(int(part) for part in parts)


def _fit_codec(args) -> None:
    assets = packed.load(args.assets)
    codec, record = fit(*comfy_model.wan21_latent_statistics(_comfyui(args)), assets)
    codec.save(args.codec, record)
    print(json.dumps(record))
    if args.clips:
        drawn = pool.draw(3, 4, (4, 32, 32), assets)
        pixels = render.render(drawn, assets, lead=FRAMES - 1).float()
        back = codec.decode(codec.encode(pixels))
        pairs = zip(pixels[:, :, FRAMES - 1 :], back, strict=True)
        clips = [clip for pair in pairs for clip in pair]
        pictures.write_animation(clips, args.clips, columns=2)


def _train(args) -> None:
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    train(
        settings,
        Codec.load(args.codec),
        packed.load(args.assets),
        _comfyui(args),
        args.out,
        minutes=args.minutes,
        total_minutes=args.total_minutes,
        max_steps=args.max_steps,
        device=args.device,
        compiled=args.compile,
    )


def _sample(args) -> None:
    """A row for every prompt: a true clip through the codec, then one for every seed."""
    model = sample.load_model(
        args.model or args.out / MODEL_FILE, _comfyui(args), device=args.device
    )
    codec, size, assets = Codec.load(args.codec), _size(args.size), packed.load(args.assets)
    prompts, seeds = args.prompt or list(PROMPTS), args.seed or [1, 2]
    true = pool.latents_of(pool.draw(5, len(prompts), size, assets, prompts), assets, codec)
    grid = []
    for index, prompt in enumerate(prompts):
        started = time.monotonic()
        made = sample.euler(
            model,
            [prompt] * len(seeds),
            seeds,
            size,
            steps=args.steps,
            cfg=args.cfg,
            device=args.device,
        )
        grid += [*codec.decode(true[index, None]), *codec.decode(made.cpu())]
        print(f"{prompt}: {time.monotonic() - started:.1f} s", flush=True)
    file = args.out / f"samples_{args.size}_{args.steps}steps_cfg{args.cfg:g}.webp"
    pictures.write_animation(grid, file, columns=len(seeds) + 1)
    print(file)


def _ship(args) -> None:
    shipping.ship(args.out / MODEL_FILE, args.to)
    print(args.to)


if __name__ == "__main__":
    sys.exit(main())
