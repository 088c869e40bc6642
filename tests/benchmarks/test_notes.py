"""The tables of single calls in benchmarks/NOTES.md and README are what their runs' JSON says."""

import json
import re
from functools import cache

import pytest

from ..pack_import import ROOT

NOTES, README = ROOT / "benchmarks" / "NOTES.md", ROOT / "README.md"
# how the tables write a method -> how the JSON does
NAMES = {"second moment": "2nd moment", "the default": "default", "its default": "default"}
# first cell of a table's heading -> (file, shape)
SPEED = "FlashAttention-3 | PSA: 5% full, 15% at 8x, tail 32 | relative error"
TABLES = {
    "40 heads, 75,600 tokens, D 128": ("720p-medium", "wan14b-720p"),
    "12 heads, 32,760 tokens, D 128": ("480p", "wan1.3b-480p"),
    "24 heads, 17,776 tokens (226 text), D 64": ("cogvideox", "cogvideox"),
}


@cache
def rows_of(name):
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["environment"]["gpu"] == "NVIDIA H100 80GB HBM3"
    return results["rows"]


def measured(name, shape, method, profile="medium", order="caller"):
    (row,) = (
        row for row in rows_of(name)
        if (row["shape"], row["method"], row["profile"], row["order"])
        == (shape, method, profile, order)
    )  # fmt: skip
    return row


def table(path, heading):
    """The cells of each row of the table whose heading begins like this."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if f"| {heading} |" in line)
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def asked(cell):
    """(method, order) of a table's first cell."""
    name, order = cell.strip("*"), "caller"
    ours = cell.startswith("**")
    if name.endswith(", along the curve"):
        name, order = name.removesuffix(", along the curve"), "curve"
    for written, meant in NAMES.items():
        name = name.replace(written, meant)
    return (f"PSA {name}" if ours else name), order


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_of_methods(heading):
    name, shape = TABLES[heading]
    rows = table(NOTES, f"{heading} | ms")
    assert len(rows) >= 10
    for cell, ms, _, density, errors, _ in rows:
        method, order = asked(cell)
        row = measured(name, shape, method, order=order)
        assert ms == f"{row['ms']:.2f}", cell
        assert not density or float(density) == pytest.approx(row["density"], abs=6e-4), cell
        medium = errors.split(" / ")[1]
        assert float(medium) == pytest.approx(row["error"], abs=6e-5), cell


def test_the_errors_of_other_profiles_at_75_600_tokens():
    for cell, *_, errors, _ in table(NOTES, "40 heads, 75,600 tokens, D 128 | ms"):
        method, order = asked(cell)
        peaked, _, flat = map(float, errors.split(" / "))
        for profile, error in (("peaked", peaked), ("flat", flat)):
            row = measured("720p-peaked-and-flat", "wan14b-720p", method, profile, order)
            assert error == pytest.approx(row["error"], abs=6e-5), (cell, profile)


def test_time_against_tokens():
    methods = (
        "FlashAttention-3", "SDPA cuDNN", "PSA 5% full, tail 64, 2nd moment",
        "PSA 5% full, 15% at 8, tail 32, 2nd moment",
    )  # fmt: skip
    rows = table(NOTES, "tokens | FlashAttention-3")
    assert len(rows) == 9
    for tokens, *cells in rows:
        shape = f"{tokens.replace(',', '')} tokens"
        for method, cell in zip(methods, cells, strict=True):
            if not cell or "another run" in cell:
                continue
            found = next(r["ms"] for r in rows_of("lengths")
                         if (r["shape"], r["method"]) == (shape, method))  # fmt: skip
            ms = float(re.match(r"[\d,]+\.?\d*", cell)[0].rstrip(",").replace(",", ""))
            assert ms == pytest.approx(found, rel=6e-3), (tokens, method)


def test_the_readmes_speed_of_single_calls():
    rows = dict(zip(TABLES, table(README, SPEED), strict=True))
    method = "PSA 5% full, 15% at 8, tail 32"
    for heading, (_, dense, ours, error) in rows.items():
        name, shape = TABLES[heading]
        row = measured(name, shape, method)
        assert dense == f"{measured(name, shape, 'FlashAttention-3')['ms']:.1f} ms"
        assert ours == f"{row['ms']:.1f} ms"
        assert error == f"{row['error']:.3f}"
