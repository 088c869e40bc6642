"""MiniMax-H3: text, references, audio and video packed into one sequence, the video last."""

import pytest

from .. import zoo
from ..zoo import noise
from .basics import each, named
from .configured import configured
from .layout import Layout, Way, check, covers, sampler, with_windows

FAMILY = "MiniMax-H3"
SETTINGS = {
    "hidden_size": 128, "num_layers": 2, "token_refiner_num_layers": 1, "num_attention_heads": 2,
    "attention_head_dim": 64, "ffn_hidden_size": 128, "latents_dim": 24, "audio_latents_dim": 32,
    "text_dim": zoo.TEXT_WIDTH, "timestep_input_dim": 32, "time_embed_hidden_size": 64,
    "time_embed_dim": 64, "rope_inv_freq_len": 8,
}  # fmt: skip
AUDIO = (32, 2, 10)
KEYFRAMES = {
    "minimax_keyframes": [
        {"resolved_frame_index": 0, "latent": noise(1, 24, 1, 8, 12)},
        {"resolved_frame_index": 4, "audio_latent": noise(1, 32, 2, 3, seed=1)},
    ]
}
REFERENCES = {
    "minimax_refs": [
        {"kind": "image", "latent_h": 4, "latent_w": 6, "latent": noise(1, 24, 1, 4, 6, seed=2)},
        {"kind": "audio", "ref_audio_t": 5, "audio_latent": noise(1, 32, 2, 5, seed=3)},
        {
            "kind": "video_audio", "latent_h": 4, "latent_w": 4, "latent_t": 2, "ref_audio_t": 2,
            "latent": noise(1, 24, 2, 4, 4, seed=4), "audio_latent": noise(1, 32, 2, 2, seed=5),
        },
    ]
}  # fmt: skip


def minimax():
    return configured("MiniMaxH3", image_model="minimax_h3", **SETTINGS)


def layout(latent, grid, more=0, **conditions):
    # text, what goes before the audio, the audio's two channels
    return Layout(
        (24, *latent), grid, before=20 + more + 2 * 10, audio=AUDIO, text=(20, zoo.TEXT_WIDTH),
        text_inside=True, conditions=conditions,
    )  # fmt: skip


SMALL = (3, 8, 12), (3, 4, 6)
ODD = {
    "odd": layout((3, 9, 11), (3, 5, 6)),
    "one frame": layout((1, 16, 18), (1, 8, 9)),
    "1 x N": layout((4, 2, 40), (4, 1, 20)),
}
REFERRED = {
    "keyframes": layout(*SMALL, 24 + 6, **KEYFRAMES),
    "image, sound and video": layout(*SMALL, 6 + 10 + 4 + 8, **REFERENCES),
}


@each(
    covers(FAMILY, "sparse & exact", layout(*SMALL)),
    covers(FAMILY, "CFG split", layout(*SMALL)),
    *named(FAMILY, "odd sizes", ODD),
    *named(FAMILY, "references", REFERRED),
)
def test_minimax(bench, monkeypatch, layout, way):
    # ComfyUI runs this model's prompt and negative prompt apart
    check(bench, monkeypatch, minimax(), layout, Way(split=True))


@pytest.mark.covers(FAMILY, "context windows", cannot=True)
def test_windows_are_comfyuis_own_refusal(bench):
    model = with_windows(minimax(), 3)
    sample = sampler(bench, layout((6, 8, 12), (3, 4, 6)), Way())
    with pytest.raises(NotImplementedError, match="context windows"):
        sample(model)


@pytest.mark.covers(FAMILY, "batch 3", cannot=True)
def test_several_at_once_are_the_models_own_refusal(bench):
    sample = sampler(bench, layout((3, 8, 12), (3, 4, 6)), Way(batch=3, split=True))
    with pytest.raises(ValueError, match="batch size 1"):
        sample(minimax())


def test_each_container_of_the_newer_versions_is_emptied_once(bench, monkeypatch):
    """The model hands q, k, v over in containers; PSA gets what is in them."""
    model = minimax()
    from comfy.ldm.modules import attention

    taken, take = [], attention.AttentionTensorContainer.take
    monkeypatch.setattr(
        attention.AttentionTensorContainer, "take", lambda box: taken.append(box) or take(box)
    )
    sampler(bench, layout((3, 8, 12), (3, 4, 6)), Way())(bench.patch(model=model))
    calls = bench.report["calls"]
    assert calls["sparse"] == 8 and bench.report["failure"] is None
    # the text refiner's, before the run, included
    assert len(taken) == len({id(box) for box in taken}) >= 3 * calls["sparse"]
