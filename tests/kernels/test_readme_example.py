"""The README's Python example runs as it stands."""

import re

import torch

from ..pack_import import ROOT


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    # the README names the library as pip installs it; here it is a part of the pack
    names = {}
    torch.manual_seed(0)
    exec(example.replace("from psa_kernels", "from psa_pack.psa_kernels"), names)
    assert names["out"].shape == names["q"].shape
    assert 0 < names["stats"].density < 1
    assert "density" in capsys.readouterr().out
