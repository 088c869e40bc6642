"""What the small model is trained on: prompts, and scenes with made-up pictures."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from psa_pack.tools.small_wan import assets, conditions, render, scenes, sources

from .made_up_pictures import SIDE, disc

GOLDEN = Path(__file__).with_name("golden") / "small_wan_scenes.safetensors"


def test_every_drawn_prompt_can_be_read():
    said = [scenes.prompt(seed) for seed in range(400)]
    said.append("camera still, wood room wood floor, cow resting, cow resting")
    for prompt in said:
        ids = conditions.parse(prompt)
        assert ids.shape == (conditions.TOKENS, conditions.WORDS_PER_PHRASE)
        assert ", ".join(map(" ".join, conditions.phrases(ids))) == prompt
    assert set(" ".join(said).replace(",", "").split()) == set(conditions.VOCABULARY) - {""}


def test_context_has_one_vector_per_phrase():
    context = conditions.context("camera still, hills, red star spinning")
    assert context.shape == (1, conditions.TOKENS, conditions.TEXT_DIM)
    rms = context[0].square().mean(1).sqrt()
    assert torch.allclose(rms[:3], torch.ones(3), atol=0.1)
    assert not rms[3:].any()
    assert not conditions.context("").any()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("camera still, hills", ["2 phrases", "one to 4 objects"]),
        ("camera still, hills" + ", cow resting" * 5, ["7 phrases"]),
        ("camera sideways, hills, cow resting", ["'camera sideways'", "panning left"]),
        ("camera still, moonbase, cow resting", ["'moonbase'", "mountains", "field", "room"]),
        ("camera still, sky field, cow resting", ["'sky field'", "grass"]),
        ("camera orbiting left, hills, cow resting", ["'orbiting left'", "'hills'", "panning up"]),
        ("camera panning up, sand field, cow resting", ["'panning up'", "orbiting left"]),
        ("camera still, hills, unicorn resting", ["phrase 3", "'unicorn'", "tiger"]),
        ("camera still, hills, cow resting, red cow resting", ["phrase 4", "no word before"]),
        ("camera still, hills, star resting", ["'star' needs one of", "purple"]),
        ("camera still, hills, red ball resting", ["'ball' needs one of", "gravel"]),
        ("camera still, hills, cow flying", ["'cow flying'", "drifting left"]),
        ("camera still, hills, cow", ["after 'cow'", "resting"]),
        ("camera still, hills, cow resting,", ["phrase 4 is ''"]),
    ],
)
def test_bad_prompt_says_what_may_stand_there(prompt, words):
    with pytest.raises(conditions.PromptError) as error:
        conditions.parse(prompt)
    for word in words:
        assert word in str(error.value)


def colourful_pictures() -> assets.Assets:
    """Noise everywhere, so that every pixel of a scene says where it was read."""
    generator = torch.Generator().manual_seed(11)
    flat = torch.rand(len(assets.FLAT_NAMES), 3, SIDE, SIDE, generator=generator)
    cutouts = torch.rand(len(assets.CUTOUT_NAMES), 4, SIDE, SIDE, generator=generator)
    cutouts[:, 3] = disc()
    return assets.assemble(flat, cutouts, torch.linspace(0.6, 1.9, len(flat)))


def test_scenes_are_those_that_the_model_was_trained_on(request, monkeypatch):
    """Words, places, paths and pixels of seeds, as they were when the shipped model was trained."""
    monkeypatch.setitem(render.CHUNK, "cpu", 10 * 9 * 64 * 96)  # ten clips at a time
    found, pictures = {}, colourful_pictures()
    for frames, height, width in ((9, 64, 96), (1, 32, 32)):
        drawn = scenes.draw(3, 24, frames=frames, height=height, width=width, assets=pictures)
        pixels = render.render(drawn, pictures, lead=1)
        assert torch.equal(pixels[:, :, 0], pixels[:, :, 1])
        coarse = functional.adaptive_avg_pool3d(pixels[:, :, 1:], (min(frames, 3), 8, 8))
        found |= {f"words{frames}": drawn.words, f"pixels{frames}": coarse}
    if request.config.getoption("--write-golden"):
        save_file(found, GOLDEN)
        GOLDEN.chmod(0o644)
    for name, golden in load_file(GOLDEN).items():
        assert torch.allclose(found[name].float(), golden.float(), atol=2e-3), name


def test_every_picture_has_a_source_and_its_author_is_credited():
    allowed = {sources.CC0, sources.CC_BY, sources.MIT, sources.PEXELS, "public domain"}
    notes = (assets.Path(sources.__file__).parent / "DATA.md").read_text(encoding="utf-8")
    for table in (sources.PHOTOGRAPHS, sources.TEXTURES, sources.CUTOUTS):
        for picture in table.values():
            assert picture.licence in allowed and picture.licence in notes
            assert sources.ARCHIVES[picture.archive].name in notes
            assert picture.author or picture.licence != sources.CC_BY
            assert all(author in notes for author in picture.author.split("; "))


def test_missing_and_incomplete_files_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m tools\.small_wan\.pack --out"):
        assets.load(tmp_path / "none.safetensors")
    file = tmp_path / "few.safetensors"
    save_file(
        {"pictures": torch.zeros(1, dtype=torch.uint8)}, file, metadata={"entries": json.dumps([])}
    )
    with pytest.raises(ValueError, match="lacks hills, mountains"):
        assets.load(file)


def test_packed_pictures_make_clips():
    if not assets.DEFAULT.is_file():
        pytest.skip(f"{assets.DEFAULT} is absent: python -m tools.small_wan.pack makes it")
    packed = assets.load()
    drawn = scenes.draw(3, 6, frames=5, height=64, width=64, assets=packed)
    assert (render.render(drawn, packed).std((1, 2, 3, 4)) > 0.05).all()
