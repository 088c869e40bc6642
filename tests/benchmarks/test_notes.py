"""The tables of calls and steps in NOTES.md, README and docs are what the runs' JSON says."""

import json
import re
from functools import cache

import pytest

from ..pack_import import ROOT

NOTES, README = ROOT / "benchmarks" / "NOTES.md", ROOT / "README.md"
PAGE = ROOT / "docs" / "speed-and-quality.md"
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


def test_the_pages_speed_of_single_calls():
    rows = dict(zip(TABLES, table(PAGE, SPEED), strict=True))
    method = "PSA 5% full, 15% at 8, tail 32"
    for heading, (_, dense, ours, error) in rows.items():
        name, shape = TABLES[heading]
        row = measured(name, shape, method)
        assert dense == f"{measured(name, shape, 'FlashAttention-3')['ms']:.1f} ms"
        assert ours == f"{row['ms']:.1f} ms"
        assert error == f"{row['error']:.3f}"


# --- whole steps

SIZES = {
    ("14B", "720p"): "75,600", ("14B", "480p"): "32,760",
    ("1.3B", "720p"): "75,600", ("1.3B", "480p"): "32,760",
}  # fmt: skip
OWN = "ComfyUI's own (attention_pytorch)"


def steps_of(model, video):
    """The rows of the run of that size; dense attention is the first and the last of them."""
    path = ROOT / "benchmarks" / "results" / f"steps-{model.lower()}.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    (rows,) = (run["rows"] for run in runs if run["video"] == video)
    assert rows[0]["way"] == rows[-1]["way"] == OWN
    return rows


@pytest.mark.parametrize(("model", "video"), SIZES)
def test_a_table_of_steps(model, video):
    rows = steps_of(model, video)
    shown = table(NOTES, f"Wan {model}, {video}: {SIZES[model, video]} tokens | s a step")
    assert len(shown) == len(rows)
    for row, (cell, seconds, attention, gain, density, error) in zip(rows, shown, strict=True):
        way = re.sub("[*`]", "", cell)
        assert row["way"] == (OWN if way.startswith("ComfyUI's own") else way)
        assert seconds == f"{row['seconds']:.3f}", cell
        assert attention == f"{row['attention']:.3f}", cell
        assert gain == f"{rows[0]['seconds'] / row['seconds']:.2f}", cell
        if row["report"]:
            assert float(density) == pytest.approx(row["report"]["density"], abs=6e-4), cell
        if row["way"] != OWN:
            assert float(error) == pytest.approx(row["error"], abs=6e-5), cell


def test_reports_agree_with_the_clock_outside():
    """As NOTES says: steps within 0.6%, attention within 0.4%; at 14B both within 0.3%."""
    for model, video in SIZES:
        for row in steps_of(model, video):
            if row["own"]:
                step, attention = (0.003, 0.003) if model == "14B" else (0.006, 0.004)
                assert row["own"]["step"] == pytest.approx(row["seconds"], rel=step)
                assert row["own"]["attention"] == pytest.approx(row["attention"], rel=attention)


def test_the_run_whose_report_the_docs_show():
    path = ROOT / "benchmarks" / "results" / "run-14b-720p.json"
    (run,) = json.loads(path.read_text(encoding="utf-8"))["models"][0]["runs"]
    saving, notes = run["saving"], NOTES.read_text(encoding="utf-8")
    assert f"The 6 steps took {saving['run_s']:.1f} s" in notes
    assert f"{saving['run']:.2f} times as long" in notes
    assert f"a gain of {saving['run']:.2f} times" in " ".join(PAGE.read_text("utf-8").split())


def test_the_readmes_speed_of_steps():
    shown = table(README, "seconds a step | dense")
    for (model, video), (cell, dense, share, balanced, fast) in zip(SIZES, shown, strict=True):
        assert cell == f"Wan {model} at {video}"
        rows = steps_of(model, video)
        own = rows[0]
        places = 2 if own["seconds"] > 1 else 3
        assert dense == f"{own['seconds']:.{places}f}"
        assert share == f"{own['attention'] / own['seconds']:.0%}"
        for said, way in ((balanced, "PSA, balanced"), (fast, "PSA, fast")):
            seconds = next(row["seconds"] for row in rows if row["way"] == way)
            assert said == f"{seconds:.{places}f} ({own['seconds'] / seconds:.2f}x)", (cell, way)


def test_what_compiling_saves():
    path = ROOT / "benchmarks" / "results" / "compiled-480p.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    notes = NOTES.read_text(encoding="utf-8")
    for name, run in zip(("1.3B", "14B"), data["runs"], strict=True):
        ways = {row["way"]: row for row in run["rows"]}
        dense, psa = "dense", "PSA, balanced"
        ms = [ways[way + end]["milliseconds"] for way in (dense, psa) for end in ("", ", compiled")]
        saved = (ms[2] - ms[3]) / (ms[0] - ms[1])
        cells = " | ".join(f"{x:,.0f}" for x in ms)
        assert f"| Wan {name} | {cells} | {saved:.0%} |" in notes and saved > 0.9
        assert all(row["breaks"] == 0 for row in ways.values())
        assert {row["graphs"] for way, row in ways.items() if "compiled" in way} == {2}
        assert ways[psa + ", compiled"]["apart"] < 0.0025
