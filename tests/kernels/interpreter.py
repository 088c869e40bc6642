"""Whether Triton's interpreter itself works here: some of its versions do not with some of NumPy's.

Import it only in a process that has TRITON_INTERPRET=1.
"""

import torch
import triton
import triton.language as tl

BROKEN = "Triton's interpreter does not work here:"


@triton.jit
def _sums(x, out, count):
    total = tl.zeros([16], tl.float32)
    for i in range(0, count):  # a bound that is an argument, as the kernels have them
        total += tl.load(x + i * 16 + tl.arange(0, 16))
    tl.store(out + tl.arange(0, 16), total)


def broken() -> str:
    """What it fails with, in a line that begins with `BROKEN`; "" where it works."""
    x, out = torch.arange(48.0), torch.zeros(16)
    try:
        _sums[(1,)](x, out, 3)
    except Exception as error:
        return f"{BROKEN} {type(error).__name__}: {error}".splitlines()[0]
    return "" if torch.equal(out, x.view(3, 16).sum(0)) else f"{BROKEN} wrong sums"
