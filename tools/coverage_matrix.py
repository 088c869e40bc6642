"""Writes the tables of docs/models.md, models and features, from the tests that passed.

    python -m pytest tests/nodes -m covers --write-coverage docs/coverage
    python -m tools.coverage_matrix

The first command, once with each ComfyUI, runs the tests that are marked with what they show
(tests/coverage_record.py) and keeps what passed in docs/coverage/VERSION.json; this one turns those
files into the table. A test compares the two.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "coverage"
PAGE = ROOT / "docs" / "models.md"

# What a test can show of a model family, with what the table's heading means.
FEATURES = {
    "sparse & exact": "calls are sparse where the plan says so, and with every block at full "
    "resolution the result is the dense one, to rounding",
    "odd sizes": "latents that the patch size does not divide, one frame, grids one token high",
    "batch 3": "three videos at once",
    "CFG split": "prompt and negative prompt in separate calls",
    "context windows": "ComfyUI's context windows over a longer video",
    "references": "reference, context, pose or motion tokens that the model takes in addition to "
    "the latent; like text, they are always read in full",
}
# What a family does not have, and why: feature -> family -> reason. Declared here and nowhere else;
# a test marked with such a pair is refused (tests/coverage_record.py), and so is a recorded pass.
IMAGES = "it makes images, which have no frames to divide into windows"
TEXT_ONLY = "besides the latent it takes only text"
IN_THE_LATENT = (
    "a start image or start frames are in the latent, in additional channels or in "
    "cross-attention, not in tokens of their own"
)
CONTROL = "its control video has blocks of its own, and a reference image is a frame of the latent"
ADDED = "the latent that it decodes is added to the image's tokens"
BLOCK_BY_BLOCK = "its own sampler makes each frame from earlier frames that the model has kept"
ABSENT = {
    "context windows": {
        **dict.fromkeys(
            (
                "AuraFlow", "Boogu", "Chroma", "Chroma Radiance", "Flux 2", "Flux, Kontext",
                "HiDream-I1", "HunyuanImage 2.1", "Ideogram 4", "JoyImage Edit",
                "Kandinsky 5 Image", "Krea 2", "LongCat-Image", "Lumina 2", "Mage-Flow",
                "OmniGen 2", "PiD", "PixelDiT", "Qwen-Image, Edit", "SD 3, 3.5 Large",
                "SD 3.5 Medium", "Z-Image", "Z-Image in pixel space",
            ),
            IMAGES,
        ),
        "Wan causal (AR video)": BLOCK_BY_BLOCK,
    },
    "references": {
        **dict.fromkeys(
            (
                "Anima", "AuraFlow", "Chroma", "Chroma Radiance", "HunyuanImage 2.1", "Ideogram 4",
                "Kandinsky 5 Image", "Lumina 2", "Mochi", "PixelDiT", "SD 3, 3.5 Large",
                "SD 3.5 Medium", "Wan 2.1, 2.2 text to video",
            ),
            TEXT_ONLY,
        ),
        **dict.fromkeys(
            (
                "CogVideoX, CogVideoX 1.5", "Cosmos 1", "Cosmos-Predict2", "Kandinsky 5",
                "Wan 2.1 first and last frame", "Wan 2.1, 2.2 image to video", "Wan 2.2 5B",
                "Wan 2.2 Fun Camera", "Wan Fun Camera", "Wan InfiniteTalk",
            ),
            IN_THE_LATENT,
        ),
        "PiD": ADDED,
        "Wan VACE": CONTROL,
        "Wan causal (AR video)": BLOCK_BY_BLOCK,
    },
}  # fmt: skip
# The second table: what was tested together with PSA on the tiny Wan 2.1, both with full effect.
BESIDE = "Wan 2.1, beside"
PARTNERS = {
    "other packs' attention overrides": "before and after PSA; also one that wraps what it finds",
    "Model Attention Backend": "ComfyUI 0.33's node; on 0.3.75, which does not have it, an "
    "override that does the same",
    "ComfyUI's sparse attention node": "a rebuild of ComfyUI 0.38's node; that version "
    "itself was not run",
    "TorchCompileModel": (
        "backend eager, in both orders, whole models and single blocks, with LoRAs changed in "
        "between: graphs, breaks and recompilations are those of the model alone; random faults "
        "inside a graph; Inductor on one block on a CPU, on whole models and with CUDA graphs "
        "on an H200"
    ),
    "LoRA": "LoraLoaderModelOnly, from run to run; by hooks on one condition",
    "fp8 weights": "UNETLoader with fp8_e4m3fn and fp8_e5m2",
    "quantised weights": "operations that dequantise in each call, as with GGUF loaders",
    "partly loaded models": "weights offloaded, LoRAs applied at each call",
    "EasyCache, LazyCache": "steps that they skip are not counted",
    "patched attention": "more attention calls, of other sizes, as in packs that bring NAG to Wan; "
    "patched and skipped blocks",
    "NAGuidance": "ComfyUI's node, which has no effect on Wan: nothing breaks",
    "VACE, Fun control": "through ComfyUI's nodes, VACE with a reference image too",
    "regions, time ranges": "masks, areas with grids of their own, prompts one after another",
    "context windows": "WanContextWindowsManual",
    "every sampler": "ComfyUI's own samplers, guiders, ModelSamplingSD3",
    "two experts": "two models, two KSamplerAdvanced, one warm-up",
    "models unloaded and freed": "between runs, and other models loaded during a run",
    "start flags": "on a CPU: split, sub-quadratic and PyTorch attention, half precision, "
    "smart memory off",
}
# How a test left a family's attention: SPARSE, CANNOT (the model itself refuses), or DENSE and why.
SPARSE, CANNOT, DENSE = "sparse", "cannot", "dense: "
REFUSED = "ComfyUI's own model refuses it"
NO_SUCH_THING = "\u2013"

START = "<!-- coverage: written by tools/coverage_matrix.py from docs/coverage -->"
END = "<!-- end of coverage -->"


def recorded() -> dict[str, dict[str, dict[str, str]]]:
    """ComfyUI version -> family -> feature -> outcome; the oldest version first."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")]
    return {file["comfyui"]: file["families"] for file in sorted(files, key=_version)}


def _version(file: dict[str, Any]) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", file["comfyui"])]


def table(versions: dict[str, dict[str, dict[str, str]]]) -> str:
    """The meaning of the headings, the table and its footnotes, in Markdown.

    Raises ValueError where a test passed for what ABSENT says the model does not have.
    """
    families = {family for found in versions.values() for family in found} - {BESIDE}
    families = sorted(families, key=str.lower)
    reasons: list[str] = []
    rows = [["model", *FEATURES], ["---"] * (1 + len(FEATURES))]
    for family in families:
        row = [family]
        for feature in FEATURES:
            outcomes = {
                version: found[family].get(feature)
                for version, found in versions.items()
                if family in found
            }
            reason = ABSENT.get(feature, {}).get(family)
            if reason is None:
                row.append(_cell(outcomes, reasons))
            elif any(outcomes.values()):
                raise ValueError(f"{family}, {feature}: a test passed, and ABSENT says {reason!r}")
            else:
                row.append(_with_footnote(NO_SUCH_THING, reason, reasons))
        rows.append(row)
    return "\n".join(
        [
            *(f"- *{feature}*: {meaning}." for feature, meaning in FEATURES.items()),
            f"- *n/a*: {REFUSED}; {NO_SUCH_THING}: the model does not have it.",
            "",
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
            *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)),
        ]
    ).rstrip() + _partners(versions)


def _partners(versions: dict[str, dict[str, dict[str, str]]]) -> str:
    """The second table."""
    found = {
        version: families[BESIDE] for version, families in versions.items() if BESIDE in families
    }
    rows = [["together with PSA, on Wan 2.1", "tested", "ComfyUI"], ["---"] * 3]
    for partner, meaning in PARTNERS.items():
        cell = _cell({version: outcomes.get(partner) for version, outcomes in found.items()}, [])
        rows.append([partner, meaning, cell])
    return "\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(outcomes: dict[str, str | None], reasons: list[str]) -> str:
    """`outcomes`: version -> outcome, of the versions that have the model."""
    sparse = [version for version, outcome in outcomes.items() if outcome == SPARSE]
    others: dict[str, list[str]] = {}
    for version, outcome in outcomes.items():
        if outcome is not None and outcome != SPARSE:
            others.setdefault(_other(outcome, reasons), []).append(version)
    parts = [", ".join(sparse)] if sparse else []
    for text, where in others.items():
        everywhere = len(where) == len(outcomes)
        parts.append(text if everywhere else f"{text} ({', '.join(where)})")
    return "; ".join(parts)


def _other(outcome: str, reasons: list[str]) -> str:
    if outcome == CANNOT:
        return "n/a"
    return _with_footnote("dense", outcome.removeprefix(DENSE), reasons)


def _with_footnote(text: str, reason: str, reasons: list[str]) -> str:
    if reason not in reasons:
        reasons.append(reason)
    return f"{text}<sup>{reasons.index(reason) + 1}</sup>"


def with_table(page: str, text: str) -> str:
    """The page's text with the table between the two comments replaced."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{PAGE.name} has no table between {START!r} and {END!r}")
    return f"{before}{START}\n\n{text}\n\n{END}{after}"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(page, table(recorded())), encoding="utf-8")


if __name__ == "__main__":
    main()
