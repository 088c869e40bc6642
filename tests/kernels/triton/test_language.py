"""What kernels are written in: the oldest Triton reads less than that of the tests."""

import ast

from psa_kernels.triton import versions

from ...pack_import import ROOT


def jitted():
    """(file, function) of the kernels and of what they call."""
    for path in sorted((ROOT / "psa_kernels" / "triton").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            marks = getattr(node, "decorator_list", ())
            if any(ast.unparse(mark).startswith("triton.jit") for mark in marks):
                yield path.name, node


def test_no_boolean_is_chained():
    """Triton before 3.4 refuses `a and b and c`, and takes `(a and b) and c`."""
    assert versions.older(versions.OLDEST, "3.4"), "this test can go"
    chained, names = [], set()
    for file, function in jitted():
        names.add(function.name)
        chained += [
            f"{file}:{node.lineno} {ast.unparse(node)}" for node in ast.walk(function)
            if isinstance(node, ast.BoolOp) and len(node.values) > 2
        ]  # fmt: skip
    assert names >= {"pool_kernel", "attend_kernel", "_attend_all"}
    assert not chained
