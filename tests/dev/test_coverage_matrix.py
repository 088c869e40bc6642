"""The table of docs/models.md: from recorded runs to Markdown, and that it is up to date."""

import json
import os
import subprocess
import sys

import pytest

from psa_pack.tools import coverage_matrix
from psa_pack.tools.coverage_matrix import (
    ABSENT,
    BESIDE,
    FEATURES,
    PAGE,
    recorded,
    table,
    with_table,
)

from .. import coverage_record
from ..pack_import import ROOT

covers = pytest.mark.covers

CONFTEST = """
import importlib.util, pathlib, sys
def module(name):
    spec = importlib.util.spec_from_file_location(name, pathlib.Path({tests!r}) / (name + ".py"))
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
module("pack_import").install()
record = module("coverage_record")
def pytest_configure(config):
    config.addinivalue_line("markers", "covers: ...")
    here = pathlib.Path(__file__).parent
    config.pluginmanager.register(record.CoverageRecord(here / "out", here))
"""
TESTS = """
import pytest
covers = pytest.mark.covers
@covers("Passes", "batch 3")
@covers("Passes", "references")
def test_passes(): pass
@covers("Half", "batch 3")
@pytest.mark.parametrize("good", [True, False])
def test_half(good): assert good
@covers("Half", "odd sizes")
def test_other_half(): pass
@covers("Skipped", "batch 3")
def test_skipped(): pytest.skip("none here")
@covers("Half", "CFG split")
def test_skipped_feature(): pytest.skip("none here")
@covers("Dense", "batch 3", dense="frame by frame")
def test_dense(): pass
@covers("Dense", "odd sizes", cannot=True)
def test_cannot(): pass
@pytest.fixture
def broken(): yield; raise RuntimeError
@covers("Breaks", "batch 3")
def test_breaks_afterwards(broken): pass
"""


def run_tests(folder, text, *options):
    (folder / "conftest.py").write_text(CONFTEST.format(tests=str(ROOT / "tests")))
    (folder / "comfyui_version.py").write_text('__version__ = "1.2.3"')
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run([*command, str(folder), *options], env=env, capture_output=True, check=False)


def test_what_passed_is_kept_and_nothing_else(tmp_path):
    run_tests(tmp_path, TESTS)
    written = tmp_path / "out" / "1.2.3.json"
    assert json.loads(written.read_text()) == {
        "comfyui": "1.2.3",
        "families": {
            "Passes": {"batch 3": "sparse", "references": "sparse"},
            "Half": {"odd sizes": "sparse"},
            "Dense": {"batch 3": "dense: frame by frame", "odd sizes": "cannot"},
        },
    }
    # a later run replaces the families that it ran, and leaves the others
    run_tests(tmp_path, TESTS, "-k", "other_half or skipped or breaks")
    run_tests(tmp_path, TESTS.replace("cannot=True", "dense='now it can'"), "-k", "test_cannot")
    families = json.loads(written.read_text())["families"]
    assert families["Dense"] == {"odd sizes": "dense: now it can"}
    assert families["Passes"] == {"batch 3": "sparse", "references": "sparse"}
    assert set(families) == {"Passes", "Half", "Dense"}


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        (covers("A"), "wants a family and one of sparse & exact"),
        (covers("A", "no such feature"), "wants a family and one of sparse & exact"),
        (covers("A", "batch 3", depends=True), "further only dense='why' or cannot=True"),
        (covers("A", "batch 3", "more"), "wants a family"),
        (covers("Mochi", "references"), "the model has no such thing .besides the latent"),
    ],
)
def test_a_mark_that_says_nothing_known_is_refused(mark, reason):
    with pytest.raises(pytest.UsageError, match=reason):
        coverage_record.outcome_of(mark.mark)


def test_a_passed_test_and_no_such_thing_do_not_both_stand():
    versions = {"0.3.9": {"Mochi": {"batch 3": "sparse", "references": "cannot"}}}
    with pytest.raises(ValueError, match="Mochi, references: a test passed, and ABSENT says"):
        table(versions)


def test_every_cell_says_something():
    """Each feature of each family is tested, or declared not to exist."""
    tested = {
        (family, feature)
        for families in recorded().values()
        for family, found in families.items()
        for feature in found
    }
    families = {family for family, _ in tested} - {BESIDE}
    declared = {(family, feature) for feature, found in ABSENT.items() for family in found}
    assert not {family for family, _ in declared} - families
    wanted = {(family, feature) for family in families for feature in FEATURES}
    assert wanted - tested - declared == set()


def test_the_page_has_the_table_of_the_recorded_runs():
    """With every kind of cell: several versions, dense with a footnote, n/a in one or all."""
    page = PAGE.read_text(encoding="utf-8")
    assert recorded(), "nothing recorded in docs/coverage"
    assert with_table(page, table(recorded())) == page, "run: python -m tools.coverage_matrix"


def test_versions_are_in_order(monkeypatch, tmp_path):
    monkeypatch.setattr(coverage_matrix, "FOLDER", tmp_path)
    for version in ("0.33.0", "0.3.75", "0.4.1"):
        text = json.dumps({"comfyui": version, "families": {}})
        (tmp_path / f"{version}.json").write_text(text)
    assert list(recorded()) == ["0.3.75", "0.4.1", "0.33.0"]


def test_what_is_recorded_has_a_test(request):
    """A test that was removed or renamed leaves no cell behind."""
    if not any((ROOT / "tests" / "nodes").is_relative_to(arg) for arg in collected(request)):
        pytest.skip("needs all of tests/nodes collected: run it together with them")
    record = request.config.pluginmanager.get_plugin(coverage_record.NAME)
    marked = {mark[:2] for marks in record.marks.values() for mark in marks}
    for version, families in recorded().items():
        pairs = {(family, feature) for family, found in families.items() for feature in found}
        assert pairs <= marked, f"docs/coverage/{version}.json"


def collected(request):
    """The folders that pytest was told to collect."""
    return [(request.config.invocation_params.dir / arg).resolve() for arg in request.config.args]
