"""One family's section: every breach at once, field by field, and back without loss."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels.config import ConfigError, PSAConfig
from psa_presets import Family, VideoScale
from psa_presets.family import MAX_ISSUES, read_family
from psa_presets.yaml_text import dump, parse

from .figures import mask_ratios

SECTION = {
    "default_attention": "fast",
    "video_scale": {"width_divisor": 16, "height_divisor": 8, "depth_divisor": 4},
    "text_length": 226,
    "attention_configs": {
        "baseline": {"type": "dense"},
        "fast": {"mask_ratios": {1: [0.0, 0.25], 0: [0.25, 1.0]}, "tail": 32},
    },
}


def changed(path: str, value="gone") -> dict:
    section = copy.deepcopy(SECTION)
    *parents, last = path.split(".")
    place = section
    for key in parents:
        place = place[key]
    if value == "gone":
        del place[last]
    else:
        place[last] = value
    return section


@pytest.mark.parametrize(
    ("scale", "video", "grid"),
    [
        ((16, 16, 4), (832, 480, 81), (21, 30, 52)),
        ((16, 16, 4), (1280, 720, 81), (21, 45, 80)),
        ((32, 32, 4), (1280, 704, 121), (31, 22, 40)),
        # CogVideoX 1.5 pairs latent frames and pads an odd count
        ((16, 16, 8), (1360, 768, 81), (11, 48, 85)),
        ((16, 16, 4), (100, 50, 1), (1, 4, 7)),
        # clips of 17 frames and a rest of 5; no clip is whole; all are
        ((32, 32, 4, 17), (1344, 768, 124), (37, 24, 42)),
        ((32, 32, 4, 17), (1344, 768, 5), (2, 24, 42)),
        ((32, 32, 4, 17), (1344, 768, 34), (10, 24, 42)),
    ],
)
def test_the_token_grid_of_a_video(scale, video, grid):
    assert VideoScale(*scale).grid(*video) == grid


def test_a_good_section():
    family, issues = read_family("My.family 1", SECTION)
    assert issues == []
    assert family == Family(
        "My.family 1",
        "fast",
        VideoScale(16, 8, 4),
        226,
        {
            "baseline": PSAConfig(type="dense"),
            "fast": PSAConfig(mask_ratios={1: (0, 0.25), 0: (0.25, 1)}, tail=32),
        },
    )


BREACHES = [
    # changed section, path of the issue, a word of it
    (changed("default_attention"), "F.default_attention", "found nothing"),
    (changed("default_attention", "fst"), "F.default_attention", "set F.default_attention to fast"),
    (changed("default_attention", "default"), "F.default_attention", "name of one"),
    (changed("default_attention", 5), "F.default_attention", "found 5"),
    (changed("default_attention", ["fast"]), "F.default_attention", "found ['fast']"),
    (changed("video_scale"), "F.video_scale", "found nothing; a mapping with width_divisor"),
    (changed("video_scale", [16, 16, 4]), "F.video_scale", "a mapping with"),
    (changed("video_scale.width_divisor"), "F.video_scale.width_divisor", "found nothing"),
    (changed("video_scale.width_divisor", 0), "F.video_scale.width_divisor", "from 1 to 1024"),
    (changed("video_scale.depth_divisor", 4.0), "F.video_scale.depth_divisor", "found 4.0"),
    (changed("video_scale.height_divisor", True), "F.video_scale.height_divisor", "found True"),
    (changed("video_scale.heigth_divisor", 1), "F.video_scale.heigth_divisor", "did you mean"),
    (changed("video_scale.clip_length", 0), "F.video_scale.clip_length", "from 1 to 1024"),
    (changed("text_length"), "F.text_length", "found nothing"),
    (changed("text_length", -1), "F.text_length", "from 0"),
    (changed("text_length", "226"), "F.text_length", "found '226'"),
    (changed("text_length", True), "F.text_length", "or null where it varies"),
    (changed("attention_configs"), "F.attention_configs", "at least one"),
    (changed("attention_configs", {}), "F.attention_configs", "at least one"),
    (changed("attention_configs", None), "F.attention_configs", "found None"),
    (changed("attention_config", {}), "F.attention_config", "did you mean attention_configs?"),
    (changed("xyz", 1), "F.xyz", "known keys: default_attention"),
    (changed("attention_configs.fast.tail", 7), "F.attention_configs.fast.tail", "found 7"),
    (
        changed("attention_configs.fast.mask_ratios", {1: [0, 0.5], 4: [0.6, 1]}),
        "F.attention_configs.fast.mask_ratios.4", "it starts where level 1 ends",
    ),
    (changed("attention_configs.x", 5), "F.attention_configs.x", "a preset is a mapping"),
    (changed("attention_configs.FAST", {}), "F.attention_configs.FAST", "differs from fast"),
    (changed("attention_configs.default", {}), "F.attention_configs.default", "stands for"),
    (changed("attention_configs.a/b", {}), "F.attention_configs.a/b", "a name is made of"),
]  # fmt: skip


def test_videos_in_clips():
    family, issues = read_family("F", changed("video_scale.clip_length", 17))
    assert not issues and family.video_scale == VideoScale(16, 8, 4, 17)
    assert read_family("F", family.to_mapping()) == (family, [])
    whole, _ = read_family("F", changed("video_scale.clip_length", None))
    assert whole.video_scale.clip_length is None
    assert "clip_length" not in read_family("F", SECTION)[0].to_mapping()["video_scale"]


def test_text_that_varies():
    family, issues = read_family("F", changed("text_length", None))
    assert not issues and family.text_length is None
    assert family.to_mapping()["text_length"] is None
    assert read_family("F", family.to_mapping()) == (family, [])
    # part of a known family: absent is as there, null is not
    known, _ = read_family("F", SECTION)
    part = {"attention_configs": {"x": {}}}
    assert read_family("F", part, known)[0].text_length == known.text_length == 226
    assert read_family("F", {**part, "text_length": None}, known)[0].text_length is None


@pytest.mark.parametrize(("section", "path", "words"), BREACHES, ids=lambda x: str(x)[:40])
def test_breaches(section, path, words):
    _, issues = read_family("F", section)
    [issue] = [issue for issue in issues if issue.path == path]
    assert words in issue.text()


def test_names_that_are_no_names():
    for name in ("../F", 5, "", "CON"):
        family, [issue] = read_family(name, SECTION)
        assert family is None
        assert "name" in issue.text()


def test_everything_is_reported_at_once():
    section = {
        "default_attention": "gone",
        "video_scale": {"width_divisor": 0, "height_divisor": "x"},
        "text_length": -5,
        "more": 1,
        "attention_configs": {
            "a": {"block_size": {"n": 100, "m": 5}, "speed": 1},
            "b": 7,
            "c": {"type": "dense"},
        },
    }
    family, issues = read_family("F", section)
    assert family is None
    assert {issue.path for issue in issues} == {
        "F.default_attention",
        "F.video_scale.width_divisor",
        "F.video_scale.height_divisor",
        "F.video_scale.depth_divisor",
        "F.text_length",
        "F.more",
        "F.attention_configs.a.block_size.n",
        "F.attention_configs.a.block_size.m",
        "F.attention_configs.a.speed",
        "F.attention_configs.b",
    }


def test_the_verdict_on_a_preset_is_the_validators():
    bad = {"tail": 5, "block_size": {"n": 99}, "attn_impl": "old", "mask_ratios": {1: [0, 2]}}
    with pytest.raises(ConfigError) as caught:
        PSAConfig.from_preset(bad)
    _, issues = read_family("F", changed("attention_configs.bad", bad))
    prefix = "F.attention_configs.bad."
    assert [issue.path.removeprefix(prefix) for issue in issues] == [
        issue.path for issue in caught.value.issues
    ]
    for issue in issues:
        assert all(key.startswith(prefix) for mend in issue.mends for key in mend.changes)


def test_one_bad_preset_leaves_the_others():
    family, issues = read_family("F", changed("attention_configs.bad", {"tail": 5}))
    assert list(family.attention_configs) == ["baseline", "fast"]
    assert len(issues) == 1
    family, issues = read_family("F", changed("attention_configs.fast", {"tail": 5}))
    assert list(family.attention_configs) == ["baseline"]
    assert family.default_attention == "fast"
    assert len(issues) == 1


def test_a_known_family_lends_its_header():
    base, _ = read_family("F", SECTION)
    part, issues = read_family("F", {"attention_configs": {"mine": {"type": "dense"}}}, base)
    assert issues == []
    assert (part.video_scale, part.text_length) == (base.video_scale, base.text_length)
    assert part.default_attention == "fast"
    assert list(part.attention_configs) == ["mine"]


def test_messages_stay_short():
    section = changed("attention_configs.fast.tail", "x" * 100_000)
    section["text_length"] = ["y"] * 50_000
    _, issues = read_family("F", section)
    assert all(len(issue.text()) < 400 for issue in issues)
    wrong = {f"key{i}": 1 for i in range(50)}
    section = {**SECTION, "attention_configs": {f"p{i}": dict(wrong) for i in range(200)}}
    _, issues = read_family("F", section)
    assert len(issues) <= MAX_ISSUES + 60
    assert any("too many" in issue.found for issue in issues)


CONFIGS = st.builds(
    PSAConfig,
    block_n=st.just(128),
    tail=st.sampled_from(["none", 8, 16, 32, 64, 128]),
    mask_ratios=st.lists(st.floats(0, 1), min_size=4, max_size=4)
    .filter(any)
    .map(lambda uppers: mask_ratios(sorted(uppers))),
    sim_2x_threshold=st.floats(-1, 1),
    warmup_steps=st.integers(0, 1000),
    rearrange_method=st.sampled_from([None, "Gilbert", "STA", "SemanticAware", "Hybrid"]),
    tile_size=st.tuples(*[st.integers(1, 1024)] * 3),
    description=st.text(st.characters(exclude_categories=["Cs"])),
    type=st.sampled_from(["psa", "dense"]),
    verbose=st.booleans(),
)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,20}[A-Za-z0-9_]", fullmatch=True).filter(
    lambda name: name.lower() != "default" and name.split(".")[0].rstrip().upper() not in
    {"CON", "PRN", "AUX", "NUL"} and name[:3].upper() not in {"COM", "LPT"}
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(NAMES, st.dictionaries(NAMES, CONFIGS, min_size=1, max_size=3), st.integers(1, 1024))
def test_text_and_back_without_loss(name, configs, divisor):
    if len({key.lower() for key in configs}) < len(configs):
        return
    family = Family(name, next(iter(configs)), VideoScale(divisor, 8, 4), 7, configs)
    text = dump({name: family.to_mapping()})
    [(key, section)] = parse(text).data.items()
    again, issues = read_family(key, section)
    assert issues == []
    assert again == family
    assert dump({name: again.to_mapping()}) == text
