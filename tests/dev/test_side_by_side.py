"""The order in which processes take the suite."""

from types import SimpleNamespace

import pytest

from ..pack_import import ROOT

side_by_side = pytest.importorskip("tests.side_by_side", reason="needs pytest-xdist")


def test_long_files_are_there():
    assert [name for name in side_by_side.LONG if not (ROOT / name).exists()] == []


def test_long_ones_first_and_a_file_in_one_piece():
    web, long = "tests/web/test_a.py::", "tests/kernels/triton/test_offline.py::"
    given = ["tests/a.py::1", "tests/b.py::1", web + "1", "tests/b.py::2", long + "1", web + "2"]
    items = [SimpleNamespace(nodeid=nodeid) for nodeid in given]
    side_by_side.in_order(items)
    assert [item.nodeid for item in items] == [
        web + "1", web + "2", long + "1", "tests/b.py::1", "tests/b.py::2", "tests/a.py::1",
    ]  # fmt: skip
    assert side_by_side.unit(web + "1") == side_by_side.unit("tests/web/test_b.py::x[a::b]")
