"""Control videos: VACE and Fun control, through ComfyUI's own nodes for them."""

import torch

from .. import zoo
from ..sampling import Spy, conditioning
from .beside import check_picture, covers

pytestmark = covers("VACE, Fun control")

STEPS = 3
# 9 frames of 128 x 128: a latent of 3 x 16 x 16, 192 tokens
SIZE = {"width": 128, "height": 128, "length": 9, "batch_size": 1}


class PooledPixels:
    """In place of a VAE: means of the colours, for 4 frames and 8 x 8 pixels."""

    def encode(self, pixels):
        frames = [pixels[:1], *(pixels[i : i + 4] for i in range(1, len(pixels), 4))]
        means = torch.stack([part.mean(0) for part in frames]).permute(3, 0, 1, 2)
        small = torch.nn.functional.avg_pool3d(means, (1, 8, 8))
        return (small - 0.5).repeat(6, 1, 1, 1)[:16].unsqueeze(0)


def video(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(SIZE["length"], SIZE["height"], SIZE["width"], 3, generator=generator)


def controlled(node, **inputs):
    """(what the node puts beside the text, the latent it makes)"""
    texts = [conditioning(i, 16, 4096) for i in (0, 1)]
    positive, _, latent, *_ = node.execute(*texts, PooledPixels(), **SIZE, **inputs)
    extra = dict(positive[0][1])
    return extra, latent["samples"]


def check(bench, model, conditions, latent, plain_conditions):
    sampling = {"conditions": conditions, "latent": latent, "steps": STEPS}
    spy = Spy()
    steered = bench.sample(spy.on(model), **sampling)
    calls = sum(not call.cross for call in spy.calls)
    free = bench.sample(model, **{**sampling, "conditions": plain_conditions})
    assert not torch.allclose(steered, free, atol=0.01)
    check_picture(
        bench, model, lambda config: bench.patch(config, model=model), sparse=calls, **sampling
    )
    return calls


def test_vace_with_a_reference_image(bench):
    """It goes in front of the video as a frame of the same grid, and the latent grows by one."""
    from comfy_extras.nodes_wan import WanVaceToVideo

    model = zoo.wan("VaceWanModel", vace_layers=1, vace_in_dim=96)
    inputs = {"strength": 1.0, "control_video": video(), "reference_image": video(5)[:1]}
    conditions, latent = controlled(WanVaceToVideo, **inputs)
    assert latent.shape[2] == 4
    other, _ = controlled(WanVaceToVideo, **{**inputs, "reference_image": video(6)[:1]})
    # a control block runs beside the two of the model
    assert check(bench, model, conditions, latent, other) == 3 * STEPS


def test_fun_control(bench):
    from comfy_extras.nodes_wan import WanFunControlToVideo

    model = zoo.wan(model_type="i2v", in_dim=48)
    image = {"clip_vision_output": zoo.clip_vision(), "start_image": video(3)[:1]}
    conditions, latent = controlled(WanFunControlToVideo, control_video=video(), **image)
    other, _ = controlled(WanFunControlToVideo, control_video=video(9), **image)
    assert check(bench, model, conditions, latent, other) == 2 * STEPS
