"""examples/inference: each script as a process, on a tiny model that it saves first."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

RUNNER = Path(__file__).with_name("run_scripts.py")

# A preset as the guide to PSA's configuration file adds it by hand to a family.
BY_HAND = """
CogVideo_5b:
  attention_configs:
    # ... existing presets ...

    my_custom_preset:
      type: psa
      description: "My custom PSA configuration"
      use_rearrange: true
      use_sim_mask: false
      block_size:
        m: 128
        n: 64
        tile_n: 32
      mask_ratios:
        1: [0.0, 0.5]
        2: [0.5, 0.7]
        4: [0.7, 0.9]
        0: [0.9, 1.0]
      mask_mode: thresholdbound
      attn_impl: new_mask_type
      tile_size: [2, 8, 8]
      warmup_steps: 10
      rearrange_method: Gilbert
      verbose: false
      sim_thresholds:
        x2: 0.7
        x4: 0.65
        x8: 0.6
"""

# The whole file: a model's section with its header and all its presets.
WHOLE = """
CogVideo_5b:
  default_attention: topk_preset     # Default preset to use
  video_scale:                       # Video dimension divisors (model-specific)
    width_divisor: 16
    height_divisor: 16
    depth_divisor: 4
  text_length: 226                   # Text token length (0 for text-free models)
  attention_configs:
    baseline:
      type: dense
      description: "full attention baseline"
    topk_preset:
      type: psa
      description: "..."
      use_rearrange: true
      use_sim_mask: false
      block_size:
        m: 128
        n: 64
        tile_n: 32
      mask_ratios:
        1: [0.0, 0.1]
        2: [0.1, 0.15]
        4: [0.15, 0.15]
        8: [0.15, 0.35]
        0: [0.35, 1.0]
      mask_mode: topk
      attn_impl: new_mask_type
      tile_size: [2, 8, 8]
      warmup_steps: 1
      rearrange_method: Gilbert
      verbose: false
      sim_thresholds:
        x2: 0.7
        x4: 0.65
        x8: 0.6
""" + BY_HAND.partition("preset")[2].partition("\n")[2]  # fmt: skip


def runs_of(engine, commands, folder):
    pytest.importorskip("av", reason="PyAV is not installed, which writes and reads clips")
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed: pip install .[{engine}]")
    (folder / "commands.json").write_text(json.dumps(commands))
    ended = subprocess.run(
        [sys.executable, str(RUNNER), engine, str(folder)], capture_output=True, text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return Runs(folder, json.loads((folder / "outcomes.json").read_text()))


@dataclasses.dataclass
class Runs:
    """One engine's script: the folder it wrote to, and the code, out and err of each run."""

    folder: Path
    outcomes: dict

    def __getitem__(self, name):
        return self.outcomes[name]

    def report(self, name):
        assert self[name]["code"] == 0, self[name]["err"]
        return json.loads((self.folder / f"{name}.json").read_text())

    def psa(self, name):
        found = self.report(name)["psa"]
        assert found["failure"] is None and found["note"] is None
        return found


def frames_of(clip):
    import av

    with av.open(str(clip)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


# --- diffusers


def diffusers_command(name, steps, *more):
    return [
        "--model", "{model}", "--prompt", "a cat", "--height", "128", "--width", "192",
        "--num_frames", "9", "--guidance_scale", "1", "--num_inference_steps", str(steps),
        "--dtype", "float32", "--device", "cpu", "--output", "{folder}/" + f"{name}.mp4",
        *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def diffusers_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusers")
    (folder / "by_hand.yaml").write_text(BY_HAND)
    (folder / "whole.yaml").write_text(WHOLE)
    psa = ("--use_psa",)
    commands = {
        "dense": diffusers_command("dense", 2),
        "off": diffusers_command("off", 2, *psa, "--attention_preset", "baseline"),
        "default": diffusers_command("default", 4, *psa),
        "by_hand": diffusers_command(
            "by_hand", 11, *psa, "--attention_preset", "my_custom_preset",
            "--config", "{folder}/by_hand.yaml",
        ),
        "whole": diffusers_command("whole", 2, *psa, "--config", "{folder}/whole.yaml"),
        "offloaded": diffusers_command("offloaded", 4, *psa, "--offload"),
        "without PyAV": diffusers_command("webp", 1),
        "without the engine": diffusers_command("none", 1),
        "unknown": diffusers_command("unknown", 1, *psa, "--attention_preset", "balancd"),
        "no use_psa": diffusers_command("none", 1, "--attention_preset", "fast"),
    }  # fmt: skip
    return runs_of("diffusers", commands, folder)


def test_a_clip_is_made_and_off_is_the_same(diffusers_runs):
    runs = diffusers_runs
    assert runs.report("dense")["psa"] is None
    frames = frames_of(runs.folder / "dense.mp4")
    assert frames.shape == (9, 128, 192, 3)
    assert runs.psa("off")["calls"]["sparse"] == 0
    # x264 gives other bits for the same frames; the pipeline's own: test_diffusers.py
    assert np.abs(frames_of(runs.folder / "off.mp4").astype(int) - frames).mean() < 5


def test_without_a_name_the_familys_default_runs_and_tells_its_steps(diffusers_runs):
    psa = diffusers_runs.psa("default")
    assert psa["preset"] == "CogVideo_5b/balanced" and psa["calls"]["sparse"] == 3 * 42
    # at most four lines a second: a fast machine says less than each step
    said = diffusers_runs["default"]["err"]
    assert "step 1/4, dense (warm-up)" in said and re.search("step [234]/4, sparse", said)
    assert "CogVideo_5b/balanced: 126 attention calls sparse" in diffusers_runs["default"]["out"]


def test_offloading_gives_the_same_run(diffusers_runs):
    if importlib.util.find_spec("accelerate") is None:
        pytest.skip("accelerate is not installed")
    whole, parts = diffusers_runs.psa("default"), diffusers_runs.psa("offloaded")
    assert parts["calls"] == whole["calls"] and parts["density"] == whole["density"]


def test_the_guides_preset_added_by_hand_runs_by_its_name(diffusers_runs):
    psa = diffusers_runs.psa("by_hand")
    assert psa["preset"] == "CogVideo_5b/my_custom_preset"
    assert psa["plan_text"] == "11 steps: 1-10 dense (warm-up), 11 sparse"
    assert psa["calls"] == {"sparse": 42, "dense": {"warm-up": 10 * 42}}


def test_the_guides_whole_file_runs_with_its_default(diffusers_runs):
    psa = diffusers_runs.psa("whole")
    assert psa["preset"] == "CogVideo_5b/topk_preset"
    assert psa["calls"] == {"sparse": 42, "dense": {"warm-up": 42}}
    assert psa["density"] < 1


def test_without_pyav_it_is_an_animated_webp(diffusers_runs):
    from PIL import Image

    ended = diffusers_runs["without PyAV"]
    assert ended["code"] == 0 and "pip install av" in ended["err"]
    with Image.open(diffusers_runs.folder / "webp.webp") as clip:
        assert clip.n_frames == 9 and clip.size == (192, 128)


def test_what_is_wrong_is_one_sentence(diffusers_runs):
    missing, unknown = diffusers_runs["without the engine"], diffusers_runs["unknown"]
    assert missing["code"] == "diffusers is not installed. Fix: pip install .[diffusers]"
    assert unknown["code"] == 2 and "no preset 'balancd'" in unknown["err"]
    assert "balanced" in unknown["err"] and "Traceback" not in unknown["err"]
    without = diffusers_runs["no use_psa"]
    assert without["code"] == 2 and "need --use_psa" in without["err"]


# --- transformers


def transformers_command(name, *more):
    return [
        "--model", "{model}", "--video", "{folder}/clip.mp4", "--prompt", "What is it?",
        "--max_new_tokens", "4", "--dtype", "float32", "--device", "cpu",
        "--report", "{folder}/" + f"{name}.json", *more,
    ]  # fmt: skip


CAUSAL = """
Qwen2.5-VL:
  default_attention: mine
  attention_configs:
    mine:
      type: psa
      use_rearrange: false
      warmup_steps: 5  # a prefill has no steps, so no warm-up either
      block_size: {m: 128, n: 128, tile_n: 32}
      mask_ratios: {1: [0.0, 0.5], 4: [0.5, 0.8], 0: [0.8, 1.0]}
      mask_mode: topk
      attn_impl: old_mask_type
"""


@pytest.fixture(scope="module")
def transformers_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers")
    (folder / "mine.yaml").write_text(CAUSAL)
    (folder / "by_hand.yaml").write_text(BY_HAND)
    pytest.importorskip("av", reason="PyAV is not installed, which writes and reads clips")
    write_clip(folder / "clip.mp4")
    psa = ("--use_psa",)
    commands = {
        "dense": transformers_command("dense"),
        "default": transformers_command("default", *psa),
        "named": transformers_command("named", *psa, "--attention_preset", "faithful"),
        "mine": transformers_command("mine", *psa, "--config", "{folder}/mine.yaml"),
        "rearranged": transformers_command(
            "rearranged", *psa, "--config", "{folder}/by_hand.yaml",
            "--attention_preset", "CogVideo_5b/my_custom_preset",
        ),
        "without the engine": transformers_command("none"),
    }  # fmt: skip
    return runs_of("transformers", commands, folder)


def write_clip(path):
    import av

    random = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(16):
            picture = random.integers(0, 255, (64, 96, 3), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def test_a_question_about_a_video_is_answered(transformers_runs):
    dense = transformers_runs.report("dense")
    assert dense["psa"] is None and dense["tokens"] > 8 * 8 * 12 and dense["answer"]


@pytest.mark.parametrize("name, preset", [
    ("default", "balanced"), ("named", "faithful"), ("mine", "mine"),
])  # fmt: skip
def test_its_prefill_is_sparse(transformers_runs, name, preset):
    psa = transformers_runs.psa(name)
    assert psa["preset"] == f"Qwen2.5-VL/{preset}"
    assert psa["calls"] == {"sparse": 2, "dense": {"decode step": 6}}
    assert "step 1/1, sparse" in transformers_runs[name]["err"]


def test_a_rearrangement_is_refused_in_one_sentence(transformers_runs):
    refused = transformers_runs["rearranged"]
    assert refused["code"] == 2 and "causal: needs attn_impl='old_mask_type'" in refused["err"]
    assert "Traceback" not in refused["err"]
    missing = transformers_runs["without the engine"]["code"]
    assert missing == "transformers is not installed. Fix: pip install .[transformers]"
