"""Makes a clip with a diffusers pipeline, with or without PSA.

    python examples/inference/diffusers_video.py --model Wan-AI/Wan2.1-T2V-14B-Diffusers \
        --prompt "A cat walks on the grass" --use_psa --attention_preset balanced
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

PIPELINE_OPTIONS = ("negative_prompt", "height", "width", "num_frames", "num_inference_steps",
                    "guidance_scale")  # fmt: skip


def parser():
    found = argparse.ArgumentParser(description="Makes a clip with a diffusers pipeline.")
    found.add_argument("--model", required=True, help="a folder, or a name on the Hub")
    found.add_argument("--prompt", required=True)
    found.add_argument("--use_psa", action="store_true", help="Pyramid Sparse Attention")
    found.add_argument(
        "--attention_preset",
        metavar="NAME",
        help='"name" or "family/name"; by default the family\'s default_attention',
    )
    found.add_argument("--config", metavar="FILE", help="YAML presets; they override shipped ones")
    found.add_argument("--output", type=Path, default=Path("clip.mp4"), help="%(default)s")
    found.add_argument("--report", type=Path, help="JSON; by default beside the clip")
    found.add_argument("--fps", type=int, default=16, help="of the clip: %(default)s")
    found.add_argument("--seed", type=int, default=0, help="%(default)s")
    found.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    found.add_argument("--offload", action="store_true",
                       help="keep only the model that runs on the GPU")  # fmt: skip
    pipeline = found.add_argument_group("by default the pipeline's own")
    for name in PIPELINE_OPTIONS:
        kind = {"negative_prompt": str, "guidance_scale": float}.get(name, int)
        pipeline.add_argument(f"--{name}", type=kind)
    return found


def main(argv=None):
    args = parser().parse_args(argv)
    if (args.attention_preset or args.config) and not args.use_psa:
        parser().error("--attention_preset and --config need --use_psa")
    pipeline = loaded(args)
    applied = with_psa(pipeline, args) if args.use_psa else None
    options = {name: getattr(args, name) for name in PIPELINE_OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    random = torch.Generator().manual_seed(args.seed)

    begun = time.monotonic()
    frames = pipeline(prompt=args.prompt, generator=random, output_type="np", **options).frames[0]
    seconds = time.monotonic() - begun

    clip = write_clip(args.output, np.asarray(frames), args.fps)
    report = {"clip": str(clip), "seconds": seconds, "psa": applied and applied.report()}
    path = args.report or clip.with_suffix(".json")
    path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if applied:
        print(applied.summary())
    print(f"{clip} after {seconds:.1f} s; report: {path}")


def loaded(args):
    try:
        from diffusers import DiffusionPipeline
    except ModuleNotFoundError:
        sys.exit("diffusers is not installed. Fix: pip install .[diffusers]")
    pipeline = DiffusionPipeline.from_pretrained(args.model, torch_dtype=getattr(torch, args.dtype))
    if args.offload:
        pipeline.enable_model_cpu_offload(device=args.device)
        return pipeline
    return pipeline.to(args.device)


def with_psa(pipeline, args):
    try:
        from psa_engines.diffusers import apply_psa
        from psa_presets import PresetError
    except ModuleNotFoundError:
        sys.exit("PSA is not installed. Fix: pip install . in the folder of ComfyUI-PSA")
    pipeline.set_progress_bar_config(disable=True)  # PSA's lines say more
    try:
        return apply_psa(
            pipeline, args.attention_preset, presets_file=args.config, on_progress=Progress()
        )
    except (PresetError, ValueError, TypeError, OSError) as error:
        parser().error(f"--attention_preset, --config: {error}")


class Progress:
    """Prints a line for each step: what PSA does in it."""

    def __init__(self):
        self.step = None

    def __call__(self, now):
        if now["step"] != self.step:
            self.step = now["step"]
            print(now["text"], file=sys.stderr, flush=True)


def write_clip(path, frames, fps):
    """Writes frames `[F, H, W, 3]`, 0 to 1, as H.264, or as animated WebP without PyAV.

    Returns the path that it wrote.
    """
    frames = (np.nan_to_num(frames).clip(0, 1) * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import av
    except ModuleNotFoundError:
        from PIL import Image

        path = path.with_suffix(".webp")
        print("PyAV is not installed: this is a WebP. Fix: pip install av", file=sys.stderr)
        first, *others = (Image.fromarray(frame) for frame in frames)
        first.save(path, save_all=True, append_images=others, duration=1000 // fps, quality=90)
        return path
    height, width = (size // 2 * 2 for size in frames.shape[1:3])  # H.264 needs even sizes
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = np.ascontiguousarray(frame[:height, :width])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
