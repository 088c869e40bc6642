"""PSA Compare in graphs that a real server runs."""

import json
import math

import av
import numpy
import pytest
import torch
from PIL import Image

from .moving_clip import moving


@pytest.fixture
def pictures(comfy_server):
    """pictures(clip) puts a clip's frames into the server's input folder; their names."""
    folder = comfy_server.base / "input"
    written = []

    def pictures(clip):
        names = []
        for frame in clip:
            name = f"psa-compare-{len(written)}.png"
            Image.fromarray((frame * 255).round().byte().numpy()).save(folder / name)
            written.append(folder / name)
            names.append(name)
        return names

    yield pictures
    for path in written:
        path.unlink()


def batch(g, names):
    frames = [g.add("LoadImage", {"image": name}) for name in names]
    out = frames[0]
    for frame in frames[1:]:
        out = g.add("ImageBatch", {"image1": out, "image2": frame})
    return out


def compared(g, reference, other, **inputs):
    links = {"reference": batch(g, reference), "other": batch(g, other)}
    return g.add("PSACompare", {**links, **inputs}, "compare")


def test_the_node_gives_text_json_pictures_and_a_video(graph, comfy_server, pictures):
    clip = moving(height=65, width=48)
    darker = clip * 0.8
    g = graph()
    compared(g, pictures(clip), pictures(darker), gain=5.0, fps=8.0)
    text = g.add("PreviewAny", {"source": ["compare", 0]})
    data = g.add("PreviewAny", {"source": ["compare", 1]})
    shown = g.add("SaveImage", {"images": ["compare", 2], "filename_prefix": "psa/difference"})
    both = g.add("SaveImage", {"images": ["compare", 3], "filename_prefix": "psa/both"})
    video = g.add("SaveVideo", {"video": ["compare", 4], "filename_prefix": "psa/both",
                                "format": "auto", "codec": "auto"})  # fmt: skip
    outputs = g.run().outputs
    said = "\n".join(outputs["compare"]["text"])
    assert "4 frames of 48 x 65" in said and "LPIPS: not available" in said
    found = json.loads(outputs[data[0]]["text"][0])
    # pictures are of 8 bits, so the figures are those of the rounded frames
    rounded = [(x * 255).round() / 255 for x in (clip, darker)]
    error = (rounded[0] - rounded[1]).square().mean().item()
    assert found["psnr"]["whole"] == pytest.approx(-10 * math.log10(error), abs=1e-3)
    assert len(found["ssim"]["frames"]) == 4 and found["gain"] == 5
    whole = outputs[text[0]]["text"][0]
    assert said in whole and len(whole.splitlines()) == len(said.splitlines()) + 6

    def first(node):
        entry = outputs[node[0]]["images"][0]
        return Image.open(comfy_server.base / "output" / entry["subfolder"] / entry["filename"])

    amplified = ((rounded[1] - rounded[0]).abs() * 5).clamp(0, 1)[0]
    pixels = torch.from_numpy(numpy.array(first(shown).convert("RGB"))) / 255
    assert torch.allclose(pixels, amplified, atol=1.01 / 255)
    assert first(both).size == (2 * 48 + 2, 66)
    entry = outputs[video[0]]["images"][0]
    path = comfy_server.base / "output" / entry["subfolder"] / entry["filename"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert len(frames) == 4 and float(stream.average_rate) == 8
    left, right = frames[0][:65, :48], frames[0][:65, 50:]
    assert frames[0].shape == (66, 98, 3) and left.mean() > right.mean() > 10


def test_the_node_alone_can_be_queued_and_identical_clips_are_fine(graph, pictures):
    names = pictures(moving(frames=2))
    g = graph()
    compared(g, names, names)
    (said,) = g.run().outputs["compare"]["text"]
    assert "The clips are identical." in said and "inf dB" in said


def test_unlike_sizes_are_one_clear_error_and_unlike_lengths_a_note(graph, pictures):
    clip = moving(frames=3)
    g = graph()
    compared(g, pictures(clip), pictures(moving(frames=3, width=80)))
    message = g.client.run(g.nodes).error["exception_message"]
    assert "64 x 64 pixels, those of other are 80 x 64" in message
    g = graph()
    compared(g, pictures(clip), pictures(clip[:2]))
    (said,) = g.run().outputs["compare"]["text"]
    assert "reference has 3 frames, other has 2; the first 2 are compared" in said
