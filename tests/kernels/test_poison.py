"""The fixture of all kernel tests is at work: see poison.py."""

import pytest
import torch


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int8, torch.int32])
def test_memory_that_nobody_wrote_shows(dtype):
    like = torch.zeros(2, dtype=dtype)
    for made in (
        torch.empty(2, dtype=dtype), torch.empty_like(like), like.new_empty(2),
        torch.empty_strided((2,), (1,), dtype=dtype), like.new_empty_strided((2,), (1,)),
    ):  # fmt: skip
        assert (made.isnan() if dtype.is_floating_point else made >= 127).all()
