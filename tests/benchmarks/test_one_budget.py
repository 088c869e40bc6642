"""A preset that changes over the run, as presets of one budget."""

from psa_kernels import PSAConfig
from psa_pack.benchmarks.one_budget import of_middle, of_ranges


def test_each_part_of_a_run_has_a_name_and_its_settings():
    steps = {"0-10%": "dense", "20-40%": {"tail": 8}, "40-60%": {"tail": 16}}
    config = PSAConfig(tail=64, steps=steps)
    found = dict(of_ranges("mine", config))
    assert {name: part.tail for name, part in found.items()} == {
        "mine (10-20%, 60-100%)": 64, "mine (20-40%)": 8, "mine (40-60%)": 16,
    }  # fmt: skip
    assert not any(part.steps for part in found.values())
    assert of_middle("mine", config)[0] == "mine (20-40%)"
    plain = PSAConfig()
    assert of_ranges("plain", plain) == [("plain", plain)] == [of_middle("plain", plain)]
