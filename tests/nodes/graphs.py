"""Workflows for the server, in API format, and what came out of them."""

import json
import uuid

from safetensors.torch import load_file

from psa_pack.tools.comfy_client import PromptRefusedError

# 17 frames of 96x96 pixels: 5 x 6 x 6 = 180 tokens; calls of a run: steps x 2 blocks x 2 kinds
SIZE = {"width": 96, "height": 96, "length": 17, "batch_size": 1}
STEPS = 4
BLOCKS = 2
# settings that make 180 tokens a fair number of blocks
SMALL_BLOCKS = {
    "block_m": "64", "block_n": "32", "tail": "32", "rearrange_method": "Gilbert",
    "level_1_to": 0.2, "level_2_to": 0.4, "level_4_to": 0.4, "level_8_to": 0.6,
}  # fmt: skip


class Graph:
    """A prompt under construction: `add` returns the link to a node's first output."""

    def __init__(self, client, base):
        self.client, self.base = client, base
        self.nodes = {}
        self.saved = {}

    def add(self, kind, inputs, node_id=None):
        node_id = node_id or str(len(self.nodes) + 1)
        self.nodes[node_id] = {"class_type": kind, "inputs": inputs}
        return [node_id, 0]

    def model(self):
        unet = {"unet_name": "tiny_wan.safetensors", "weight_dtype": "default"}
        return self.add("UNETLoader", unet, "model")

    def preset(self, **widgets):
        return self.add("PSAPresetEditor", {**SMALL_BLOCKS, **widgets})

    def psa(self, model, preset=None, node_id=None, **inputs):
        inputs = {"min_tokens": 0, **inputs}
        return self.add(
            "PSAApply", {"model": model, "preset": preset or self.preset(), **inputs}, node_id
        )

    def spy(self, model, label, **inputs):
        return self.add("PSATestSpy", {"model": model, "label": label, "gain": 1.0, "delay": 0.0,
                                       **inputs})  # fmt: skip

    def sample(self, model, seed=1, **inputs):
        """KSampler and SaveLatent; the latent is then in `result`, by the returned name."""
        numbers = [{"prompt_number": i, "tokens": 16} for i in (1, 2)]
        texts = [self.add("PSADemoConditioning", inputs) for inputs in numbers]
        sampler = {
            "model": model, "seed": seed, "steps": STEPS, "cfg": 6.0, "sampler_name": "euler",
            "scheduler": "simple", "denoise": 1.0, "positive": texts[0], "negative": texts[1],
            "latent_image": self.add("EmptyHunyuanLatentVideo", SIZE), **inputs,
        }  # fmt: skip
        name = uuid.uuid4().hex
        self.saved[name] = self.add(
            "SaveLatent", {"samples": self.add("KSampler", sampler), "filename_prefix": name}
        )
        return name

    def run(self, **options):
        run = self.client.run(self.nodes, **options)
        assert run.outcome != "execution_error", run.error["exception_message"]
        return run

    def latent(self, name):
        (file,) = self.base.joinpath("output").glob(f"{name}*.latent")
        return load_file(file)["latent_tensor"]

    def refusal(self):
        """{node id: {input or "": message}} of a prompt that the server must not accept."""
        try:
            run = self.client.run(self.nodes)
        except PromptRefusedError as error:
            assert error.status == 400
            assert "Traceback" not in json.dumps(error.body)
            assert '"traceback"' not in json.dumps(error.body)
            return {
                node: {
                    item.get("extra_info", {}).get("input_name", ""): item["details"]
                    for item in found["errors"]
                }
                for node, found in error.body["node_errors"].items()
            }
        raise AssertionError(f"the prompt was accepted: {run.outcome}")


def reports(run):
    """{node id: report} of the psa.run_finished events of one prompt."""
    return {event["node"]: event["report"] for event in run.events("psa.run_finished")}


def spied(base, label):
    """Calls that PSATestSpy saw, [{"sigma", "self_attention", ...}]; forgotten when read."""
    path = base / "output" / f"spy_{label}.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    path.unlink()
    return [json.loads(line) for line in lines]


def pictures(client, run, node_id):
    """The images that a node shows in the page, as PIL images."""
    import io
    import urllib.parse
    import urllib.request

    from PIL import Image

    shown = []
    for image in run.outputs[node_id]["images"]:
        query = urllib.parse.urlencode(image)
        with urllib.request.urlopen(f"{client.url}/view?{query}") as reply:
            shown.append(Image.open(io.BytesIO(reply.read())).convert("RGB"))
    return shown
