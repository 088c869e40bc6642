"""The tables of benchmarks/like-keys.md, from the runs' data: python -m
benchmarks.quality.like_keys_tables prints them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .spread import paired, spread

RESULTS = Path(__file__).resolve().parents[1] / "results"
QUALITY = "quality-like-keys"
CALLS = {
    "like-keys-720p": "40 heads, 75,600 tokens, D 128",
    "like-keys-480p": "12 heads, 32,760 tokens, D 128",
    "like-keys-cogvideox": "24 heads, 17,776 tokens (226 text), D 64",
}
LENGTHS = "like-keys-lengths"
CURVE = ", along the curve"


def load(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def tables() -> Iterator[str]:
    """Lines of every table, each with a line before it that names the run."""
    for run in load(QUALITY)["runs"]:
        yield f"{run['name']}:"
        yield from _quality(run)
    for name, title in CALLS.items():
        yield from _calls(load(name)["rows"], title)
    yield from _lengths(load(LENGTHS)["rows"])


def _quality(run: dict) -> Iterator[str]:
    yield "| setting | density | all steps | clips | PSNR, dB | to the first row |"
    yield "|---|---|---|---|---|---|"
    first = {}
    for row in run["rows"]:
        psnr = row["psnr"]
        if not psnr:
            continue
        begins = not row["against"]
        if begins:
            first = psnr
        label = row["label"]
        if begins and row["table"].startswith("like keys, "):
            label = f"**{row['table'].removeprefix('like keys, ')}**, {label}"
        difference = ""
        if not begins:
            found = paired(psnr, first)
            low, high = found.mean - found.half, found.mean + found.half
            difference = f"{found.mean:+.2f} [{low:+.2f}, {high:+.2f}]"
        mean = spread(list(psnr.values()))
        yield (
            f"| {label} | {row['density']:.3f} | {row['overall_density']:.3f} | {mean.count} | "
            f"{mean.mean:.2f} | {difference} |"
        )


def _calls(rows: list[dict], title: str) -> Iterator[str]:
    profiles = list(dict.fromkeys(row["profile"] for row in rows))
    yield f"| {title} | ms | x dense | density | rel-L2 {' / '.join(profiles)} | extra MiB |"
    yield "|---|---|---|---|---|---|"
    timed = [row for row in rows if row["profile"] == profiles[0] and row["ms"]]
    for row in sorted(timed, key=lambda row: row["ms"]):
        same = [
            other for profile in profiles for other in rows
            if (other["method"], other["order"], other["profile"])
            == (row["method"], row["order"], profile)
        ]  # fmt: skip
        errors = " / ".join(f"{x['error']:.4f}".removeprefix("0") for x in same)
        name = row["method"].removeprefix("PSA ") + CURVE * (row["order"] == "curve")
        name = f"**{name}**" if row["kind"] == "psa" else name
        density = f"{row['density']:.3f}" if row["density"] else ""
        yield (
            f"| {name} | {row['ms']:.2f} | {row['ratio']:.2f} | {density} | {errors} | "
            f"{row['extra_bytes'] / 2**20:.0f} |"
        )


def _lengths(rows: list[dict]) -> Iterator[str]:
    yield "| heads, tokens | fastest dense, ms | token order | like keys, anew | kept |"
    yield "|---|---|---|---|---|"
    for row in rows:
        dense = min(row["FlashAttention-3"], row["SDPA cuDNN"])
        times = (dense, row["order"], row["similar anew"], row["similar kept"])
        cells = " | ".join(f"{ms:.2f}" for ms in times)
        yield f"| {row['heads']}, {row['tokens']:,} | {cells} |"


if __name__ == "__main__":
    print("\n".join(tables()))
