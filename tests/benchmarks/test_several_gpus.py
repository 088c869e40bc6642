"""The stack on several GPUs: the page has the calculated figures, and a small one runs."""

import json
import re
import sys

import pytest
import torch

from psa_pack.benchmarks.several_gpus import on_paper

from ..engines.ranks import run_ranks
from ..pack_import import ROOT

PAGE = ROOT / "docs" / "several-gpus.md"


def test_the_page_has_the_calculated_tables():
    page = PAGE.read_text(encoding="utf-8")
    for row in on_paper.time_table() + on_paper.memory_table():
        assert row in page


def test_the_calculation_fits_one_gpu():
    """At 75,600 tokens it is what was measured; at 32,760 it predicts it."""
    path = ROOT / "benchmarks" / "results" / "steps-14b.json"
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        for row in run["rows"]:
            way = "dense" if row["exact"] else row["way"].removeprefix("PSA, ")
            if way not in on_paper.CALLS:
                continue
            near = 0.01 if way == "dense" else 0.05
            found = on_paper.seconds(way, 1, "NVLink 4", run["tokens"])
            assert found == pytest.approx(row["seconds"], rel=near)
            beside = on_paper.BESIDE * run["tokens"] / on_paper.TOKENS
            assert on_paper.WEIGHTS + beside == pytest.approx(row["peak_gib"], abs=0.1)


def test_the_calculation_fits_two_gpus():
    path = ROOT / "benchmarks" / "results" / "several-gpus-h200.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    part = found["blocks"] / on_paper.LAYERS
    seconds = {(row["way"], row["gpus"]): row["seconds"] for row in found["rows"]}
    for (way, gpus), measured in seconds.items():
        exchange = part * on_paper.exchange(gpus).seconds("NVLink 4")
        assert seconds[way, 1] / gpus + exchange == pytest.approx(measured, rel=0.01)
        assert f"{measured:.3f}" in PAGE.read_text(encoding="utf-8")
    assert all(row["error"] == 0 for row in found["rows"])


@pytest.mark.skipif(
    sys.platform != "linux" or torch.accelerator.is_available(),
    reason="the ranks are forks on the CPU; diffusers takes a GPU where there is one",
)
def test_two_ranks_give_the_outputs_of_one(tmp_path):
    pytest.importorskip("diffusers", reason="diffusers is not installed: pip install .[diffusers]")
    import torch._dynamo  # likewise, with the first exchange

    from psa_pack.benchmarks.several_gpus import stack
    from psa_pack.benchmarks.several_gpus.__main__ import table

    # what diffusers imports with its first model: once, not in each rank
    stack.model_of(stack.SMALL, 1, torch.device("cpu"), torch.float32)
    for of in (1, 2):
        ranks = run_ranks(of, lambda rank, of=of: stack.measure(of, True, 2, 2), tmp_path / f"{of}")
        torch.save(ranks[0], tmp_path / f"{of}.pt")
    rows = stack.rows_of(1, tmp_path, 1) + stack.rows_of(2, tmp_path, 1)
    assert [(row["gpus"], row["way"]) for row in rows] == [
        (1, "dense"), (1, "PSA"), (2, "dense"), (2, "PSA"),
    ]  # fmt: skip
    assert all(row["error"] < 1e-4 for row in rows)
    assert 0.2 < rows[1]["density"] < 0.5 and 0.2 < rows[3]["density"] < 0.5
    assert all(re.match(r"\| [12] \| \S", line) for line in table(rows)[2:])
