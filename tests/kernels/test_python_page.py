"""The Python example of docs/python.md runs as it stands."""

import re

import torch

from ..pack_import import ROOT


def test_the_example_runs(capsys):
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    # the page names the library as pip installs it; here it is a part of the pack
    names = {}
    torch.manual_seed(0)
    exec(example.replace("from psa_kernels", "from psa_pack.psa_kernels"), names)
    assert names["out"].shape == names["q"].shape
    assert 0 < names["stats"].density < 1
    assert "density" in capsys.readouterr().out
