"""Asks a transformers model about a video, with or without PSA.

    python examples/inference/transformers_video.py --model Qwen/Qwen2.5-VL-7B-Instruct \
        --video clip.mp4 --prompt "What happens here?" --use_psa --attention_preset balanced
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch


def parser():
    found = argparse.ArgumentParser(description="Asks a transformers model about a video.")
    found.add_argument("--model", required=True, help="a folder, or a name on the Hub")
    found.add_argument("--video", required=True, help="a file that PyAV reads")
    found.add_argument("--prompt", required=True)
    found.add_argument("--use_psa", action="store_true", help="Pyramid Sparse Attention")
    found.add_argument(
        "--attention_preset",
        metavar="NAME",
        help='"name" or "family/name"; by default the family\'s default_attention',
    )
    found.add_argument("--config", metavar="FILE", help="YAML presets; they override shipped ones")
    found.add_argument("--report", type=Path, default=Path("answer.json"), help="%(default)s")
    found.add_argument("--frames", type=int, default=64, help="use at most so many: %(default)s")
    found.add_argument("--max_new_tokens", type=int, default=128, help="%(default)s")
    found.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return found


def main(argv=None):
    args = parser().parse_args(argv)
    if (args.attention_preset or args.config) and not args.use_psa:
        parser().error("--attention_preset and --config need --use_psa")
    transformers = library()
    dtype = getattr(torch, args.dtype)
    processor = transformers.AutoProcessor.from_pretrained(args.model)
    model = transformers.AutoModelForImageTextToText.from_pretrained(args.model, dtype=dtype)
    model.to(args.device)
    applied = with_psa(model, args) if args.use_psa else None
    inputs = prompt(processor, args).to(args.device, dtype)
    count = inputs["input_ids"].shape[1]
    print(f"a prompt of {count} tokens", file=sys.stderr)

    begun = time.monotonic()
    out = model.generate(
        **inputs, max_new_tokens=args.max_new_tokens, do_sample=False,
        streamer=transformers.TextStreamer(processor.tokenizer, skip_prompt=True),
    )  # fmt: skip
    seconds = time.monotonic() - begun

    answer = processor.tokenizer.decode(out[0, count:], skip_special_tokens=True)
    report = {"answer": answer, "tokens": count, "seconds": seconds,
              "psa": applied and applied.report()}  # fmt: skip
    args.report.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if applied:
        print(applied.summary())
    print(f"answered after {seconds:.1f} s; report: {args.report}")


def library():
    try:
        import transformers
    except ModuleNotFoundError:
        sys.exit("transformers is not installed. Fix: pip install .[transformers]")
    return transformers


def with_psa(model, args):
    try:
        from psa_engines.transformers import apply_psa
        from psa_presets import PresetError
    except ModuleNotFoundError:
        sys.exit("PSA is not installed. Fix: pip install . in the folder of ComfyUI-PSA")
    try:
        return apply_psa(
            model, args.attention_preset, presets_file=args.config,
            on_progress=lambda now: print(now["text"], file=sys.stderr, flush=True),
        )  # fmt: skip
    except (PresetError, ValueError, TypeError, OSError) as error:
        parser().error(f"--attention_preset, --config: {error}")


def prompt(processor, args):
    """The model's inputs: evenly spaced frames of the video, and the question."""
    content = [{"type": "video"}, {"type": "text", "text": args.prompt}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    frames, fps = read_clip(args.video, args.frames)
    metadata = {"fps": fps, "total_num_frames": len(frames), "duration": len(frames) / fps,
                "frames_indices": list(range(len(frames)))}  # fmt: skip
    return processor(
        text=[text], videos=[frames], video_metadata=[metadata], do_sample_frames=False,
        return_tensors="pt",
    )  # fmt: skip


def read_clip(path, most):
    """(frames `[F, H, W, 3]`, frames a second) of a video: at most `most`, evenly spaced."""
    try:
        import av
    except ModuleNotFoundError:
        sys.exit("PyAV, which reads the video, is not installed. Fix: pip install av")
    with av.open(path) as file:
        stream = file.streams.video[0]
        fps = float(stream.average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    every = max(1, -(-len(frames) // most))
    return np.stack(frames[::every]), fps / every


if __name__ == "__main__":
    main()
