"""Models built on Wan that have a class of their own in ComfyUI."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..zoo import clip_vision, noise
from .layout import Layout, check, check_dense, check_refused, covers, mismatch
from .test_wan import REFERENCE, SMALL, basics, each, image, odd_sizes, small, windows

ODD = Layout((16, 2, 9, 13), (2, 5, 7))
VACE = "Wan VACE"


def control_streams(count, frames=3):
    return {
        "vace_frames": [noise(1, 32, frames, 8, 12, seed=i) for i in range(count)],
        "vace_mask": [torch.ones(1, 64, frames, 8, 12)] * count,
        "vace_strength": [1.0, 0.7][:count],
    }


def vace():
    return zoo.wan("VaceWanModel", num_layers=4, vace_layers=2, vace_in_dim=96)


@each(
    # four main blocks, two of the control video
    *basics(VACE, calls=6),
    *windows(VACE, calls=6, conditions=control_streams(1, frames=5), whole_video=True),
    covers(VACE, "odd sizes", Layout((16, 1, 16, 20), (1, 8, 10), calls=6), id="one frame"),
    covers(VACE, "odd sizes", Layout((16, 5, 2, 30), (5, 1, 15), calls=6), id="1 x N"),
    # no "references": an image that a workflow gives lies in the latent and is video
    covers(
        VACE,
        "sparse & exact",
        Layout(SMALL, (3, 4, 6), calls=6, conditions=control_streams(1)),
        id="one control",
    ),
    covers(
        VACE,
        "sparse & exact",
        Layout(SMALL, (3, 4, 6), calls=8, conditions=control_streams(2)),
        id="two controls",
    ),
)
def test_vace(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, vace(), layout, way)


def test_vace_cannot_do_latents_that_its_patches_do_not_divide(bench):
    """So its odd sizes above are those of few rows and frames."""
    check_refused(bench, vace(), ODD, does=small(), match=mismatch(48, 70))


@pytest.mark.parametrize(
    ("streams", "dense_blocks", "dense"), [(1, {0}, 2), (1, {1, 3}, 2), (2, {2}, 3), (2, {5}, 0)]
)
def test_a_block_of_vace_is_the_same_in_every_version(bench, streams, dense_blocks, dense):
    """Control blocks follow main blocks 0 and 2, and go by their numbers."""
    model = vace()
    layout = Layout(SMALL, (3, 4, 6), conditions=control_streams(streams))
    bench.sample(
        bench.patch(model=model, dense_blocks=frozenset(dense_blocks)),
        shape=(1, *SMALL), steps=1, conditions=layout.conditions,
    )  # fmt: skip
    calls = bench.reports[-1]["calls"]
    assert calls["dense"].get("dense block", 0) == dense
    assert calls["sparse"] == 4 + 2 * streams - dense


SEEN = {"clip_vision_output": clip_vision()}
CAMERA, CAMERA_2_2 = "Wan Fun Camera", "Wan 2.2 Fun Camera"


def camera_moves(layout):
    frames, height, width = layout.latent[1:]
    return {"camera_conditions": noise(1, 24, frames, 8 * height, 8 * width, seed=1)}


def filmed(layout):
    """`layout` with an image to start from, and moves of the camera where the model can do both."""
    conditions = image(16, *layout.latent[1:])
    if layout.latent != ODD.latent:
        conditions |= camera_moves(layout)
    return dataclasses.replace(layout, conditions={**layout.conditions, **conditions})


@each(
    *basics(CAMERA, conditions=SEEN),
    *odd_sizes(CAMERA, conditions=SEEN),
    *windows(CAMERA, conditions=SEEN, whole_video=True),
)
def test_camera(bench, monkeypatch, layout, way):
    model = zoo.wan("CameraWanModel", model_type="camera", in_dim=32)
    check(bench, monkeypatch, model, filmed(layout), way)


@each(*basics(CAMERA_2_2), *odd_sizes(CAMERA_2_2), *windows(CAMERA_2_2, whole_video=True))
def test_camera_2_2(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, camera_2_2(), filmed(layout), way)


def camera_2_2():
    return zoo.wan("CameraWanModel", model_type="camera_2.2", in_dim=36)


def test_cameras_do_not_move_over_latents_that_their_patches_do_not_divide(bench):
    odd = dataclasses.replace(ODD, conditions=camera_moves(ODD))
    even = small(conditions=camera_moves(small()))
    check_refused(bench, camera_2_2(), odd, does=even, match=mismatch(7, 6))


HUMO = "HuMo"
HUMO_REFERENCE = {"reference_latents": [noise(1, 16, 2, 8, 12, seed=1)]}
SPEECH = {"audio_embed": noise(1, 3, 8, 5, 1280, seed=2)}
LONG_SPEECH = {"audio_embed": noise(1, 5, 8, 5, 1280, seed=2)}


@each(
    *basics(HUMO, conditions=SPEECH),
    *odd_sizes(HUMO),
    *windows(HUMO, conditions=LONG_SPEECH, whole_video=True),
    covers(HUMO, "references", Layout(SMALL, (3, 4, 6), after=48, conditions=HUMO_REFERENCE)),
    covers(
        HUMO,
        "references",
        Layout(SMALL, (3, 4, 6), after=48, conditions={**HUMO_REFERENCE, **SPEECH}),
        id="and audio",
    ),
)
def test_humo(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, zoo.wan("HumoWanModel"), layout, way)


HUMO_17B = "HuMo 17B"


@each(
    *basics(HUMO_17B, conditions=SPEECH),
    *odd_sizes(HUMO_17B),
    *windows(HUMO_17B, conditions=LONG_SPEECH, whole_video=True),
    covers(HUMO_17B, "references", Layout(SMALL, (3, 4, 6), after=48, conditions=HUMO_REFERENCE)),
)
def test_humo_17b(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, zoo.wan("HumoWanModel", in_dim=36), layout, way)


def test_audio_of_one_frame_of_sixteen_tokens_cannot_be_told_apart(bench):
    model = zoo.wan("HumoWanModel")
    speech = {"audio_embed": noise(1, 1, 8, 5, 1280)}
    layout = Layout((16, 1, 8, 8), (1, 4, 4), conditions=speech)
    check_dense(bench, model, layout, ["cross-attention", "video and text have the same length"])


S2V = "Wan 2.2 S2V"
S2V_REFERENCE = {"reference_latents": [noise(1, 16, 1, 8, 12, seed=1)]}
SOUND = {"audio_embed": noise(1, 25, 1024, 12, seed=2)}
# 4 x 6 tokens of the newest frame, 2 x 3 of the two before, 4 times 1 x 1 of the sixteen before
MOTION = {"reference_motion": noise(1, 16, 19, 8, 12, seed=3)}
MOTION_TOKENS = 24 + 6 + 4


def poses(frames):
    return {"control_video": noise(1, 16, frames, 8, 12, seed=4)}


@each(
    *basics(S2V, conditions=SOUND),
    *odd_sizes(S2V),
    *windows(S2V, conditions={**SOUND, **poses(5)}),
    covers(S2V, "references", Layout(SMALL, (3, 4, 6), after=24, conditions=S2V_REFERENCE)),
    covers(
        S2V,
        "references",
        Layout(SMALL, (3, 4, 6), after=MOTION_TOKENS, conditions=MOTION),
        id="motion",
    ),
    covers(
        S2V,
        "references",
        Layout(
            SMALL,
            (3, 4, 6),
            after=24 + MOTION_TOKENS,
            conditions={**S2V_REFERENCE, **MOTION, **poses(3), **SOUND},
        ),
        id="reference, motion, poses and audio",
    ),
)
def test_s2v(bench, monkeypatch, layout, way):
    model = zoo.wan("WanModel_S2V")
    if not zoo.takes(model, "block_index"):
        pytest.skip("this ComfyUI's S2V keeps its attention calls to itself")
    check(bench, monkeypatch, model, layout, way)


ANIMATE = "Wan 2.2 Animate"
# a pose for every frame but the reference
POSE = {"pose_video_latent": noise(1, 16, 2, 8, 12, seed=1)}
LONG_POSE = {"pose_video_latent": noise(1, 16, 4, 8, 12, seed=1)}


def first_frame_before(parameter):
    """The same case where the model keeps the latent's first frame for a reference."""
    layout = parameter.values[0]
    frames, height, width = layout.grid
    if frames > 1:
        layout = dataclasses.replace(
            layout, grid=(frames - 1, height, width), before=height * width, lead=1
        )
    values = (layout, *parameter.values[1:])
    return pytest.param(*values, marks=parameter.marks, id=parameter.id)


@each(
    *map(first_frame_before, basics(ANIMATE, calls=5, conditions=POSE)),
    *map(first_frame_before, odd_sizes(ANIMATE, calls=5)),
    *map(first_frame_before, windows(ANIMATE, calls=5, conditions=LONG_POSE, whole_video=True)),
    covers(
        ANIMATE,
        "references",
        Layout(
            SMALL,
            (2, 4, 6),
            before=24,
            lead=1,
            calls=5,
            conditions={**POSE, **image(16, 3, 8, 12), "clip_vision_output": clip_vision()},
        ),
    ),
)
def test_animate(bench, monkeypatch, layout, way):
    # every fifth block has an adapter for faces
    model = zoo.wan("AnimateWanModel", "model_animate", in_dim=36, num_layers=5)
    check(bench, monkeypatch, model, layout, way)


ANIMATE2 = "Wan Animate 2"


def animate2():
    return zoo.wan("WanAnimate2Model", "model_animate2", {"model_type": "animate2"}, in_dim=36)


@each(
    *map(first_frame_before, basics(ANIMATE2)),
    *map(first_frame_before, odd_sizes(ANIMATE2)),
    *map(first_frame_before, windows(ANIMATE2)),
)
def test_animate2_without_poses(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, animate2(), layout, way)


@each(
    covers(
        ANIMATE2,
        "references",
        Layout(SMALL, (2, 4, 6), before=24, lead=1, conditions=POSE),
        dense="while a pose video drives it: each frame has keys of its own, and calls over the "
        "pose video alone are for a reference",
    )
)
def test_animate2_with_poses(bench, layout, way):
    check_dense(bench, animate2(), layout, ["cross-attention", "not the video's tokens"], way)


SCAIL, SCAIL2 = "SCAIL", "SCAIL-2"
SCAIL_REFERENCE = {"reference_latents": [noise(1, 16, 1, 8, 12)]}
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


def scail_cases(family):
    return [
        *basics(family),
        *odd_sizes(family),
        *windows(family, before=24, after=18, conditions={**SCAIL_REFERENCE, **LONG_POSES}),
        covers(
            family,
            "references",
            Layout(SMALL, (3, 4, 6), before=24, conditions=SCAIL_REFERENCE),
            id="one reference",
        ),
        covers(
            family,
            "references",
            Layout(SMALL, (3, 4, 6), before=48, conditions=TWO_REFERENCES),
            id="two references",
        ),
        covers(
            family,
            "references",
            Layout(SMALL, (3, 4, 6), after=18, conditions=SCAIL_POSES),
            id="poses",
        ),
        covers(
            family,
            "references",
            Layout(
                SMALL,
                (3, 4, 6),
                before=24,
                after=18,
                conditions={**SCAIL_REFERENCE, **SCAIL_POSES},
            ),
            id="reference and poses",
        ),
        covers(
            family,
            "references",
            Layout(SMALL, (3, 4, 6), before=48, after=18, conditions=SCAIL_ALL),
            id="two references and poses",
        ),
    ]


@each(*scail_cases(SCAIL))
def test_scail(bench, monkeypatch, layout, way):
    model = zoo.wan("SCAILWanModel", in_dim=20)
    if layout.before == 48 and not hasattr(comfy_wan(), "SCAIL2WanModel"):
        pytest.skip("this ComfyUI's SCAIL takes one reference")
    check(bench, monkeypatch, model, layout, way)


def comfy_wan():
    import comfy.ldm.wan.model

    return comfy.ldm.wan.model


@each(
    *scail_cases(SCAIL2),
    *(
        covers(
            SCAIL2,
            "references",
            Layout(
                SMALL,
                (3, 4, 6),
                before=48,
                after=18,
                conditions={**SCAIL_ALL, **scail_masks(3), "ref_mask_flag": flag},
            ),
            id=f"masks, animation {flag}",
        )
        for flag in (True, False)
    ),
    *windows(
        SCAIL2,
        before=48,
        after=18,
        conditions={**TWO_REFERENCES, **LONG_POSES, **scail_masks(5)},
        id="masks in windows",
    ),
)
def test_scail2(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, zoo.wan("SCAIL2WanModel", in_dim=20), layout, way)


DANCER = "WanDancer"
MUSIC = {"audio_embed": noise(1, 9, 35, seed=1)}


def dancer(**changes):
    changes = {"model_type": "wandancer", "in_dim": 36, **changes}
    return zoo.wan("WanDancerModel", "model_wandancer", **changes)


@each(
    *basics(DANCER, conditions=MUSIC),
    *odd_sizes(DANCER),
    *windows(DANCER, conditions=MUSIC),
    covers(
        DANCER,
        "sparse & exact",
        Layout(
            SMALL,
            (3, 4, 6),
            conditions={
                **MUSIC,
                **image(16, 3, 8, 12),
                "fps": 15.0,
                "clip_vision_output": clip_vision(),
                "clip_vision_output_ref": clip_vision(),
            },
        ),
        id="images to attend to",
    ),
)
def test_dancer(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, dancer(), layout, way)


@pytest.mark.covers(DANCER, "references", cannot=True)
def test_dancer_cannot_do_references(bench):
    """Its weights have a place for one, but the positions that it counts do not."""
    model, layout = dancer(in_dim_ref_conv=16), small(conditions=REFERENCE)
    check_refused(bench, model, layout, does=small(), match=mismatch(72, 96))


def test_causal_with_another_sampler(bench):
    """It attends as Wan does then, but it is not a model that PSA knows."""
    model = zoo.wan("CausalWanModel", "ar_model", {"causal_ar": True})
    layout = Layout(SMALL, (3, 4, 6))
    check_dense(bench, model, layout, ["cross-attention", "unknown token layout"])
