"""benchmarks/deciding.md says what the runs' data say."""

import hashlib
import json

import pytest

from psa_pack.benchmarks.quality import decide_tables as tables
from psa_pack.presets.store import PresetStore

from ..pack_import import ROOT

PAGE = (ROOT / "benchmarks" / "deciding.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARED, PRESETS = (
    " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
    for page in ("speed-and-quality.md", "presets.md")
)
CHOOSING, CONFIRMING, BESIDE, IN_INT8 = (tables.load(name) for name in tables.SHOWN)
SMALL, SEED, LAYERS = tables.MODELS
GRID = (8, 32, 32)
FALLING = {
    "fast": "2 dense, falling 3:2:1", "balanced": "3 dense, falling 3:2:1",
    "faithful": "4 dense, falling 3:2:1",
}  # fmt: skip


def test_its_tables_are_the_data_s():
    made = [line for line in tables.tables() if line.startswith("|")]
    assert len(made) > 120
    assert sorted(x for x in PAGE.splitlines() if x.startswith("|")) == sorted(made)


def run(model=SMALL, steps=20, runs=CHOOSING, grid=GRID):
    return next(r for r in tables.runs_of(runs, grid, steps) if r["model"] == model)


def gain(preset, label, over="as shipped", model=SMALL, **where):
    return tables.gain(run(model, **where), f"decide, cost of {preset}", label, over)


def in_balanced(label, over="as shipped, like keys"):
    """dB on each of the three models."""
    return [gain("balanced", label, over, model) for model in tables.MODELS]


def narrow(preset=None):
    """dB of blocks of 128 x 64 wherever they were tried: for `balanced`, or else for all others."""
    if preset:
        return in_balanced("6 dense, blocks 128 x 64", "6 dense, tail 64")
    tried = [("faithful", "8 dense, nothing dropped", {"model": x}) for x in tables.MODELS]
    tried.append(("faithful", "8 dense, nothing dropped", {"grid": (16, 32, 32)}))
    four = ("lora_4step", "1 dense, nothing dropped")
    tried += [(*four, {"model": x, "steps": 4}) for x in tables.MODELS]
    return [gain(name, f"{label}, blocks 128 x 64", label, **where) for name, label, where in tried]


def spread(values):
    """The least and the most of them."""
    found = list(values)
    return min(found), max(found)


def spread_of_dense(preset):
    """dB between the best and the worst of the numbers of dense steps before a falling budget."""
    rows = [row for row in run()["rows"] if row["table"] == f"decide, cost of {preset}"]
    found = [tables.mean(row, "psnr") for row in rows
             if row["label"] in {f"{n} dense, falling 3:2:1" for n in range(1, 5)}]  # fmt: skip
    return max(found) - min(found)


def over_former(preset, **where):
    former = f"former_{preset}"
    return tables.gain(run(runs=CONFIRMING, **where), "presets", preset, former)


def in_int8(preset, steps=20):
    table, label = f"decide, cost of {preset}", "as shipped, int8 products"
    return tables.gains(run(runs=IN_INT8, steps=steps), table, label, "as shipped")


def beside(table, label):
    (found,) = (row for row in BESIDE[0]["rows"]
                if row["table"].startswith(table) and row["label"] == label)  # fmt: skip
    return found


def over_peer(preset, peer):
    """dB that a preset is better, and its time beside the peer's."""
    own, other = beside("peers", f"PSA {preset}"), beside("peers", peer)
    return (tables.mean(own, "psnr") - tables.mean(other, "psnr"),
            own["ms"]["run"] / other["ms"]["run"])  # fmt: skip


def calibrated(preset, label="calibrated"):
    table = f"calibrated at the density of {preset}"
    return tables.gain(BESIDE[0], table, label, "the preset")


def over_gilbert(order):
    table = "order of the tokens, density 0.2"
    return tables.gain(BESIDE[0], table, order, "Gilbert")


NODE, SOL = (f"comfy-kitchen sol_attn tau {x}" for x in ("1.3, token_aug 256", "1.5"))


@pytest.mark.parametrize(
    "words, values",
    [
        ("{:.1f} dB more for `fast`, {:.1f} for `balanced`, {:.1f} for `faithful`",
         [gain(preset, label) for preset, label in FALLING.items()]),
        ("{:.1f} for four steps and {:.1f} for eight",
         [gain("lora_4step", "1 dense, falling 2:2:1", steps=4),
          gain("lora_4step", "1 dense, falling 3:2:1", steps=8)]),
        ("is **{:.1f}, {:.1f} and {:.1f} dB** worse",
         [gain(preset, label, "2 dense, block-sparse, falling 3:2:1")
          for preset, label in FALLING.items()]),
        ("loses {:.1f} dB on the shipped model at a density of 0.16 and {:.1f} and {:.1f} on the",
         [-x for x in in_balanced("6 dense, rest dropped")]),
        ("without it {:.1f}, {:.1f} and {:.1f} dB are lost",
         [-x for x in in_balanced("6 dense, tail 128, no second moment")]),
        ("128 x 64 is {:.1f} dB worse to {:.1f} better at the cost of `balanced`, and {:.1f} worse "
         "to {:.1f} better",
         [-min(narrow("balanced")), max(narrow("balanced")), -min(narrow()), max(narrow())]),
        ("5% to 20% are within {:.1f} dB",
         [max(map(spread_of_dense, FALLING))]),
        ("had are {:.1f} dB better than 3 and a falling one",
         [gain("balanced", "as shipped, like keys", FALLING["balanced"], grid=(16, 32, 32))]),
        ("products change the first three by {:+.2f}, {:+.2f} and {:+.2f} dB, all within chance, "
         "and `faithful` by {:+.2f}",
         [in_int8("fast").mean, in_int8("balanced").mean, in_int8("lora_4step", 8).mean,
          in_int8("faithful").mean]),
        ("At 20 steps `fast` gains {:.1f} dB, `balanced` {:.1f}, `faithful` {:.1f}",
         [over_former(preset) for preset in FALLING]),
        ("at 16,384 tokens {:.1f}, {:.1f}, {:.1f}",
         [over_former(preset, grid=(16, 32, 32)) for preset in FALLING]),
        ("At 32,768 tokens `fast` has {:.1f} dB, `balanced` {:.1f}, `faithful` {:.1f}",
         [tables.mean(tables.row_of(run(runs=CONFIRMING, grid=(32, 32, 32)), "presets", x), "psnr")
          for x in FALLING]),
        ("{:.1f} dB at the density of `fast`, {:.1f} at that of `balanced`, {:.1f} at that of",
         [calibrated(preset) for preset in FALLING]),
        ("not by their root, gain {:.1f}, {:.1f} and {:.1f}",
         [calibrated(preset, "probes taken whole") for preset in FALLING]),
        ("`balanced` is {:.1f} dB better in {:.2f} of the time and", over_peer("balanced", NODE)),
        ("and `faithful` {:.1f} dB in {:.2f} of it", over_peer("faithful", NODE)),
        ("stays {:.1f} dB below `balanced` at tau 1.5",
         [over_peer("balanced", f"{SOL}, along the curve")[0]]),
        ("`SemanticAware` and `Hybrid` are {:.1f} and {:.1f} dB better than Gilbert",
         [over_gilbert(order) for order in ("SemanticAware", "Hybrid")]),
    ],
)  # fmt: skip
def test_a_figure_in_its_words(words, values):
    assert words.format(*values) in WORDS


BLOCK_SPARSE = [(label, "2 dense, block-sparse, falling 3:2:1") for label in FALLING.values()]
FOUR = (f"{name}lora_4step, 4 sampler steps" for name in ("", "former_"))


@pytest.mark.parametrize(
    "page, words, values",
    [
        (COMPARED, "clips of this size that were not used to choose anything have a mean of {:.1f} "
         "and {:.1f} dB",
         [tables.mean(tables.row_of(run(runs=CONFIRMING, grid=(16, 32, 32)), "presets", preset),
                      "psnr") for preset in ("balanced", "fast")]),
        (COMPARED, "keeps or drops whole blocks is {:.0f} to {:.0f} dB worse at equal cost",
         spread(gain(preset, *labels)
                for preset, labels in zip(FALLING, BLOCK_SPARSE, strict=True))),
        (COMPARED, "trained for minutes, it is {:.0f} to {:.0f} dB worse",
         spread(gain(preset, *labels, model)
                for preset, labels in zip(FALLING, BLOCK_SPARSE, strict=True)
                for model in (SEED, LAYERS))),
        (COMPARED, "former settings are {:.1f} to {:.1f} dB worse",
         spread([*map(over_former, FALLING),
                 tables.gain(run(runs=CONFIRMING), "presets", *FOUR)])),
        (COMPARED, "`Hybrid` and `SemanticAware` orders are {:.1f} and {:.1f} dB better than",
         [over_gilbert(order) for order in ("Hybrid", "SemanticAware")]),
        (COMPARED, "`sol_attn` at tau 1.5, `balanced` is {:.1f} dB better",
         [over_peer("balanced", SOL)[0]]),
        (COMPARED, "tokens added) `balanced` is {:.1f} dB better in {:.2f} of",
         over_peer("balanced", NODE)),
        (COMPARED, "`faithful` is {:.1f} dB better than FlashAttention-3 in fp8, in {:.2f} of its "
         "time", over_peer("faithful", "FlashAttention-3 fp8")),
        (PRESETS, "{:.1f} dB at the cost of `faithful`, {:.1f} at that of `balanced`, {:.1f} at "
         "that of `fast`", [calibrated(preset) for preset in ("faithful", "balanced", "fast")]),
    ],
)  # fmt: skip
def test_a_figure_where_users_read_it(page, words, values):
    assert words.format(*values) in page


def test_what_was_decided_holds_on_every_model():
    for model in tables.MODELS:
        for preset, label in FALLING.items():
            assert gain(preset, label, model=model) > 4.5
            assert gain(preset, label, "2 dense, block-sparse, falling 3:2:1", model) > 7
            assert 0.4 < gain(preset, "as shipped, like keys", model=model) < 4.6
    assert all(x < 0.5 for x in in_balanced("6 dense, exact importance"))
    assert all(-10.3 < x < -4 for x in in_balanced("6 dense, mass thresholds"))
    tails = [in_balanced(f"6 dense, tail {tail}") for tail in (16, 32, 64)]
    assert all(x > 0 for tail in tails for x in tail)


def test_the_presets_that_int8_leaves_alone_have_it():
    store = PresetStore(ROOT / "presets", ROOT / "none")
    for preset, steps in [(x, 20) for x in FALLING] + [("lora_4step", 8)]:
        found = in_int8(preset, steps)
        worse = found.mean + found.half < 0
        for family in store.list().families:
            assert store.get(family.name, preset).qk == ("half" if worse else "auto")


def test_psa_is_above_every_peer_that_takes_as_long():
    rows = [row for row in BESIDE[0]["rows"] if row["table"].startswith("peers")]
    own = [row for row in rows if row["label"] in {f"PSA {preset}" for preset in FALLING}]
    others = [row for row in rows if not row["label"].startswith("PSA")]
    assert len(own) == 3 and len(others) > 15
    for row in own:
        slower = [x for x in others if x["ms"]["run"] <= 1.05 * row["ms"]["run"]]
        assert slower
        assert all(tables.mean(x, "psnr") < tables.mean(row, "psnr") - 3 for x in slower)


def test_the_picture_is_drawn_from_the_data(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from psa_pack.benchmarks.quality import against_time

    against_time.main(str(tmp_path / "made.png"))
    sizes = []
    for path in (tmp_path / "made.png", ROOT / "docs" / "quality-time.png"):
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes[0] == sizes[1]


def test_what_is_confirmed_costs_less_at_20_steps():
    for preset in FALLING:
        new, former = (tables.row_of(run(runs=CONFIRMING), "presets", name)
                       for name in (preset, f"former_{preset}"))  # fmt: skip
        assert tables.mean(new, "overall_density") < tables.mean(former, "overall_density")
        assert over_former(preset) > 2 and over_former(preset, steps=50) > 5


@pytest.mark.parametrize(
    "preset", ["faithful", "balanced", "fast", "lora_4step, 4 sampler steps"]
)  # fmt: skip
def test_the_readmes_table_is_the_data_s(preset):
    row = tables.row_of(run(runs=CONFIRMING), "presets", preset)
    name, *steps = preset.split(", ")
    label = f"`{name}`" + ", 4 steps" * len(steps)
    cost, psnr, ssim, haarpsi = (
        tables.mean(row, figure) for figure in ("overall_density", "psnr", "ssim", "haarpsi")
    )
    assert f"| {label} | {cost:.0%} | {psnr:.1f} dB | {ssim:.2f} | {haarpsi:.2f} |" in README


def test_the_readmes_picture_is_of_the_shipped_model_and_its_figures_are_those_of_the_clip():
    readme = " ".join(README.split())
    path = ROOT / "benchmarks" / "results" / "quality-picture.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    model = ROOT / "examples" / "small_wan" / "small_wan.safetensors"
    assert about["model"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert about["picture"] in readme and f'"{about["prompt"]}"' in readme
    balanced, fast = about["presets"]["balanced"], about["presets"]["fast"]
    assert f"has {balanced['psnr']:.1f} dB PSNR and {balanced['ssim']:.2f} SSIM" in readme
    assert f"{fast['psnr']:.1f} dB and {fast['ssim']:.2f}" in readme
