"""Keeps which models and features had tests that passed: `--write-coverage DIR`.

A test says what it shows of which model family; a family is a row of docs/models.md, a feature
a column (tools/coverage_matrix.py):

    @pytest.mark.covers("Mochi", "batch 3")
    @pytest.mark.covers("Wan Animate 2", "references", dense="why it stays so on purpose")
    @pytest.mark.covers("Mochi", "odd sizes", cannot=True)     # the model itself refuses them

What a model does not have is declared in that file's ABSENT, and no test may claim it.

A pair is kept when at least one of its tests passed and none failed; a skipped test says nothing.
The families that ran are replaced as a whole, so all of a family's tests belong in one run.
"""

import json
import runpy
from collections import defaultdict
from pathlib import Path

import pytest

NAME = "coverage record"  # of the plugin


def outcome_of(marker) -> tuple[str, str, str]:
    """(family, feature, what a pass means) of one `covers` mark; refuses what is no mark."""
    from psa_pack.tools import coverage_matrix as matrix

    unknown = set(marker.kwargs) - {"dense", "cannot"}
    beside = marker.args[:1] == (matrix.BESIDE,)
    features = matrix.PARTNERS if beside else matrix.FEATURES
    if len(marker.args) != 2 or marker.args[1] not in features or unknown:
        raise pytest.UsageError(
            f"covers{marker.args}{marker.kwargs or ''}: wants a family and one of "
            f"{', '.join(features)}; further only dense='why' or cannot=True"
        )
    family, feature = marker.args
    if (reason := matrix.ABSENT.get(feature, {}).get(family)) is not None:
        raise pytest.UsageError(
            f"covers{marker.args}: ABSENT of tools/coverage_matrix.py says that the model has no "
            f"such thing ({reason}); take it out there if it has"
        )
    if marker.kwargs.get("cannot"):
        return family, feature, matrix.CANNOT
    dense = marker.kwargs.get("dense")
    return family, feature, f"{matrix.DENSE}{dense}" if dense else matrix.SPARSE


class CoverageRecord:
    def __init__(self, folder: Path | None, comfyui: Path | None):
        self.folder, self.comfyui = folder, comfyui
        self.marks: dict[str, list[tuple[str, str, str]]] = {}
        self.passed: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.failed: set[tuple[str, str]] = set()
        self.ran: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        for item in items:
            marks = [outcome_of(mark) for mark in item.iter_markers("covers")]
            if marks:
                self.marks[item.nodeid] = marks

    def pytest_runtest_logreport(self, report):
        for family, feature, outcome in self.marks.get(report.nodeid, ()):
            self.ran.add(family)
            if report.failed:
                self.failed.add((family, feature))
            elif report.when == "call" and report.passed:
                self.passed[family, feature].add(outcome)

    def pytest_sessionfinish(self):
        if self.folder is not None and self.ran:
            self._write()

    def _write(self):
        version = runpy.run_path(str(self.comfyui / "comfyui_version.py"))["__version__"]
        path = self.folder / f"{version}.json"
        old = json.loads(path.read_text(encoding="utf-8"))["families"] if path.is_file() else {}
        families = {name: found for name, found in old.items() if name not in self.ran}
        for (family, feature), outcomes in self.passed.items():
            if (family, feature) not in self.failed:
                if len(outcomes) > 1:
                    raise pytest.UsageError(f"{family}, {feature}: {sorted(outcomes)} at once")
                families.setdefault(family, {})[feature] = next(iter(outcomes))
        content = {"comfyui": version, "families": families}
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")
