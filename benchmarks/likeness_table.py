"""The tables of benchmarks/likeness.md: published figures, trained models and made-up inputs.

    python -m benchmarks.likeness_table            prints them, from benchmarks/results
    python -m benchmarks.likeness_table --measure  measures the made-up inputs first; minutes

A model's column is there where results/structure-NAME.json is: `structure.json` of
`python -m benchmarks.quality --part structure`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from . import profiles
from .likeness import Look

RESULTS = Path(__file__).resolve().parent / "results"
PROFILES = RESULTS / "likeness-profiles.json"
GRID, HEADS, DIM, SEED = (8, 32, 32), 16, 128, 0

Values = list[float]


def mean(values: Values) -> str:
    return _short(statistics.fmean(values))


def with_range(values: Values) -> str:
    return f"{mean(values)} [{_short(min(values))}, {_short(max(values))}]"


def ends(values: Values) -> str:
    return f"{_short(min(values))} to {_short(max(values))}"


def with_worst(values: Values) -> str:
    return f"{mean(values)} / {_short(fifth(values))} / {_short(min(values))}"


def most(values: Values) -> str:
    return _short(max(values))


def fifth(values: Values) -> float:
    """The 5th percentile."""
    return torch.tensor(values).quantile(0.05).item()


def _short(x: float) -> str:
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}" if abs(x) >= 1.5 else f"{x:.3f}"


# label, figure, what of it, published
ROWS: tuple[tuple[str, str, Callable[[Values], str], str], ...] = (
    ("blocks of 128 x 32 for 95.9% of the mass", "blocks_0.959", with_range, "0.466"),
    ("for 99%", "blocks_0.99", with_range, "0.661"),
    ("for 99.9%", "blocks_0.999", with_range, "0.835"),
    ("weights above 1/N", "above_even", with_range, "0.081"),
    ("mass outside the top 8.1% of the keys", "outside_top", with_range, "0.33"),
    ("mass in the lowest 45%", "lowest", with_range, "below 0.03"),
    ("stable rank without the top 8.1%", "stable_rank", with_range, "about 9"),
    ("mass in the nearest 15.5% of space", "near", with_range, "0.70"),
    ("recall, our estimator: mean / 5th percentile / worst head", "recall_own", with_worst,
     "0.913 / 0.870 / 0.736"),
    ("blocks it takes", "taken_own", mean, ""),
    ("recall, mean query x mean key", "recall_mean_query", with_worst, "0.900 / 0.840 / 0.691"),
    ("blocks it takes", "taken_mean_query", mean, ""),
    ("std of a query's logits, heads", "std", ends, ""),
    ("effective rank of q", "rank_q", mean, ""),
    ("of k", "rank_k", mean, ""),
    ("of v", "rank_v", mean, ""),
    ("mean of k, length / rms of k", "mean_k", with_range, ""),
    ("largest channel mean of k / rms of a channel", "largest_channel", with_range, ""),
    ("mass of the 4 keys that get most, highest head", "sinks", most, ""),
    ("variance of v inside groups of 8", "rough_v", mean, ""),
    ("share of blocks in a plan for 99%", "plan_share", mean, ""),
    ("mass in it at the last step: mean, [worst head, best]", "plan_at_last", with_range, "0.987"),
)  # fmt: skip
# of single layers and steps
BRIEF = ("blocks_0.99", "outside_top", "lowest", "stable_rank", "near", "recall_own", "std",
         "rank_k", "mean_k", "plan_holds")  # fmt: skip
BRIEF_LABELS = ("99% of the mass in", "outside top 8.1%", "lowest 45%", "stable rank", "near",
                "recall", "std", "rank of k", "mean of k", "plan of step 3 holds")  # fmt: skip


def models() -> dict[str, dict]:
    """name -> what `--part structure` found."""
    files = sorted(RESULTS.glob("structure-*.json"), key=lambda file: file.stem)
    return {
        file.stem.removeprefix("structure-"): json.loads(file.read_text(encoding="utf-8"))
        for file in files
    }


def gathered(calls: list[dict]) -> dict[str, Values]:
    """figure -> of every head of every call; `plan_at_last`: of the last step's alone."""
    last = max(call["step"] for call in calls)
    found: dict[str, Values] = {}
    for call in calls:
        for name, values in call["figures"].items():
            found.setdefault(name, []).extend(values)
            if name == "plan_holds" and call["step"] == last:
                found.setdefault("plan_at_last", []).extend(values)
    return found


def tables() -> Iterator[str]:
    trained = models()
    yield from of_models(trained)
    made = json.loads(PROFILES.read_text(encoding="utf-8"))["profiles"]
    yield ""
    yield from _beside(made)


def of_models(trained: dict[str, dict]) -> Iterator[str]:
    """Published figures beside those of some models, and each model's by layer and step."""
    yield from _beside({name: gathered(data["calls"]) for name, data in trained.items()})
    for name, data in trained.items():
        yield ""
        yield f"{name}:"
        yield from _by_place(data["calls"])


def _beside(columns: dict[str, dict[str, Values]]) -> Iterator[str]:
    yield f"| | published | {' | '.join(columns)} |"
    yield "|---|" + "---|" * (1 + len(columns))
    for label, figure, tell, published in ROWS:
        cells = [tell(x[figure]) if figure in x else "" for x in columns.values()]
        if any(cells):
            yield f"| {label} | {published} | {' | '.join(cells)} |"


def _by_place(calls: list[dict]) -> Iterator[str]:
    """Means over heads: of each layer over the steps, and of each step over the layers."""
    yield f"| | {' | '.join(BRIEF_LABELS)} |"
    yield "|---|" + "---|" * len(BRIEF)
    for place in ("layer", "step"):
        for number in sorted({call[place] for call in calls}):
            found = gathered([call for call in calls if call[place] == number])
            cells = (mean(found[name]) if name in found else "" for name in BRIEF)
            yield f"| {place} {number} | {' | '.join(cells)} |"


def measure() -> None:
    look, found = Look(GRID), {}
    source = profiles.Source((HEADS, DIM, GRID, 0), "cpu", torch.float32, SEED)
    for name in profiles.ALL:
        figures = look.at(*source.of(name)).figures
        found[name] = {key: [round(x, 5) for x in values] for key, values in figures.items()}
        print(name, flush=True)
    about = {"grid": GRID, "heads": HEADS, "dim": DIM, "seed": SEED, "torch": torch.__version__}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(x)}" for name, x in found.items())
    text = f'{{"run": {json.dumps(about)}, "profiles": {{\n{lines}\n}}}}\n'
    PROFILES.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="measure the made-up inputs again")
    if parser.parse_args().measure:
        measure()
    print("\n".join(tables()))


if __name__ == "__main__":
    main()
