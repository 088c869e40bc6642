"""Trains the small video model and looks at it.  From the repository's root:

python -m tools.tiny_wan fit-codec --comfyui PATH
python -m tools.tiny_wan conditions
python -m tools.tiny_wan train --comfyui PATH --out DIR --minutes 8 --total-minutes 19
python -m tools.tiny_wan evaluate --comfyui PATH --out DIR
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..comfyui_option import add_comfyui, comfyui_of
from . import checkpoint, comfy_model, conditions, evaluate, pictures, pool, sample
from .codec import FRAMES, Codec, fit, frames_of
from .train import MODEL_FILE, Settings, Trainer, train, training_record

CODEC = checkpoint.EXAMPLE / "codec.safetensors"
PROMPTS = (
    "camera left, plaid green background, red striped disc drifting, blue plain star spinning",
    "camera still, plain blue background, yellow plain cross spinning",
    "camera right, blotchy cyan background, orange checked square circling",
    "camera up, wavy purple background, white dotted ring pulsing, green plain triangle drifting",
    "camera down, blotchy orange background, cyan striped star drifting, pink plain disc circling",
    "camera still, wavy red background, white plain square drifting, blue dotted star spinning",
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
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_wan")
    commands = parser.add_subparsers(required=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text)
        sub.set_defaults(run=run, refuse=sub.error)
        add_comfyui(sub)
        sub.add_argument("--codec", type=Path, default=CODEC)
        sub.add_argument("--device", default=device)
        return sub

    command("fit-codec", _fit_codec, "fit the linear codec and write it").add_argument(
        "--strip", type=Path, help="also a picture of clips before and after the codec"
    )

    command("conditions", _conditions, "write the example prompts as tensors")

    sub = command("train", _train, "train a piece, from where the last one ended")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--minutes", type=float, default=8, help="of this piece")
    sub.add_argument("--total-minutes", type=float, default=19, help="of the whole training")
    sub.add_argument("--max-steps", type=int, help="end the whole training there at the latest")
    sub.add_argument("--compile", action="store_true", help="use torch.compile")
    _settings_arguments(sub)

    sub = command("export", _export, "write the model of an unfinished training")
    sub.add_argument("--out", type=Path, required=True)

    for name, run, text in (
        ("sample", _sample, "sample clips from a model"),
        ("evaluate", _evaluate, "loss, attention structure and samples of a model"),
    ):
        sub = command(name, run, text)
        sub.add_argument("--out", type=Path, required=True, help="folder to write to")
        sub.add_argument("--model", type=Path, help=f"default: OUT/{MODEL_FILE}")
        sub.add_argument("--prompt", action="append", help="may be repeated")
        sub.add_argument("--seed", type=int, action="append", help="may be repeated")
        sub.add_argument("--size", default="8x16x24", help="frames x rows x columns in tokens")
        sub.add_argument("--steps", type=int, default=20)
        sub.add_argument("--cfg", type=float, default=4.0)
        if name == "evaluate":
            sub.add_argument("--structure-size", default="8x32x32")
            sub.add_argument("--clips", type=int, default=8, help="for the loss")
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
    codec, record = fit(*comfy_model.wan21_latent_statistics(_comfyui(args)))
    codec.save(args.codec, record)
    print(json.dumps(record))
    if args.strip:
        drawn = pool.draw(3, 4, (4, 12, 16))
        pixels = pool.clips.render(drawn, lead=FRAMES - 1)
        rows = {}
        for index, back in enumerate(codec.decode(codec.encode(pixels))):
            rows[drawn.prompts()[index]] = pixels[index, :, FRAMES - 1 :]
            rows[f"{index}: through the codec"] = back
        pictures.write_strips(rows, args.strip)


def _conditions(args) -> None:
    """One tensor a prompt, by its text; the empty one under "(empty)"."""
    tensors = {prompt or "(empty)": conditions.context(prompt)[0] for prompt in (*PROMPTS, "")}
    half = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    path = args.codec.with_name("conditions.safetensors")
    save_file(half, path)
    path.chmod(0o644)


def _train(args) -> None:
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    train(
        settings,
        Codec.load(args.codec),
        _comfyui(args),
        args.out,
        minutes=args.minutes,
        total_minutes=args.total_minutes,
        max_steps=args.max_steps,
        device=args.device,
        compiled=args.compile,
    )


def _export(args) -> None:
    state = checkpoint.load_state(args.out)
    if state is None:
        raise FileNotFoundError(f"no training state in {args.out}")
    settings = Settings(**state[0]["settings"])
    codec = Codec.load(args.codec)
    trainer = Trainer(settings, codec, _comfyui(args), device=args.device, compiled=False)
    trainer.load(*state)
    record = training_record(trainer, _comfyui(args), args.out)
    checkpoint.save_model(args.out / MODEL_FILE, trainer.average, record)
    print(args.out / MODEL_FILE)


def _sample(args) -> None:
    model = sample.load_model(
        args.model or args.out / MODEL_FILE, _comfyui(args), device=args.device
    )
    _write_samples(args, model)


def _write_samples(args, model) -> None:
    """Every prompt with every seed, under a true clip of that prompt."""
    codec, size = Codec.load(args.codec), _size(args.size)
    prompts, seeds = args.prompt or list(PROMPTS), args.seed or [1, 2]
    true = pool.latents_of(pool.draw(5, len(prompts), size, prompts), codec)
    rows, grid = {}, []
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
        rows[f"{prompt} (a true clip, through the codec)"] = codec.decode(true[index, None])[0]
        grid.append(rows[f"{prompt} (a true clip, through the codec)"])
        for seed, clip in zip(seeds, codec.decode(made.cpu()), strict=True):
            rows[f"{index}: seed {seed}"] = clip
            grid.append(clip)
        print(f"{prompt}: {time.monotonic() - started:.1f} s", flush=True)
    name = f"samples_{args.size}_{args.steps}steps_cfg{args.cfg:g}"
    pictures.write_strips(rows, args.out / f"{name}.png")
    pictures.write_animation(grid, args.out / f"{name}.webp", columns=len(seeds) + 1)
    print(args.out / f"{name}.png")


def _evaluate(args) -> None:
    path = args.model or args.out / MODEL_FILE
    model = sample.load_model(path, _comfyui(args), device=args.device)
    codec, size = Codec.load(args.codec), _size(args.size)
    losses = evaluate.loss_by_sigma(
        model, *evaluate.validation_clips(codec, size, args.clips, args.device)
    )
    structure = _structure(args, model, codec)
    report = {
        "model": path.name,
        "record": checkpoint.load_record(path),
        "size": args.size,
        "frames": frames_of(size[0]),
        "loss_by_sigma": losses,
        "mean_loss": sum(losses.values()) / len(losses),
        "structure": structure,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    print("loss by sigma:", {sigma: round(loss, 4) for sigma, loss in losses.items()})
    print(f"mean loss: {report['mean_loss']:.4f}")
    print(f"share of 128 x 128 blocks with 90% of the softmax mass, {args.structure_size}:")
    for order, rows in structure["by_order"].items():
        for sigma, shares in rows.items():
            text = " ".join(f"{share:.1%}" for share in shares)
            print(f"  {order}, sigma {sigma}: mean {sum(shares) / len(shares):.1%}; layers {text}")
        flat = [share for shares in rows.values() for share in shares]
        print(f"  {order}: mean over layers and sigmas {sum(flat) / len(flat):.1%}")
    _write_samples(args, model)


def _structure(args, model, codec: Codec) -> dict:
    from psa_kernels.reference.gilbert import gilbert_order

    size = _size(args.structure_size)
    latents, words = evaluate.validation_clips(codec, size, 1, args.device)
    orders = {
        "model's order": None,
        "Gilbert order": torch.tensor(gilbert_order(size), device=args.device),
    }
    return {
        "size": args.structure_size,
        "block": evaluate.BLOCK,
        "mass": evaluate.MASS,
        "by_order": {
            name: {
                sigma: evaluate.attention_structure(model, latents, words, size, sigma, order)
                for sigma in (0.98, 0.9, 0.7, 0.4)
            }
            for name, order in orders.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
