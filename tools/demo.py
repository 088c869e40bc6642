"""Samples the shipped workflow in a real ComfyUI twice, dense and with PSA, and shows both.

The model is the small trained one of examples/small_wan.

Started by `python3 dev.py demo`, which does the set-up.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from . import demo_pictures, demo_report
from .comfy_client import ComfyClient, Run
from .comfy_server import ComfyServer, ServerError
from .small_wan.checkpoint import CODEC, EXAMPLE, load_record
from .small_wan.codec import Codec

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "example_workflows" / "demo" / "psa_demo_api.json"
RUN_FINISHED = "psa.run_finished"
MODEL = "small_wan.safetensors"
PACKS = {"ComfyUI-PSA": ROOT, "psa_small_wan": ROOT / "tools" / "small_wan"}


class DemoError(Exception):
    """Shown to the user without a traceback."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py demo")
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    # a polite end still runs the `with` blocks that stop the server
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        demo(args.comfyui, args.out)
    except (DemoError, ServerError) as error:
        print(f"\n[demo] error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n[demo] interrupted", file=sys.stderr)
        return 130
    return 0


def demo(comfyui: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    check_example(EXAMPLE)
    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    say("starting ComfyUI (its log: " + str(out / "comfyui.log") + ") ...")
    start = time.monotonic()
    with ComfyServer(comfyui, PACKS, log_file=out / "comfyui.log", on_wait=_Ticker()) as server:
        start_seconds = time.monotonic() - start
        say(f"ComfyUI is up after {start_seconds:.0f} s")
        report = compare(server, graph, start_seconds, out)
    print(f"\n{demo_report.table(report)}\n")
    if report["psa"]["implementation"] == "reference":
        say("no GPU here: the plain torch reference ran, which shows what PSA does, not its speed")
    for name in ("side_by_side.webp", "frames.png", "report.json"):
        say(f"wrote {out / name}")


def compare(server: ComfyServer, graph: dict, start_seconds: float, out: Path) -> dict:
    """Run the graph without and with PSA on a server; write pictures and report.json to out."""
    install(server.base, graph, EXAMPLE)
    client = ComfyClient(server.url)
    check_nodes(client, graph, server.log_file)
    sampler, _ = node_of(graph, "KSampler")
    runs = {
        "dense": sample(client, without_psa(graph), "dense attention"),
        "psa": sample(client, graph, "Apply PSA"),
    }
    latents = {name: saved_latent(server, run) for name, run in runs.items()}
    codec = Codec.load(CODEC)
    frames = {name: frames_of(codec, latent) for name, latent in latents.items()}
    report = demo_report.build(
        dense=frames["dense"],
        sparse=frames["psa"],
        model=load_record(EXAMPLE / MODEL),
        psa=psa_report(runs["psa"]),
        seconds={name: run.node_seconds(sampler) for name, run in runs.items()},
        start_seconds=start_seconds,
        system=client.get("/system_stats"),
        graph=graph,
    )
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    panels = demo_pictures.panels(frames["dense"], frames["psa"])
    demo_pictures.write_animation(panels, out / "side_by_side.webp")
    demo_pictures.write_strip(panels, out / "frames.png")
    return report


def check_example(folder: Path) -> None:
    missing = [str(folder / name) for name in (MODEL, CODEC.name) if not (folder / name).is_file()]
    if missing:
        raise DemoError(
            f"the demo's model is not there: {', '.join(missing)}\n"
            "  A checkout of the repository has it. To train it again (one GPU, 20 minutes), see\n"
            "  python -m tools.small_wan --help"
        )


def install(base: Path, graph: dict, example: Path) -> None:
    """Put model and codec where the graph's nodes look for them."""
    check_example(example)
    model = node_of(graph, "UNETLoader")[1]["inputs"]["unet_name"]
    codec = node_of(graph, "PSASmallWanDecode")[1]["inputs"]["codec"]
    for source, folder, name in ((MODEL, "diffusion_models", model), (CODEC.name, "vae", codec)):
        target = base / "models" / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(example / source, target)


def frames_of(codec: Codec, latent) -> torch.Tensor:
    """[F, 3, H, W] in 0..1 of a latent as ComfyUI saved it."""
    return codec.decode(codec.from_comfy(latent.float()))[0].movedim(1, 0)


def say(text: str) -> None:
    print(f"[demo] {text}", flush=True)


class _Ticker:
    """A sign of life every few seconds."""

    def __init__(self, every: float = 5.0):
        self.every = self.next = every

    def __call__(self, seconds: float) -> None:
        if seconds >= self.next:
            say(f"  {seconds:.0f} s ...")
            self.next += self.every


def node_of(graph: dict, class_type: str) -> tuple[str, dict]:
    return next((i, node) for i, node in graph.items() if node["class_type"] == class_type)


def without_psa(graph: dict) -> dict:
    """The graph as it was before anybody put Apply PSA into it."""
    apply_id, apply = node_of(graph, "PSAApply")
    loader_id, _ = node_of(graph, "PSAPresetLoader")
    source = apply["inputs"]["model"]

    def rewired(value):
        return source if value == [apply_id, 0] else value

    return {
        i: {**node, "inputs": {name: rewired(v) for name, v in node["inputs"].items()}}
        for i, node in graph.items()
        if i not in (apply_id, loader_id)
    }


def check_nodes(client: ComfyClient, graph: dict, log_file: Path) -> None:
    known = client.get("/object_info")
    missing = sorted({node["class_type"] for node in graph.values()} - set(known))
    if missing:
        raise DemoError(
            f"ComfyUI started without these nodes: {', '.join(missing)}\n"
            f"  Why one failed to load stands in {log_file}"
        )


def sample(client: ComfyClient, graph: dict, label: str) -> Run:
    say(f"sampling with {label} ...")
    run = client.run(graph, on_message=_show_steps)
    if not run.succeeded:
        error = run.error or {}
        raise DemoError(
            f"sampling with {label} ended with {run.outcome}: "
            f"{error.get('node_type', '')} {error.get('exception_message', '')}"
        )
    return run


def _show_steps(run: Run, message: dict) -> None:
    if message["type"] != "progress":
        return
    value, last = message["data"]["value"], message["data"]["max"]
    text = f"[demo]   step {value}" if value == 1 else f" {value}"
    print(text, end=f" of {last}\n" if value == last else "", flush=True)


def saved_latent(server: ComfyServer, run: Run):
    (saved,) = next(out["latents"] for out in run.outputs.values() if "latents" in out)
    path = server.base / "output" / saved["subfolder"] / saved["filename"]
    return load_file(path)["latent_tensor"]


def psa_report(run: Run) -> dict:
    events = run.events(RUN_FINISHED)
    if len(events) != 1:
        raise DemoError(f"expected one {RUN_FINISHED} event from Apply PSA, got {len(events)}")
    return events[0]["report"]


if __name__ == "__main__":
    sys.exit(main())
