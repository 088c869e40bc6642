"""A kernel of a few lines with what every PSA kernel needs: loads, a matrix product, a store."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

SIZE = 64


@triton.jit
def _affine_product(a, b, out, shift, SIZE: tl.constexpr):  # noqa: N803
    row = tl.arange(0, SIZE)
    place = row[:, None] * SIZE + row[None, :]
    product = tl.dot(tl.load(a + place), tl.load(b + place))
    tl.store(out + place, product + shift)


def error_of_probe(device: torch.device) -> float:
    """rel-L2 error of `a @ b + 0.5`, float16 in, float32 out, on `device`; NaN where unwritten."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(SIZE, SIZE, generator=generator).half() for _ in range(2))
    out = torch.full((SIZE, SIZE), torch.nan, device=device)
    _affine_product[(1,)](a.to(device), b.to(device), out, 0.5, SIZE=SIZE)
    right = a.float() @ b.float() + 0.5
    return float((out.cpu() - right).norm() / right.norm())
