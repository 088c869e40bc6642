"""Imports point down, nodes -> psa_engines -> presets -> psa_kernels, and never in a circle."""

import ast
from graphlib import TopologicalSorter

import pytest

from ..pack_import import ROOT

# what each part may import of the pack's others, lowest first
PARTS = {
    "psa_kernels": set(),
    "presets": {"psa_kernels"},
    "psa_engines": {"psa_kernels", "presets"},
    "nodes": {"psa_kernels", "presets", "psa_engines"},
}
# installed they are at the top, each under its own name but for one
TOP = {"psa_presets": "presets"}
COMFYUI = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "server")


def imports(file):
    """(line, absolute name) of everything a file imports, from inside the pack as `pack.…`."""
    package = ["pack", *file.relative_to(ROOT).with_suffix("").parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = package[: len(package) - node.level] if node.level else []
            base = [*inside, *([node.module] if node.module else [])]
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def part_of(name):
    """The part of the pack that a name is in, None for what is not of the pack."""
    head, _, rest = name.partition(".")
    part = rest.partition(".")[0] if head == "pack" else TOP.get(head, head)
    return part if part in PARTS else None


def test_the_reader_of_imports_sees_what_is_there():
    found = dict.fromkeys(name for _, name in imports(ROOT / "nodes" / "patching" / "override.py"))
    assert "pack.psa_engines.core.deciding.Asked" in found and "torch" in found
    assert part_of("pack.psa_engines.core.deciding.Asked") == "psa_engines"
    assert part_of("psa_presets.PresetStore") == "presets" and part_of("torch") is None


@pytest.mark.parametrize("part", PARTS)
def test_imports_point_down(part):
    wrong, files = [], sorted((ROOT / part).rglob("*.py"))
    assert files
    for file in files:
        for line, name in imports(file):
            where = f"{file.relative_to(ROOT)}:{line} imports {name}"
            if name.startswith("pack.") and part_of(name) is None:
                wrong.append(where)  # tools, tests, benchmarks
            other = part_of(name)
            if other not in (None, part, *PARTS[part]):
                wrong.append(where)
            if part != "nodes" and name.partition(".")[0] in COMFYUI:
                wrong.append(where)
    assert not wrong


@pytest.mark.parametrize("part", ["psa_kernels", "presets", "psa_engines"])
def test_only_ground_knows_what_is_around_a_part(part):
    """In the wheel there is no package around these: each lies at the top."""
    for file in (ROOT / part).rglob("*.py"):
        deep = len(file.relative_to(ROOT).parts)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        taken = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
        out = [node.lineno for node in taken if node.level >= deep]
        by_name = [line for line, name in imports(file) if part_of(name) and "pack." not in name]
        assert file.name == "ground.py" or not out + by_name, (file, out, by_name)


def test_presets_and_core_know_no_more_than_they_need():
    for file in (ROOT / "presets").glob("*.py"):
        names = {name for _, name in imports(file) if part_of(name) == "psa_kernels"}
        assert all(".config." in name for name in names), names
    engines = ("diffusers", "transformers")
    for file in (ROOT / "psa_engines" / "core").rglob("*.py"):
        found = {name for _, name in imports(file) for part in engines if part in name.split(".")}
        assert not found, file


def modules_of(part):
    """Module -> those of the same part that it imports, anywhere in its text."""
    files = {}
    for file in (ROOT / part).rglob("*.py"):
        name = ".".join(["pack", *file.relative_to(ROOT).with_suffix("").parts])
        files[name.removesuffix(".__init__")] = file
    found = {}
    for module, file in files.items():
        names = (name for _, name in imports(file))
        # a name is a module, or stands in one
        taken = (name if name in files else name.rpartition(".")[0] for name in names)
        found[module] = {name for name in taken if name in files and name != module}
    return found


def test_an_import_inside_a_function_counts():
    taken = modules_of("nodes")["pack.nodes.patching.compiled_models"]
    assert "pack.nodes.patching.compiled_call" in taken


@pytest.mark.parametrize("part", PARTS)
def test_no_module_imports_itself_by_a_way_around(part):
    TopologicalSorter(modules_of(part)).prepare()  # raises CycleError with the circle
