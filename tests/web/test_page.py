"""What the other tests stand on: a page of every combination that samples with PSA."""

import pytest

SMALL = {"block_m": "64", "block_n": "32", "tail": "32", "rearrange_method": "Gilbert"}


@pytest.mark.everywhere
def test_a_graph_made_in_the_page_runs(comfy):
    preset = comfy.add("PSAPresetEditor", (500, 100), **SMALL, warmup_steps=1)
    apply = comfy.add(
        "PSAApply", (900, 100), links={"model": comfy.model(), "preset": (preset, 0)}, min_tokens=0
    )
    comfy.sampler((apply, 0))
    report = comfy.run()
    assert report["plan"] == ["dense", "sparse", "sparse", "sparse"]
    assert report["calls"]["sparse"] == 6
