"""Writes packages named `triton` that fail in a chosen way, to put in front of the real one."""

from pathlib import Path

PACKAGE = """
__version__ = "3.4.0"


class _Kernel:
    def __getitem__(self, grid):
        return self.launch

    def launch(self, a, b, out, *rest, **constants):
        {launch}


def jit(function=None, **options):
    return _Kernel() if function else jit
"""


def failing_import(folder: Path, statement: str) -> Path:
    """`import triton` runs `statement`."""
    return _write(folder, statement)


def failing_launch(folder: Path, statement: str) -> Path:
    """It imports; a launch of any kernel, with its arguments a, b and out, runs `statement`."""
    return _write(folder, PACKAGE.format(launch=statement))


def _write(folder: Path, source: str) -> Path:
    (folder / "triton" / "language").mkdir(parents=True)
    (folder / "triton" / "__init__.py").write_text(source)
    (folder / "triton" / "language" / "__init__.py").write_text("constexpr = int\n")
    return folder
