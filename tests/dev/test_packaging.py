"""What `pip install .` and the registry get."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from psa_pack.tools import release

from ..pack_import import ROOT

BUILD = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
USE = """
import sys
from psa_engines.core.schedule import plan_steps
from psa_engines.diffusers import apply_psa
from psa_engines.preset_by_name import preset_value
from psa_kernels import PSAAttention, PSAConfig
import torch
q = torch.randn(1, 1, 96, 64)
out = PSAAttention(PSAConfig(use_rearrange=False))(q, q, q)
assert out.shape == q.shape
plan = plan_steps([3.0, 2.0, 1.0, 0.0], lambda percent: 3.0 * (1.0 - percent), 1, None)
assert plan.describe() == "3 steps: 1 dense (warm-up), 2-3 sparse", plan.describe()
balanced = preset_value("Wan2.1_14b")
assert balanced.label == "Wan2.1_14b/balanced" and isinstance(balanced.config, PSAConfig)
print([m for m in sys.modules if m.split(".")[0] in ("comfy", "comfy_api", "nodes", "server")
       or m.split(".")[0] in ("diffusers", "transformers")])
print(sys.modules["psa_kernels"].__file__)
"""


def pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_installing_the_pack_touches_nobodys_torch():
    required = re.search(r"^dependencies = \[(.*?)\]", pyproject(), re.MULTILINE | re.DOTALL)
    assert required.group(1).strip() == '"pyyaml"'
    assert (ROOT / "requirements.txt").read_text().split() == ["pyyaml"]


def test_registry_entry():
    text = pyproject()
    assert 'name = "pyramid-sparse-attention"' in text
    for key in ("PublisherId", "DisplayName", "requires-comfyui", "Repository"):
        assert re.search(rf"^{key} = \".+\"$", text, re.MULTILINE), key
    # the folder is served once already, through WEB_DIRECTORY
    assert not re.search(r"^web = ", text, re.MULTILINE)


def test_the_registry_gets_no_model():
    """Nor anything else that is large."""
    try:
        packed = release.packed_files(ROOT)
    except release.NotARepository:
        pytest.skip("not a git checkout")
    assert "nodes/extension.py" in packed and "examples/inference/README.md" in packed
    assert not [path for path in packed if path.startswith("examples/small_wan/")]
    sizes = {path: (ROOT / path).stat().st_size for path in packed}
    assert max(sizes.values()) < 2**20, max(sizes, key=sizes.get)


@pytest.fixture(scope="module")
def built_library(tmp_path_factory):
    """The wheel of a copy of the sources, unpacked: building leaves files beside what it reads."""
    folder = tmp_path_factory.mktemp("library")
    source = folder / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "demo_output", "build", "*.egg-info"),
    )
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_library_engines_and_presets_are_packaged_and_nothing_else(built_library):
    top = {path.name for path in built_library.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"psa_kernels", "psa_engines", "psa_presets"}
    for name in top:
        source = ROOT / name.replace("psa_presets", "presets")
        for kind in ("*.py", "*.yaml"):
            shipped = {path.relative_to(source) for path in source.rglob(kind)}
            packaged = built_library / name
            assert {path.relative_to(packaged) for path in packaged.rglob(kind)} == shipped


def test_the_built_library_runs_without_comfyui(built_library, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(built_library)!r})\n{USE}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    loaded, origin = result.stdout.splitlines()[-2:]
    assert loaded == "[]"
    assert origin.startswith(str(built_library))
