"""Models built on Wan that have a class of their own in ComfyUI."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..zoo import noise
from .basics import changed, each, named
from .layout import Layout, check, check_dense, check_refused, covers, mismatch
from .test_wan import (
    REFERENCE,
    SEEN,
    SMALL,
    basics,
    beside,
    image,
    odd_sizes,
    small,
    videos,
    windows,
)

ODD = Layout((16, 2, 9, 13), (2, 5, 7))
VACE = "Wan VACE"
CAMERA, CAMERA_2_2 = "Wan Fun Camera", "Wan 2.2 Fun Camera"
HUMO, HUMO_17B = "HuMo", "HuMo 17B"
S2V = "Wan 2.2 S2V"
ANIMATE, ANIMATE2 = "Wan 2.2 Animate", "Wan Animate 2"
SCAIL, SCAIL2 = "SCAIL", "SCAIL-2"
DANCER = "WanDancer"
# family -> settings of zoo.wan
MODELS = {
    VACE: {"kind": "VaceWanModel", "num_layers": 4, "vace_layers": 2, "vace_in_dim": 96},
    CAMERA: {"kind": "CameraWanModel", "model_type": "camera", "in_dim": 32},
    CAMERA_2_2: {"kind": "CameraWanModel", "model_type": "camera_2.2", "in_dim": 36},
    HUMO: {"kind": "HumoWanModel"},
    HUMO_17B: {"kind": "HumoWanModel", "in_dim": 36},
    S2V: {"kind": "WanModel_S2V"},
    # every fifth block has an adapter for faces
    ANIMATE: {
        "kind": "AnimateWanModel", "module": "model_animate", "in_dim": 36, "num_layers": 5,
    },
    ANIMATE2: {
        "kind": "WanAnimate2Model", "module": "model_animate2", "in_dim": 36,
        "told": {"model_type": "animate2"},
    },
    SCAIL: {"kind": "SCAILWanModel", "in_dim": 20},
    SCAIL2: {"kind": "SCAIL2WanModel", "in_dim": 20},
    DANCER: {
        "kind": "WanDancerModel", "module": "model_wandancer", "model_type": "wandancer",
        "in_dim": 36,
    },
}  # fmt: skip


def model_of(family, **more):
    return zoo.wan(**MODELS[family], **more)


def control_streams(count, frames=3):
    return {
        "vace_frames": [noise(1, 32, frames, 8, 12, seed=i) for i in range(count)],
        "vace_mask": [torch.ones(1, 64, frames, 8, 12)] * count,
        "vace_strength": [1.0, 0.7][:count],
    }


CONTROLS = {
    "one control": small(calls=6, conditions=control_streams(1)),
    "two controls": small(calls=8, conditions=control_streams(2)),
}


def camera_moves(layout):
    frames, height, width = layout.latent[1:]
    return {"camera_conditions": noise(1, 24, frames, 8 * height, 8 * width, seed=1)}


def filmed(layout):
    """`layout` with an image to start from, and moves of the camera where the model can do both."""
    conditions = image(16, *layout.latent[1:])
    if layout.latent != ODD.latent:
        conditions |= camera_moves(layout)
    return beside(layout, conditions)


def first_frame_before(layout):
    """Where the model keeps the latent's first frame for a reference."""
    frames, height, width = layout.grid
    if frames == 1:
        return layout
    grid = (frames - 1, height, width)
    return dataclasses.replace(layout, grid=grid, before=height * width, lead=1)


HUMO_REFERENCE = {"reference_latents": [noise(1, 16, 2, 8, 12, seed=1)]}
SPEECH = {"audio_embed": noise(1, 3, 8, 5, 1280, seed=2)}
LONG_SPEECH = {"audio_embed": noise(1, 5, 8, 5, 1280, seed=2)}
SOUND = {"audio_embed": noise(1, 25, 1024, 12, seed=2)}
# 4 x 6 tokens of the newest frame, 2 x 3 of the two before, 4 times 1 x 1 of the sixteen before
MOTION = {"reference_motion": noise(1, 16, 19, 8, 12, seed=3)}
MOTION_TOKENS = 24 + 6 + 4


def poses(frames):
    return {"control_video": noise(1, 16, frames, 8, 12, seed=4)}


ALL_OF_S2V = {**REFERENCE, **MOTION, **poses(3), **SOUND}
S2V_REFERENCES = {
    "image": small(after=24, conditions=REFERENCE),
    "motion": small(after=MOTION_TOKENS, conditions=MOTION),
    "image, motion, poses and audio": small(after=24 + MOTION_TOKENS, conditions=ALL_OF_S2V),
}
# a pose for every frame but the reference
POSE = {"pose_video_latent": noise(1, 16, 2, 8, 12, seed=1)}
LONG_POSE = {"pose_video_latent": noise(1, 16, 4, 8, 12, seed=1)}
ANIMATED = small(calls=5, conditions={**POSE, **image(16, 3, 8, 12), **SEEN})
MUSIC = {"audio_embed": noise(1, 9, 35, seed=1)}
TO_ATTEND_TO = {**SEEN, "clip_vision_output_ref": SEEN["clip_vision_output"]}


@each(
    # four main blocks, two of the control video; an image that a workflow gives is video
    *basics(VACE, calls=6), *odd_sizes(VACE, calls=6, divided=False),
    *windows(VACE, calls=6, conditions=control_streams(1, frames=5), whole_video=True),
    *named(VACE, "sparse & exact", CONTROLS),
    *changed(
        [
            *videos(CAMERA, conditions=SEEN, whole_video=True),
            *videos(CAMERA_2_2, whole_video=True),
        ],
        filmed,
    ),
    *(
        case for family in (HUMO, HUMO_17B) for case in (
            *basics(family, conditions=SPEECH), *odd_sizes(family),
            *windows(family, conditions=LONG_SPEECH, whole_video=True),
            covers(family, "references", small(after=48, conditions={**HUMO_REFERENCE, **SPEECH})),
        )
    ),
    covers(HUMO, "references", small(after=48, conditions=HUMO_REFERENCE), id="HuMo, no audio"),
    *basics(S2V, conditions=SOUND), *odd_sizes(S2V),
    *windows(S2V, conditions={**SOUND, **poses(5)}), *named(S2V, "references", S2V_REFERENCES),
    *changed(
        [
            *basics(ANIMATE, calls=5, conditions=POSE), *odd_sizes(ANIMATE, calls=5),
            *windows(ANIMATE, calls=5, conditions=LONG_POSE, whole_video=True),
            covers(ANIMATE, "references", ANIMATED),
            *videos(ANIMATE2),
        ],
        first_frame_before,
    ),
    *basics(DANCER, conditions=MUSIC), *odd_sizes(DANCER),
    *windows(DANCER, conditions=MUSIC),
    covers(
        DANCER, "sparse & exact", id="WanDancer, images to attend to",
        layout=small(conditions={**MUSIC, **image(16, 3, 8, 12), "fps": 15.0, **TO_ATTEND_TO}),
    ),
)  # fmt: skip
def test_variant(bench, monkeypatch, layout, way):
    model = model_of(layout.family)
    if layout.family == S2V and not zoo.takes(model, "block_index"):
        pytest.skip("this ComfyUI's S2V keeps its attention calls to itself")
    check(bench, monkeypatch, model, layout, way)


def test_vace_cannot_do_latents_that_its_patches_do_not_divide(bench):
    """So its odd sizes above are those of few rows and frames."""
    check_refused(bench, model_of(VACE), ODD, does=small(), match=mismatch(48, 70))


@pytest.mark.parametrize(
    ("streams", "dense_blocks", "dense"), [(1, {0}, 2), (1, {1, 3}, 2), (2, {2}, 3), (2, {5}, 0)]
)
def test_a_block_of_vace_is_the_same_in_every_version(bench, streams, dense_blocks, dense):
    """Control blocks follow main blocks 0 and 2, and go by their numbers."""
    bench.sample(
        bench.patch(model=model_of(VACE), dense_blocks=frozenset(dense_blocks)),
        shape=(1, *SMALL), steps=1, conditions=control_streams(streams),
    )  # fmt: skip
    calls = bench.reports[-1]["calls"]
    assert calls["dense"].get("dense block", 0) == dense
    assert calls["sparse"] == 4 + 2 * streams - dense


def test_cameras_do_not_move_over_latents_that_their_patches_do_not_divide(bench):
    odd, even = (beside(layout, camera_moves(layout)) for layout in (ODD, small()))
    check_refused(bench, model_of(CAMERA_2_2), odd, does=even, match=mismatch(7, 6))


def test_audio_of_one_frame_of_sixteen_tokens_cannot_be_told_apart(bench):
    speech = {"audio_embed": noise(1, 1, 8, 5, 1280)}
    layout = Layout((16, 1, 8, 8), (1, 4, 4), conditions=speech)
    reasons = ["cross-attention", "video and text have the same length"]
    check_dense(bench, model_of(HUMO), layout, reasons)


@pytest.mark.covers(
    ANIMATE2, "references",
    dense="while a pose video drives it: each frame has keys of its own, and calls over the "
    "pose video alone are for a reference",
)  # fmt: skip
def test_animate2_with_poses(bench):
    layout = first_frame_before(small(conditions=POSE))
    check_dense(bench, model_of(ANIMATE2), layout, ["cross-attention", "not the video's tokens"])


# the model before SCAIL-2 took the last of several and left the others out
TWO_REFERENCES = {"reference_latents": [noise(1, 16, 1, 8, 12, seed=i) for i in range(2)]}


def scail_poses(frames):
    """At half the resolution."""
    return {"pose_video_latent": noise(1, 16, frames, 4, 6, seed=3)}


def scail_masks(frames):
    return {
        "driving_mask_28ch": noise(1, frames, 28, 4, 6, seed=4),
        "ref_mask_28ch": noise(1, 2 + frames, 28, 8, 12, seed=5),
    }


SCAIL_POSES, LONG_POSES = scail_poses(3), scail_poses(5)
SCAIL_ALL = {**TWO_REFERENCES, **SCAIL_POSES}
SCAIL_REFERENCES = {
    "two references": small(before=48, conditions=TWO_REFERENCES),
    "poses": small(after=18, conditions=SCAIL_POSES),
    "reference and poses": small(before=24, after=18, conditions={**REFERENCE, **SCAIL_POSES}),
}
MASKED = {
    f"masks, animation {flag}": small(
        before=48, after=18, conditions={**SCAIL_ALL, **scail_masks(3), "ref_mask_flag": flag}
    )
    for flag in (True, False)
}
MASKS_IN_WINDOWS = {**TWO_REFERENCES, **LONG_POSES, **scail_masks(5)}


def scail_cases(family):
    both = {**REFERENCE, **LONG_POSES}
    return [
        *basics(family),
        *odd_sizes(family),
        *windows(family, before=24, after=18, conditions=both),
        *named(family, "references", SCAIL_REFERENCES),
    ]


@each(
    *scail_cases(SCAIL),
    *scail_cases(SCAIL2),
    *named(SCAIL2, "references", MASKED),
    *windows(SCAIL2, before=48, after=18, conditions=MASKS_IN_WINDOWS, id="masks in windows"),
)
def test_scail(bench, monkeypatch, layout, way):
    import comfy.ldm.wan.model

    model = model_of(layout.family)
    several = hasattr(comfy.ldm.wan.model, "SCAIL2WanModel")
    if layout.before == 48 and not several:
        pytest.skip("this ComfyUI's SCAIL takes one reference")
    check(bench, monkeypatch, model, layout, way)


@pytest.mark.covers(DANCER, "references", cannot=True)
def test_dancer_cannot_do_references(bench):
    """Its weights have a place for one, but the positions that it counts do not."""
    model, layout = model_of(DANCER, in_dim_ref_conv=16), small(conditions=REFERENCE)
    check_refused(bench, model, layout, does=small(), match=mismatch(72, 96))


def test_causal_with_another_sampler(bench):
    """It attends as Wan does then, but it is not a model that PSA knows."""
    model = zoo.wan("CausalWanModel", "ar_model", {"causal_ar": True})
    check_dense(bench, model, small(), ["cross-attention", "unknown token layout"])
