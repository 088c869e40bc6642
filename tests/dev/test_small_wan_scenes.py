"""What the small model is trained on: prompts, scenes and their pixels, with made-up pictures."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psa_pack.tools.small_wan import assets, conditions, render, scenes, sources, tracks
from psa_pack.tools.small_wan.conditions import (
    CAMERAS,
    COLOURS,
    CUTOUTS,
    DEEP_CAMERAS,
    FIELDS,
    FLAT_CAMERAS,
    FLOORS,
    MAX_OBJECTS,
    MOTIONS,
    PHOTOGRAPHS,
    SHAPES,
    SOLIDS,
    TEXTURES,
    WALLS,
    PromptError,
)

from .made_up_pictures import SIDE, made_up_pictures


@pytest.fixture(scope="module")
def pictures() -> assets.Assets:
    return made_up_pictures()


def clips(pictures, seed=3, count=4, frames=5, height=64, width=64, **more):
    return scenes.draw(
        seed, count, frames=frames, height=height, width=width, assets=pictures, **more
    )


@st.composite
def prompts(draw) -> str:
    flat = draw(st.booleans())
    unfit = DEEP_CAMERAS if flat else FLAT_CAMERAS
    camera = draw(st.sampled_from([camera for camera in CAMERAS if camera not in unfit]))
    if flat:
        place = draw(st.sampled_from(PHOTOGRAPHS))
    elif draw(st.booleans()):
        place = f"{draw(st.sampled_from(FIELDS))} field"
    else:
        place = f"{draw(st.sampled_from(WALLS))} room {draw(st.sampled_from(FLOORS))} floor"
    names = st.one_of(
        st.sampled_from(CUTOUTS),
        st.builds("{} {}".format, st.sampled_from(list(COLOURS)), st.sampled_from(SHAPES)),
        st.builds("{} {}".format, st.sampled_from(TEXTURES), st.sampled_from(SOLIDS)),
    )
    motions = st.sampled_from([" ".join(motion) for motion in MOTIONS])
    objects = st.lists(st.builds("{} {}".format, names, motions), min_size=1, max_size=MAX_OBJECTS)
    return ", ".join([f"camera {' '.join(camera)}", place, *draw(objects)])


@given(prompts())
def test_prompt_survives_as_ids(prompt):
    ids = conditions.parse(prompt)
    assert ids.shape == (conditions.TOKENS, conditions.WORDS_PER_PHRASE)
    assert conditions.text(ids) == prompt


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
    with pytest.raises(PromptError) as error:
        conditions.parse(prompt)
    for word in words:
        assert word in str(error.value)


def test_seed_decides_every_pixel(pictures):
    first, again, other = (render.render(clips(pictures, seed), pictures) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_word_is_drawn(pictures):
    drawn = clips(pictures, count=400, frames=1)
    said = drawn.prompts()
    assert len(set(said)) > 390
    assert set(" ".join(said).replace(",", "").split()) == set(conditions.VOCABULARY) - {""}
    deep = drawn.place.deep.float().mean()
    assert 0.4 < deep < 0.6


@pytest.mark.parametrize("size", [(1, 64, 64), (5, 60, 104), (41, 32, 32), (2, 48, 32)])
def test_pixels_are_numbers_between_0_and_1(pictures, size):
    frames, height, width = size
    drawn = clips(pictures, count=12, frames=frames, height=height, width=width)
    pixels = render.render(drawn, pictures, lead=1)
    assert pixels.shape == (12, 3, 1 + frames, height, width)
    assert torch.isfinite(pixels).all()
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert torch.equal(pixels[:, :, 0], pixels[:, :, 1])


def test_chunks_give_the_same_pixels(pictures, monkeypatch):
    drawn = clips(pictures, count=6)
    whole = render.render(drawn, pictures)
    monkeypatch.setitem(render.CHUNK, "cpu", 1)
    assert torch.equal(render.render(drawn, pictures), whole)


def test_objects_stay_in_view(pictures):
    for height, width in ((64, 64), (60, 104)):
        drawn = clips(pictures, count=300, frames=41, height=height, width=width)
        present = drawn.objects.kind > 0
        x, y = drawn.objects.pose[..., 0][present], drawn.objects.pose[..., 1][present]
        assert ((x > 0) & (x < width) & (y > 0) & (y < height)).all()
        radius = drawn.objects.pose[..., 2][present] * tracks.CONTENT
        side = min(height, width)
        # recognisable: 46 pixels and more of 256
        assert (2 * radius.mean(1)).min() > 0.18 * side
        assert (2 * radius).max() < 0.95 * side


def shown(drawn, pictures, slot: int) -> torch.Tensor:
    """[B, F] pixels that change where the objects of one slot are left out."""
    strength = drawn.objects.shadow.clone()
    strength[..., 4] = 0
    objects = replace(drawn.objects, shadow=strength)
    kind = objects.kind.clone()
    kind[:, slot] = tracks.ABSENT
    full = render.render(replace(drawn, objects=objects), pictures)
    without = render.render(replace(drawn, objects=replace(objects, kind=kind)), pictures)
    return ((full - without).abs().amax(1) > 0.03).sum((2, 3)).float()


def test_objects_are_seen_for_most_of_the_clip(pictures):
    drawn = clips(pictures, count=30, frames=41, height=32, width=32)
    seen = []
    for slot in range(MAX_OBJECTS):
        # a solid of grey before grey walls cannot be told from them here
        rows = drawn.objects.kind[:, slot] == tracks.CUTOUT
        radius = drawn.objects.pose[:, slot, :, 2] * tracks.CONTENT
        seen.append((shown(drawn, pictures, slot) / (3.14 * radius**2))[rows])
    seen = torch.cat(seen)
    assert seen.quantile(0.05) > 0.75  # of a disc's area
    objects = seen.median(1).values
    assert (objects > 0.6).float().mean() > 0.9
    assert objects.min() > 0.3


def test_prompt_decides_words_and_objects(pictures):
    said = [
        "camera still, hills, tiger resting",
        "camera panning left, grass field, apple drifting up, tiger bouncing",
        "camera orbiting right, wood room tiles floor, blue star resting",
    ]
    drawn = clips(pictures, count=3, prompts=said)
    assert drawn.prompts() == said
    pixels = render.render(drawn, pictures)
    cells = [assets.CUTOUT_NAMES.index(name) for name in ("tiger", "tiger", "star")]
    tints = [(1, 1, 1), (1, 1, 1), COLOURS["blue"]]
    for clip, (slot, cell, tint) in enumerate(zip((0, 1, 0), cells, tints, strict=True)):
        x, y = drawn.objects.pose[clip, slot, 2, :2].long().tolist()
        colour = pictures.cutouts.pixels[0, :3, cell // assets.COLUMNS * SIDE + SIDE // 2]
        colour = colour[:, cell % assets.COLUMNS * SIDE * 3 // 2 + SIDE // 2]
        wanted = (colour * torch.tensor(tint) * drawn.place.gain[clip, 2]).clamp(0, 1)
        assert torch.allclose(pixels[clip, :, 2, y, x], wanted, atol=0.02)


def test_prompts_must_fit_the_scenes(pictures):
    with pytest.raises(ValueError, match="1 prompts for 2 scenes"):
        clips(pictures, count=2, prompts=["camera still, hills, cow resting"])
    with pytest.raises(ValueError, match="none may be empty"):
        clips(pictures, count=1, prompts=[""])
    with pytest.raises(PromptError, match="unicorn"):
        clips(pictures, count=1, prompts=["camera still, hills, unicorn resting"])


def test_camera_goes_where_the_prompt_says(pictures):
    """A photograph that brightens to the right and, in green, to the bottom."""
    ramp = torch.linspace(0, 1, SIDE)
    flat = torch.zeros(len(assets.FLAT_NAMES), 3, SIDE, SIDE)
    flat[:, 0], flat[:, 1] = ramp, ramp[:, None]
    cutouts = torch.zeros(len(assets.CUTOUT_NAMES), 4, SIDE, SIDE)
    empty = assets.assemble(flat, cutouts, torch.full((len(flat),), 1.0))
    ways = ["still", "panning left", "panning right", "panning up", "panning down"]
    ways += ["zooming in", "zooming out"]
    drawn = clips(
        empty, count=7, frames=21, prompts=[f"camera {way}, hills, cow resting" for way in ways]
    )
    drawn.place.gain.fill_(1)
    drawn.objects.shadow.zero_()
    drawn.objects.shadow[..., 2:4] = 1
    pixels = render.render(drawn, empty)
    mean = pixels.mean((3, 4))
    moved = (mean[:, :2, -1] - mean[:, :2, 0]) / 0.03
    assert moved.round().clamp(-1, 1).tolist()[:5] == [[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]]
    spread = pixels.std(4).mean((1, 3))
    assert spread[5, -1] < 0.95 * spread[5, 0]
    assert spread[6, -1] > 1.05 * spread[6, 0]


def test_solids_turn(pictures):
    flat = torch.rand(len(assets.FLAT_NAMES), 3, SIDE, SIDE)
    noisy = replace(pictures, flat=assets.atlas(flat))
    said = [f"camera still, hills, brick {name} spinning" for name in SOLIDS]
    drawn = clips(noisy, count=2, frames=9, prompts=said)
    drawn.place.gain.fill_(1)
    pixels = render.render(drawn, noisy)
    change = (pixels[:, :, -1] - pixels[:, :, 0]).abs().amax(1)
    assert ((change > 0.02).float().mean((1, 2)) > 0.04).all()


def test_every_name_has_a_source():
    assert tuple(sources.PHOTOGRAPHS) == PHOTOGRAPHS
    assert tuple(sources.CUTOUTS) == CUTOUTS
    allowed = {sources.CC0, sources.CC_BY, sources.MIT, sources.PEXELS, "public domain"}
    pictures = [
        *sources.PHOTOGRAPHS.values(),
        *sources.TEXTURES.values(),
        *sources.CUTOUTS.values(),
    ]
    for picture in pictures:
        assert picture.licence in allowed
        assert picture.archive in sources.ARCHIVES
        assert picture.author or picture.licence != sources.CC_BY


def test_data_notes_name_every_picture():
    notes = (assets.Path(sources.__file__).parent / "DATA.md").read_text(encoding="utf-8")
    for archive in sources.ARCHIVES.values():
        assert archive.name in notes and archive.version in notes
    for name, picture in {**sources.PHOTOGRAPHS, **sources.TEXTURES}.items():
        row = next(line for line in notes.splitlines() if line.startswith(f"| {name} |"))
        assert picture.path.rsplit("/", 1)[-1] in row
        assert picture.licence in row and picture.author in row


def test_missing_and_incomplete_files_say_what_to_do(tmp_path):
    from safetensors.torch import save_file

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
    assert {entry["name"] for entry in packed.sources} >= {*CUTOUTS, *PHOTOGRAPHS}
    pixels = render.render(clips(packed, count=6), packed)
    assert (pixels.std((1, 2, 3, 4)) > 0.05).all()
